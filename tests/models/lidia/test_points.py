"""Points of masks: how many fall where."""

import pytest
import torch

from liverleaf.models.lidia.points import PointSampling, anywhere, draw_points, sample


def lesion(size: int = 2) -> torch.Tensor:
    """A cube in a patch of 16 x 32 x 32: 0.05 % of it at size 2."""
    mask = torch.zeros(1, 16, 32, 32)
    mask[0, 4 : 4 + size, 10 : 10 + size, 20 : 20 + size] = 1
    return mask


def share_inside(how: PointSampling) -> float:
    torch.manual_seed(0)
    truth = lesion()
    points = draw_points(torch.zeros(1, 16, 32, 32), truth, how)
    assert points.shape == (1, how.points, 3) and points.min() >= 0 and points.max() <= 1
    voxels = (points[0] * torch.tensor([16, 32, 32])).long()
    return float(truth[0][voxels[:, 0], voxels[:, 1], voxels[:, 2]].mean())


def test_the_share_of_the_foreground_is_raised() -> None:
    plain = PointSampling(points=4000, uncertain=0.0, foreground=0.0)
    raised = PointSampling(points=4000, uncertain=0.0, foreground=0.25)
    assert share_inside(plain) < 0.005
    assert share_inside(raised) == pytest.approx(0.25, abs=0.005)


def test_uncertain_points_lie_where_logits_are_near_zero() -> None:
    torch.manual_seed(0)
    logits = torch.full((1, 8, 16, 16), 9.0)
    logits[..., 8:] = -9.0  # unsure between columns 7 and 8
    how = PointSampling(points=400, oversample=20.0, uncertain=1.0)
    x = draw_points(logits, torch.zeros(1, 8, 16, 16), how)[0, :, 2] * 16
    assert (x - 8).abs().max() < 1.0


def test_an_empty_mask_has_points_anywhere() -> None:
    torch.manual_seed(0)
    how = PointSampling(points=300, uncertain=0.0, foreground=1.0)
    points = draw_points(torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4), how)
    assert points.min() < 0.05 and points.max() > 0.95


def test_values_are_linear_between_the_middles_of_voxels() -> None:
    z, y, x = torch.meshgrid(*(torch.arange(n) + 0.5 for n in (4, 6, 8)), indexing="ij")
    volumes = torch.stack([z, y, x, z + 10 * y + 100 * x])
    points = torch.tensor([[[0.5, 0.5, 0.5], [0.25, 0.75, 0.3], [0.0, 1.0, 0.5]]])
    found = sample(volumes, points)
    at = points[0] * torch.tensor([4, 6, 8])
    at = at.clamp(torch.tensor(0.5), torch.tensor([3.5, 5.5, 7.5]))  # the edge repeats
    expected = torch.cat([at.T, (at * torch.tensor([1.0, 10.0, 100.0])).sum(1)[None]])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    # each volume at points of its own
    own = sample(volumes, points.expand(4, -1, -1).contiguous())
    torch.testing.assert_close(own, found)


def test_no_gradient_flows_into_the_choice_of_points() -> None:
    logits = torch.randn(2, 4, 4, 4, requires_grad=True)
    assert not draw_points(logits, torch.ones(2, 4, 4, 4), PointSampling(points=20)).requires_grad
    assert anywhere(2, 5).shape == (2, 5, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"points": 0},
        {"oversample": 0.5},
        {"uncertain": 0.8, "foreground": 0.3},
        {"uncertain": -0.1},
    ],
)
def test_shares_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="got"):
        PointSampling(**wrong)
