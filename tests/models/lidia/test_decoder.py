"""The mask transformer: masked attention against an explicit mask, and its layers."""

import math

import pytest
import torch

from liverleaf.models.lidia.decoder import (
    Attention,
    DecoderLayer,
    MaskTransformer,
    hidden_voxels,
    mask_logits,
    sine_positions,
)


def transformer(**changed: int) -> MaskTransformer:
    torch.manual_seed(0)
    settings = {
        "width": 24, "classes": 3, "queries": 5, "layers": 3, "levels": 2, "heads": 4,
        "feedforward": 32,
    }  # fmt: skip
    return MaskTransformer(**{**settings, **changed})


def test_masked_attention_is_softmax_over_the_voxels_that_are_seen() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2)
    queries, keys, values = torch.randn(2, 3, 8), torch.randn(2, 10, 8), torch.randn(2, 10, 8)
    hidden = torch.rand(2, 3, 10) > 0.5
    hidden[..., 0] = False
    found = attention(queries, keys, values, hidden)
    q, k = attention.to_query(queries), attention.to_key(keys)
    v = attention.to_value(values)
    for b in range(2):
        for i in range(3):
            heads = []
            for h in (slice(0, 4), slice(4, 8)):
                seen = [n for n in range(10) if not hidden[b, i, n]]
                weight = torch.stack([q[b, i, h] @ k[b, n, h] / math.sqrt(4) for n in seen])
                heads.append(weight.softmax(0) @ v[b, seen, h])
            expected = attention.out(torch.cat(heads))
            torch.testing.assert_close(found[b, i], expected, rtol=1e-4, atol=1e-5)


def test_hidden_voxels_do_not_reach_a_query() -> None:
    torch.manual_seed(0)
    layer = DecoderLayer(8, 2, 16)
    queries, features = torch.randn(1, 3, 8), torch.randn(1, 6, 8)
    zeros, positions = torch.zeros(1, 3, 8), torch.zeros(6, 8)
    hidden = torch.tensor([[[False] * 4 + [True] * 2] * 3])
    before = layer(queries, zeros, features, positions, hidden)
    features[0, 4:] += 100
    torch.testing.assert_close(layer(queries, zeros, features, positions, hidden), before)
    features[0, 3] += 1
    assert not torch.allclose(layer(queries, zeros, features, positions, hidden), before)


def test_a_query_sees_its_own_mask_and_one_with_an_empty_mask_sees_all() -> None:
    features = torch.tensor([[[2.0, -1.0, 0.5, -3.0]]])  # (B, D, N) = (1, 1, 4)
    hidden = hidden_voxels(torch.tensor([[[1.0], [-1.0], [0.0]]]), features)
    assert hidden[0, 0].tolist() == [False, True, False, True]
    assert hidden[0, 1].tolist() == [True, False, True, False]
    assert not hidden[0, 2].any()  # sigmoid of 0 is .5, which is not under it
    nowhere = hidden_voxels(torch.tensor([[[-1.0]]]), torch.ones(1, 1, 4))
    assert not nowhere.any()


def test_masks_on_a_coarser_grid_are_shrunk_masks() -> None:
    torch.manual_seed(0)
    masks, features = torch.randn(3, 8), torch.randn(1, 8, 4, 8, 8)
    shrunk = torch.nn.functional.interpolate(features, size=(2, 4, 4), mode="trilinear")
    of_masks = torch.nn.functional.interpolate(
        mask_logits(masks, features[0])[None], size=(2, 4, 4), mode="trilinear"
    )
    torch.testing.assert_close(mask_logits(masks, shrunk[0]), of_masks[0], rtol=1e-4, atol=1e-4)


def test_levels_take_turns_and_every_layer_speaks() -> None:
    decoder = transformer()
    finest = torch.randn(2, 24, 4, 6, 6)
    levels = [torch.randn(2, 24, 1, 2, 2), torch.randn(2, 24, 2, 3, 3)]
    said = decoder(finest, levels)
    assert len(said) == 4  # before the first layer, and after each of three
    assert said[0].class_logits_BQC.shape == (2, 5, 4) and said[0].masks_BQD.shape == (2, 5, 24)
    torch.testing.assert_close(said[0].class_logits_BQC[0], said[0].class_logits_BQC[1])
    # the second layer is the first that looks at the second level
    changed = decoder(finest, [levels[0], levels[1] + 1])
    for layer, same in enumerate([True, True, False, False]):
        assert torch.allclose(said[layer].queries_BQD, changed[layer].queries_BQD) == same


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    decoder = transformer()
    finest = torch.randn(2, 24, 4, 6, 6)
    levels = [torch.randn(2, 24, 1, 2, 2), torch.randn(2, 24, 2, 3, 3)]
    together = decoder(finest, levels)[-1]
    alone = decoder(finest[1:], [level[1:] for level in levels])[-1]
    torch.testing.assert_close(together.masks_BQD[1:], alone.masks_BQD, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [24, 32])
def test_positions_are_sines_along_each_axis_in_turn(width: int) -> None:
    share = width // 3 // 2 * 2
    positions = sine_positions(torch.zeros(1, width, 2, 3, 4)).reshape(2, 3, 4, width)
    for z, y, x in ((0, 0, 0), (1, 2, 3), (0, 2, 1)):
        for axis, coordinate in enumerate(((z + 0.5) / 2, (y + 0.5) / 3, (x + 0.5) / 4)):
            for pair in range(share // 2):
                angle = coordinate * 2 * math.pi / 10_000 ** (2 * pair / share)
                at = positions[z, y, x, axis * share + 2 * pair :]
                assert float(at[0]) == pytest.approx(math.sin(angle), abs=1e-5)
                assert float(at[1]) == pytest.approx(math.cos(angle), abs=1e-5)
    assert not positions[..., 3 * share :].any()
