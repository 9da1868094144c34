"""Losses of TD-MPC2 (eqs. 3 and 4) with the lambda term of guidance, each a function of tensors.

Shapes: H steps, B sequences, D latent units, A actions. Time comes first.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mwl.world_model.network import WorldModel, binary_cross_entropy

RHO = 0.5  # weight of each further step of the unrolled model
CONSISTENCY_WEIGHT, REWARD_WEIGHT, VALUE_WEIGHT, TERMINATION_WEIGHT = 20.0, 0.1, 0.1, 1.0  # TD-MPC2's


class Batch(NamedTuple):
    """Sequences from the replay buffer."""

    features: Tensor  # [H+1, B, F]
    action: Tensor  # [H, B, A]
    reward: Tensor  # [H, B]
    terminated: Tensor  # [H, B] bool; a time limit is no termination and is bootstrapped through
    reference: Tensor | None = None  # [H+1, B, A]
    expert_action: Tensor | None = None  # [H, B, K, A]

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return Batch(*(None if part is None else part.to(device) for part in self))  # type: ignore[arg-type]


def discount_for(episode_steps: int) -> float:
    """Discount in [0.95, 0.995] from the episode length T: 1 - 5/T (TD-MPC2, appendix)."""
    fraction = episode_steps / 5
    return min(max((fraction - 1) / fraction, 0.95), 0.995)


def step_weights(horizon: int, rho: float, like: Tensor) -> Tensor:
    """Weights rho^t `[H]`."""
    return rho ** torch.arange(horizon, dtype=like.dtype, device=like.device)


def consistency_loss(predicted: Tensor, target: Tensor, rho: float) -> Tensor:
    """Mean over H of rho^t times the mean squared error of latents `[H, B, D]`."""
    per_step = (predicted - target).square().mean(dim=(1, 2))
    return (step_weights(len(per_step), rho, per_step) * per_step).mean()


def weighted_mean(per_step: Tensor, rho: float) -> Tensor:
    """Mean over H of rho^t times the mean over the batch of losses `[..., H, B]`; leading dimensions are averaged."""
    steps = per_step.mean(dim=-1)
    return (step_weights(steps.shape[-1], rho, steps) * steps).mean()


@torch.no_grad()
def td_target(reward: Tensor, terminated: Tensor, next_value: Tensor, discount: float, trace: float = 0.0) -> Tensor:
    """Targets r + gamma (1 - terminated) min(Q) `[H, B]`, or lambda-returns along the slices, as TD(lambda) has them.

    Args:
        reward: `[H, B]`.
        terminated: `[H, B]`, true ends alone.
        next_value: `[2, H, B]` estimates of the two target networks drawn.
        discount: gamma.
        trace: lambda, the share of the next target against the next value.
    """
    value, weight = next_value.amin(dim=0), discount * (~terminated).to(reward.dtype)
    one_step = reward + weight * value
    if not trace:
        return one_step
    targets = [one_step[-1]]
    for t in range(len(reward) - 2, -1, -1):
        targets.append(one_step[t] + trace * weight[t] * (targets[-1] - value[t]))
    return torch.stack(targets[::-1])


@torch.no_grad()
def next_values(model: WorldModel, latent: Tensor, reference: Tensor | None, policy_base: bool, best: bool) -> Tensor:
    """Target Q `[2, H, B]` at next latents `[H, B, D]` under the policy.

    With `best` the reference action is taken wherever the smaller of both estimates prefers it.
    """
    members = model.draw()
    policy = model.target_q(latent, model.policy(latent, reference if policy_base else None).action, members)
    if not best or reference is None:
        return policy
    expert = model.target_q(latent, reference, members)
    return torch.where(expert.amin(dim=0) > policy.amin(dim=0), expert, policy)


class ModelLosses(NamedTuple):
    """Parts of the world model's loss, and the unrolled latents `[H+1, B, D]`."""

    consistency: Tensor
    reward: Tensor
    value: Tensor
    termination: Tensor
    experts: Tensor
    latents: Tensor


def model_losses(
    model: WorldModel,
    batch: Batch,
    discount: float,
    rho: float,
    policy_base: bool,
    best: bool,
    trace: float = 0.0,
) -> ModelLosses:
    """Unroll the model along recorded actions and compare it with what happened."""
    horizon = len(batch.action)
    with torch.no_grad():
        true_latents = model.encode(batch.features[1:])
        reference = batch.reference[1:] if batch.reference is not None else None
        values = next_values(model, true_latents, reference, policy_base, best)
        target = td_target(batch.reward, batch.terminated, values, discount, trace)
    latents = [model.encode(batch.features[0])]
    for t in range(horizon):
        latents.append(model.next(latents[-1], batch.action[t]))
    unrolled = torch.stack(latents)
    starts = unrolled[:-1]
    reward_loss = model.reward_codec.loss(model.reward_logits(starts, batch.action), batch.reward)
    q_logits = model.q_logits(starts, batch.action)
    value_loss = model.codec.loss(q_logits, (target - model.value_offset).expand(q_logits.shape[:-1]))
    experts = unrolled.new_zeros(())
    if batch.expert_action is not None:  # the latents are for the world; the experts must not bend them
        experts = (model.expert_actions(starts.detach()) - batch.expert_action).square().mean()
    return ModelLosses(
        consistency=consistency_loss(unrolled[1:], true_latents, rho),
        reward=weighted_mean(reward_loss, rho),
        value=weighted_mean(value_loss, rho),
        termination=binary_cross_entropy(model.termination_logit(unrolled[1:]), batch.terminated),
        experts=experts,
        latents=unrolled,
    )


class PolicyLosses(NamedTuple):
    """Parts of the policy's loss, and the Q `[H+1, B]` it was computed from."""

    improvement: Tensor
    guidance: Tensor
    q: Tensor
    entropy: Tensor


def policy_losses(
    model: WorldModel,
    latents: Tensor,
    scale: Tensor,
    rho: float,
    entropy_weight: float,
    reference: Tensor | None = None,
    policy_base: bool = False,
    unit: Tensor | None = None,
) -> PolicyLosses:
    """Maximise Q and entropy, and stay near the reference action.

    Args:
        model: its Q weights get no gradient.
        latents: `[H+1, B, D]`, detached.
        scale: running scale S of Q.
        rho: weight of each further step.
        entropy_weight: of the scaled entropy.
        reference: `[H+1, B, A]`, or None without guidance.
        policy_base: whether the policy is centred on the reference.
        unit: `[A]` action per radian; distances are then in rad, as an action means another angle for every joint.
    """
    sample = model.policy(latents, reference if policy_base else None)
    q = model.q(latents, sample.action, model.draw(), frozen=True).mean(dim=0)
    improvement = -weighted_mean(entropy_weight * sample.entropy + q / scale, rho)
    guidance = q.new_zeros(())
    if reference is not None:
        distance = ((sample.action - reference) / (1.0 if unit is None else unit)).square().sum(dim=-1)
        guidance = weighted_mean(distance, rho)
    return PolicyLosses(improvement, guidance, q.detach(), sample.entropy.detach().mean())


def lambda_at(mode: str, weight: float, decay_steps: int, env_steps: int, lambda_scale: float = 1.0) -> float:
    """The weight lambda: 0, constant, falling linearly to 0 with the steps, or with the square of the trust earned."""
    if mode == "off":
        return 0.0
    if mode == "trust":
        return weight * lambda_scale**2
    if mode == "decay":
        return weight * max(0.0, 1 - env_steps / decay_steps)
    return weight


class RunningScale(nn.Module):
    """Range between the 5th and 95th percentile of Q, at least 1, followed slowly.

    Args:
        rate: share by which it follows per update.
    """

    value: Tensor

    def __init__(self, rate: float = 0.01) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("value", torch.ones(()))

    @torch.no_grad()
    def update(self, q: Tensor) -> None:
        """Take the Q `[B]` of one batch into account."""
        low, high = torch.quantile(q, q.new_tensor([0.05, 0.95]))
        self.value.lerp_((high - low).clamp(min=1).to(self.value.dtype), self.rate)
