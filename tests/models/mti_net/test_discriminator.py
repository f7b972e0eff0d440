"""The task-driven discriminator: order, missing phases, gradients, learning."""

import torch
import torch.nn.functional as F

from liverleaf.models.mti_net.discriminator import TaskDrivenDiscriminator

torch.set_num_threads(1)


def test_the_discriminator_does_not_look_at_missing_phases() -> None:
    torch.manual_seed(0)
    critic = TaskDrivenDiscriminator(4, 2)
    curve, types = torch.randn(3, 4), torch.rand(3, 2).softmax(-1)
    present = torch.ones(3, 4, dtype=torch.bool)
    present[0, 1] = False
    other = curve.clone()
    other[0, 1] += 50
    torch.testing.assert_close(critic(curve, types, present), critic(other, types, present))
    other[1, 1] += 50
    assert not torch.allclose(critic(curve, types, present)[1], critic(other, types, present)[1])


def test_the_discriminator_has_nothing_to_say_of_no_lesions() -> None:
    assert TaskDrivenDiscriminator(4, 2)(
        torch.zeros(0, 4), torch.zeros(0, 2), torch.zeros(0, 4, dtype=torch.bool)
    ).shape == (0,)


def test_the_discriminator_knows_the_order_of_the_phases_and_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    critic = TaskDrivenDiscriminator(4, 2)
    curve = torch.randn(2, 4)
    types = torch.rand(2, 2).softmax(-1)
    present = torch.ones(2, 4, dtype=torch.bool)
    logits = critic(curve, types, present)
    assert logits.shape == (2,)
    assert not torch.allclose(logits, critic(curve.flip(1), types, present))
    F.binary_cross_entropy_with_logits(logits, torch.tensor([1.0, 1.0])).backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0
        for parameter in critic.parameters()
    )


def test_the_discriminator_learns_to_tell_consistent_pairs_from_crossed_ones() -> None:
    torch.manual_seed(0)
    critic = TaskDrivenDiscriminator(4, 2, width=16, heads=2)
    types = torch.eye(2)[[0, 1] * 8]
    curve = torch.where(types[:, :1] > 0, 1.0, -1.0) * torch.ones(16, 4)
    present = torch.ones(16, 4, dtype=torch.bool)
    optimiser = torch.optim.Adam(critic.parameters(), lr=5e-3)
    for _ in range(60):
        real, crossed = critic(curve, types, present), critic(-curve, types, present)
        loss = F.softplus(-real).mean() + F.softplus(crossed).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (real > 0).all() and (crossed < 0).all()
