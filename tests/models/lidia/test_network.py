"""LIDIA's network: shapes, gradients, independence of the batch, and its semantic map."""

import pytest
import torch

from liverleaf.models.lidia.decoder import QueryOutput
from liverleaf.models.lidia.network import (
    Lidia,
    LidiaConfig,
    LidiaOutput,
    normalised_map,
    semantic_map,
)

TINY = LidiaConfig(
    phases=3, types=2, slices=4, widths=(4, 6, 8), pyramid=12, queries=5, heads=2, feedforward=16,
    embedding=6, semantic=True, stride=(1, 2, 2),
)  # fmt: skip


def tiny(**changed: object) -> Lidia:
    torch.manual_seed(0)
    return Lidia(LidiaConfig(**{**vars(TINY), **changed}))  # type: ignore[arg-type]


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    present = torch.tensor([[True, True, True], [False, True, False]])
    return torch.randn(2, 3, 4, 16, 16), present


@pytest.mark.parametrize(
    "changed", [{}, {"fusion": "early"}, {"fusion": "hemis"}, {"queries": 0}, {"semantic": False}]
)
def test_every_parameter_learns(changed: dict[str, object]) -> None:
    net = tiny(**changed)
    output = net(*batch())
    loss = torch.zeros(())
    for layer in output.layers:
        loss = loss + layer.class_logits_BQC.square().sum() + layer.masks_BQD.square().sum()
    if output.embeddings_BQE is not None:
        loss = loss + (output.embeddings_BQE * torch.arange(6)).sum()
    if output.semantic_logits_BSZYX is not None:
        loss = loss + output.semantic_logits_BSZYX.square().sum()
    (loss + output.finest_BDZYX.square().sum()).backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # attention is shift invariant in its keys
    assert [name for name in still if not name.endswith("to_key.bias")] == []


def test_shapes_are_those_that_are_promised() -> None:
    output = tiny()(*batch())
    assert len(output.layers) == 4
    assert output.layers[-1].class_logits_BQC.shape == (2, 5, 4)  # liver, two types, nothing
    assert output.finest_BDZYX.shape == (2, 12, 4, 8, 8)
    assert output.semantic_logits_BSZYX is not None and output.embeddings_BQE is not None
    assert output.semantic_logits_BSZYX.shape == (2, 4, 4, 8, 8)
    torch.testing.assert_close(output.embeddings_BQE.norm(dim=-1), torch.ones(2, 5))
    assert semantic_map(output, gamma=2.0).shape == (2, 4, 4, 8, 8)


def test_an_answer_does_not_depend_on_its_batch() -> None:
    net, (images, present) = tiny().eval(), batch()
    together = net(images, present)
    for index in range(2):
        alone = net(images[index : index + 1], present[index : index + 1])
        torch.testing.assert_close(
            semantic_map(together, gamma=2.0)[index],
            semantic_map(alone, gamma=2.0)[0],
            rtol=1e-4,
            atol=1e-5,
        )
        torch.testing.assert_close(
            together.layers[-1].class_logits_BQC[index],
            alone.layers[-1].class_logits_BQC[0],
            rtol=1e-4,
            atol=1e-5,
        )


def test_weights_come_back() -> None:
    net, other = tiny(), Lidia(TINY)
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(
        other(*batch()).layers[-1].masks_BQD, net(*batch()).layers[-1].masks_BQD
    )


def test_the_semantic_map_is_the_sum_over_queries_and_sums_to_one() -> None:
    # two queries, liver and one type, on two voxels
    classes = torch.tensor([[[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]]]).log()
    masks = torch.tensor([[[4.0], [2.0]]])
    finest = torch.tensor([1.0, -1.0]).reshape(1, 1, 1, 1, 2)
    layer = QueryOutput(classes, masks, masks)
    found = semantic_map(LidiaOutput(finest, [layer], None, None), gamma=0.0)
    for voxel, sign in enumerate((1.0, -1.0)):
        m1, m2 = (torch.sigmoid(torch.tensor(sign * m)) for m in (4.0, 2.0))
        liver, kind = 0.8 * m1 + 0.2 * m2, 0.1 * m1 + 0.7 * m2
        total = max(float(liver + kind), 1.0)
        expected = torch.stack([1 - (liver + kind) / total, liver / total, kind / total])
        torch.testing.assert_close(found[0, :, 0, 0, voxel], expected)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 1, 1, 2))
    assert float(found[0, 0, 0, 0, 0]) == pytest.approx(0.0, abs=1e-6)  # evidence beyond 1


def test_a_map_of_little_evidence_is_mostly_background() -> None:
    evidence = torch.tensor([0.1, 0.2]).reshape(1, 2, 1, 1, 1)
    assert normalised_map(evidence).flatten().tolist() == pytest.approx([0.7, 0.1, 0.2])


def test_without_queries_the_map_is_the_softmax_of_the_voxels() -> None:
    output = tiny(queries=0)(*batch())
    assert output.layers == [] and output.embeddings_BQE is None
    assert output.semantic_logits_BSZYX is not None
    torch.testing.assert_close(
        semantic_map(output, gamma=2.0), output.semantic_logits_BSZYX.softmax(1)
    )


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"fusion": "sum"}, "fusion is one of ifm"),
        ({"queries": 0, "semantic": False}, "without queries says nothing"),
        ({"pyramid": 13}, "multiple of heads"),
        ({"levels": 4}, "levels are 1 to 3"),
        ({"stride": (1, 2)}, "stride has three numbers"),
        ({"slices": 0}, "at least one slice"),
    ],
)
def test_configs_that_cannot_be_are_refused(changed: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        LidiaConfig(**{**vars(TINY), **changed})  # type: ignore[arg-type]


def test_a_sample_without_phases_is_refused() -> None:
    images, present = batch()
    present[1] = False
    with pytest.raises(ValueError, match="at least one phase"):
        tiny()(images, present)
