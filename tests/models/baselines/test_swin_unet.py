"""Swin-Unet's own: where expanded patches land, what a window sees, how windows are laid."""

from __future__ import annotations

import torch

from liverleaf.models.baselines.swin_unet import PatchExpand, SwinStage, SwinUNet, SwinUNetConfig

torch.set_num_threads(1)


def test_a_token_expands_into_the_block_of_tokens_in_its_place() -> None:
    torch.manual_seed(0)
    expand = PatchExpand(8, 4, scale=2)
    x = torch.randn(1, 3, 5, 8)
    expanded = expand(x)
    assert expanded.shape == (1, 6, 10, 4)
    for row, column in ((0, 0), (2, 4), (1, 3)):
        four = expand.expand.weight @ x[0, row, column]
        for place in range(4):
            expected = expand.norm(four[4 * place : 4 * place + 4])
            torch.testing.assert_close(
                expanded[0, 2 * row + place // 2, 2 * column + place % 2], expected
            )


def seen_by(stage: SwinStage, row: int, column: int, side: int) -> set[tuple[int, int]]:
    """The tokens that the answer at one place depends on."""
    x = torch.randn(1, side, side, 8, requires_grad=True)
    stage(x)[0, row, column].sum().backward()
    assert x.grad is not None
    # what is masked weighs exp(-100)
    return {(int(row), int(column)) for row, column in (x.grad[0].abs().sum(-1) > 1e-12).nonzero()}


def test_a_block_sees_its_window_and_the_next_one_the_shifted_windows() -> None:
    torch.manual_seed(0)
    one, two = (
        SwinStage(8, heads=2, side=8, window=4, drop_path=[0.0] * blocks) for blocks in (1, 2)
    )
    assert seen_by(one, 1, 1, 8) == {(y, x) for y in range(4) for x in range(4)}
    # its shifted window touches all four
    assert seen_by(two, 3, 3, 8) == {(y, x) for y in range(8) for x in range(8)}
    # the shift does not wrap around the image
    assert seen_by(two, 0, 0, 8) == {(y, x) for y in range(4) for x in range(4)}


def test_windows_tile_every_level_at_256_pixels_as_they_did_at_224() -> None:
    with torch.device("meta"):
        for config in (SwinUNetConfig(), SwinUNetConfig(size=224, window=7)):
            network = SwinUNet(config)
            assert [stage.window for stage in network.down] == [config.window] * 4
            assert [
                sum(block.shift_size) > 0 for stage in network.down for block in stage.blocks
            ] == [False, True] * 3 + [False, False]


def test_stochastic_depth_rises_to_its_rate() -> None:
    with torch.device("meta"):
        network = SwinUNet(SwinUNetConfig())
    rates = [
        getattr(block.drop_path, "drop_prob", 0.0)
        for stage in network.down
        for block in stage.blocks
    ]
    torch.testing.assert_close(torch.tensor(rates), torch.linspace(0, 0.2, 8))
