"""Losses, targets, discount and running scale against cases worked out by hand, in float64."""

import math

import pytest
import torch

from mwl.world_model.learning.losses import (
    Batch,
    RunningScale,
    consistency_loss,
    discount_for,
    lambda_at,
    model_losses,
    next_values,
    policy_losses,
    td_target,
    weighted_mean,
)
from mwl.world_model.network import WorldModel

H, B, F, A, K = 3, 16, 5, 2, 2


def make_model(**options) -> WorldModel:
    torch.manual_seed(0)
    return WorldModel(F, A, "0.2M", K, dropout=0.0, **options).double()


def make_batch(terminated: bool = False) -> Batch:
    torch.manual_seed(1)
    kind = {"dtype": torch.float64}
    return Batch(
        features=torch.randn(H + 1, B, F, **kind),
        action=torch.rand(H, B, A, **kind) * 2 - 1,
        reward=torch.rand(H, B, **kind),
        terminated=torch.full((H, B), terminated),
        reference=torch.rand(H + 1, B, A, **kind) - 0.5,
        expert_action=torch.rand(H, B, K, A, **kind) - 0.5,
    )


@pytest.mark.parametrize(("steps", "discount"), [(1000, 0.995), (500, 0.99), (100, 0.95), (20, 0.95), (10**6, 0.995)])
def test_discount_from_episode_length(steps: int, discount: float) -> None:
    assert discount_for(steps) == pytest.approx(discount)


def test_target_bootstraps_with_the_smaller_estimate_unless_terminated() -> None:
    reward = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    value = torch.tensor([[[10.0, 10.0]], [[4.0, 20.0]]], dtype=torch.float64)
    terminated = torch.tensor([[False, True]])
    assert td_target(reward, terminated, value, 0.5).tolist() == [[3.0, 1.0]]  # 1 + 0.5 * min(10, 4); 1 alone


def test_targets_along_a_slice_are_lambda_returns() -> None:
    reward = torch.tensor([[1.0, 1.0], [2.0, 2.0], [8.0, 8.0]], dtype=torch.float64)
    value = torch.tensor([[2.0, 2.0], [6.0, 6.0], [4.0, 4.0]], dtype=torch.float64).expand(2, 3, 2)
    terminated = torch.tensor([[False, False], [False, True], [False, False]])
    # From behind: 8 + 0.5 * 4; 2 + 0.5 * (6 + 10) / 2, or 2 where it fell; 1 + 0.5 * (2 + 6) / 2; as much with 2 for 6.
    assert td_target(reward, terminated, value, 0.5, 0.5).tolist() == [[3.0, 2.0], [6.0, 2.0], [10.0, 10.0]]


def test_consistency_weighs_later_steps_less() -> None:
    # Errors 1, 2, 4 at rho 0.5: (1 * 1 + 0.5 * 4 + 0.25 * 16) / 3 = 7 / 3.
    predicted = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64).view(3, 1, 1).expand(3, 2, 4)
    assert consistency_loss(predicted, torch.zeros_like(predicted), 0.5) == pytest.approx(7 / 3)


def test_weighted_mean_averages_batch_and_ensemble() -> None:
    losses = torch.tensor([[[2.0, 4.0], [8.0, 8.0]], [[0.0, 2.0], [4.0, 4.0]]], dtype=torch.float64)
    # First network: (3 + 0.5 * 8) / 2 = 3.5; second: (1 + 0.5 * 4) / 2 = 1.5; mean 2.5.
    assert weighted_mean(losses, 0.5) == pytest.approx(2.5)


def test_running_scale_follows_the_percentile_range() -> None:
    scale = RunningScale(rate=0.5).double()
    scale.update(torch.arange(101, dtype=torch.float64))  # 5th to 95th percentile: 90; 1 + 0.5 * (90 - 1)
    assert scale.value == pytest.approx(45.5)


def test_running_scale_never_falls_below_one() -> None:
    scale = RunningScale(rate=1.0)
    scale.update(torch.zeros(10))
    assert scale.value == 1.0


@pytest.mark.parametrize(
    ("mode", "steps", "expected"),
    [("off", 0, 0.0), ("constant", 10**6, 2.0), ("decay", 0, 2.0), ("decay", 25, 1.5), ("decay", 200, 0.0)],
)
def test_lambda_schedule(mode: str, steps: int, expected: float) -> None:
    assert lambda_at(mode, 2.0, 100, steps) == pytest.approx(expected)


def test_lambda_falls_with_the_square_of_trust() -> None:
    assert lambda_at("trust", 2.0, 100, 0, lambda_scale=0.5) == pytest.approx(0.5)


def test_untrained_reward_and_value_are_zero_so_their_losses_are_the_log_of_the_bins() -> None:
    parts = model_losses(make_model(), make_batch(), 0.99, 0.5, policy_base=False, best=False)
    expected = math.log(101) * (1 + 0.5 + 0.25) / 3
    assert parts.reward.item() == pytest.approx(expected)
    assert parts.value.item() == pytest.approx(expected)


def test_values_after_a_fall_do_not_reach_the_loss() -> None:
    model = make_model()
    losses = []
    for bias in (0.0, 5.0):  # shifts what the target networks expect of every next state
        with torch.no_grad():
            model.target_qs.linears[-1].bias[..., 70] = bias
        losses.append(
            [
                model_losses(model, make_batch(fallen), 0.99, 0.5, policy_base=False, best=False).value.item()
                for fallen in (True, False)
            ]
        )
    assert losses[0][0] == losses[1][0]
    torch.manual_seed(3)
    with torch.no_grad():  # with logits that differ between bins, another target is another loss
        model.qs.linears[-1].weight.normal_(std=0.1)
        model.target_qs.linears[-1].bias[..., 70] = 0.0
    alive = model_losses(model, make_batch(False), 0.99, 0.5, policy_base=False, best=False).value
    with torch.no_grad():
        model.target_qs.linears[-1].bias[..., 70] = 5.0
    assert model_losses(model, make_batch(False), 0.99, 0.5, policy_base=False, best=False).value != alive


def test_expert_head_does_not_bend_the_latents() -> None:
    model = make_model()
    model_losses(model, make_batch(), 0.99, 0.5, policy_base=True, best=False).experts.backward()
    assert model.expert_head[-1].weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(p.grad is None for p in model.dynamics.parameters())


def test_policy_loss_leaves_the_value_networks_alone() -> None:
    model, batch = make_model(), make_batch()
    with torch.no_grad():
        model.qs.linears[-1].weight.normal_(std=0.1)
    latents = model.encode(batch.features).detach()
    parts = policy_losses(model, latents, torch.ones((), dtype=torch.float64), 0.5, 1e-4, batch.reference)
    (parts.improvement + parts.guidance).backward()
    assert all(p.grad is None for p in model.qs.parameters())
    assert model.policy_head[-1].weight.grad.abs().sum() > 0


def test_policy_centred_on_the_reference_starts_as_the_reference() -> None:
    model, batch = make_model(), make_batch()
    sample = model.policy(model.encode(batch.features), batch.reference)
    assert torch.allclose(sample.mean, batch.reference)


def test_bootstrap_with_the_better_action_never_lowers_the_target() -> None:
    model, batch = make_model(), make_batch()
    with torch.no_grad():
        model.target_qs.linears[-1].weight.normal_(std=0.3)
    latent = model.encode(batch.features[1:])
    values = []
    for best in (False, True):
        torch.manual_seed(5)
        values.append(next_values(model, latent, batch.reference[1:], policy_base=False, best=best).amin(0))
    assert (values[1] >= values[0]).all()
    assert (values[1] > values[0]).any()


def test_targets_follow_by_the_given_share() -> None:
    model = make_model()
    with torch.no_grad():
        model.qs.linears[0].bias.fill_(1.0)
        model.target_qs.linears[0].bias.fill_(0.0)
    model.follow_targets(0.25)
    assert torch.allclose(model.target_qs.linears[0].bias, torch.tensor(0.25, dtype=torch.float64))
