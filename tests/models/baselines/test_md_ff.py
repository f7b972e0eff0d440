"""MD-FF's own: who votes, what the votes do, and where features are fused."""

from __future__ import annotations

import torch

from liverleaf.models.baselines.md_ff import MDFF, MDFFConfig

torch.set_num_threads(1)

CONFIG = MDFFConfig(phases=3, size=32, widths=(4, 4, 8, 8, 8), reduction=2)


def build() -> MDFF:
    torch.manual_seed(0)
    return MDFF(CONFIG).eval()


def test_every_phase_and_the_shared_stream_vote() -> None:
    network, images = build(), torch.randn(2, 3, 32, 32)
    evidence = network.evidence(images)
    assert [tuple(votes.shape) for votes in evidence] == [(2, 2, 32, 32)] * 4
    assert all((votes >= 0).all() for votes in evidence)
    other = network.evidence(torch.cat([images[:, :2], torch.randn(2, 1, 32, 32)], dim=1))
    assert [torch.equal(a, b) for a, b in zip(evidence, other, strict=True)] == [
        True,
        True,
        False,
        False,
    ]


def test_features_are_fused_at_every_level_of_the_decoders() -> None:
    network = build()
    sizes: list[tuple[int, ...]] = []
    for fusion in network.fusion:
        fusion.register_forward_hook(
            lambda _module, _inputs, output: sizes.append(tuple(output.shape[1:]))
        )
    network(torch.randn(1, 3, 32, 32))
    assert sizes == [(8, 2, 2), (8, 4, 4), (8, 8, 8), (4, 16, 16), (4, 32, 32)]


def test_a_sure_voter_outvotes_unsure_ones_and_voters_in_conflict_balance() -> None:
    lesion = torch.tensor([50.0, 0.0])[None, :, None, None]
    background = torch.tensor([0.0, 50.0])[None, :, None, None]
    unsure = torch.tensor([0.0, 0.5])[None, :, None, None]
    votes = MDFF._decide([lesion, unsure, unsure])[0, :, 0, 0]
    assert votes[0] > 0.9
    torch.testing.assert_close(*MDFF._decide([lesion, background])[0, :2, 0, 0])


def test_caution_grows_with_progress() -> None:
    network, images, mask = build(), torch.randn(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    early, late = (network.loss(images, mask, progress=progress) for progress in (0.0, 1.0))
    assert late > early
