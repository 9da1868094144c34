"""Reward of the tracking teachers: pure functions of batched quantities, summed with the weights of a gait.

Recipe and weights were measured for this robot; the benchmark's own return is not optimised, but two of its factors
(how many joints work with little force, and how upright the head is carried) are, because the benchmark rewards them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrackingRewardConfig:
    """Weights of the terms; pairs are `(weight, sharpness)` of `weight * exp(-sharpness * error^2)`."""

    speed: tuple[float, float] = (0.30, 5.0)
    speed_linear: float = 0.0
    """Weight of `max(0, 1 - |error| / 2 m/s)`, a slope that reaches further than the exponential: for running."""
    lag: tuple[float, float] = (0.0, 0.0)
    """What every m/s below the commanded speed costs, and the m/s that are free: for starting."""
    sideways: tuple[float, float] = (0.08, 8.0)
    heading: tuple[float, float] = (0.10, 8.0)
    turning: tuple[float, float] = (0.04, 1.0)
    tilt: tuple[float, float] = (0.08, 10.0)
    legs: tuple[float, float] = (0.22, 1.5)
    arms: tuple[float, float] = (0.03, 2.0)
    stature: float = 0.10
    low_force: float = 0.10
    action_rate: float = 0.01
    action_size: float = 0.002


@dataclass(frozen=True)
class TrackingErrors:
    """What the reward is computed from, each `[N]` unless noted; velocities in m/s and rad/s, angles in rad."""

    speed: Tensor
    sideways: Tensor
    heading: Tensor
    turning: Tensor
    tilt: Tensor  # squared horizontal part of gravity in the body frame
    legs: Tensor  # summed squared joint errors of the ten leg joints
    arms: Tensor  # the same of trunk and arms
    stature: Tensor  # the benchmark's stand_r in [0, 1]
    low_force: Tensor  # mean over the joints of the benchmark's tolerance on force, in [0, 1]
    action: Tensor  # [N, A]
    action_change: Tensor  # [N, A]


def tracking_reward(errors: TrackingErrors, config: TrackingRewardConfig) -> Tensor:
    """Reward of one control step, `[N]`."""

    def peak(term: tuple[float, float], squared_error: Tensor) -> Tensor:
        weight, sharpness = term
        return weight * torch.exp(-sharpness * squared_error)

    lag_cost, free_lag = config.lag
    return (
        peak(config.speed, errors.speed**2)
        + config.speed_linear * (1 - errors.speed.abs() / 2).clamp(min=0)
        - lag_cost * (-errors.speed - free_lag).clamp(min=0)
        + peak(config.sideways, errors.sideways**2)
        + peak(config.heading, errors.heading**2)
        + peak(config.turning, errors.turning**2)
        + peak(config.tilt, errors.tilt)
        + peak(config.legs, errors.legs)
        + peak(config.arms, errors.arms)
        + config.stature * errors.stature
        + config.low_force * errors.low_force
        - config.action_rate * errors.action_change.square().mean(dim=-1)
        - config.action_size * errors.action.square().mean(dim=-1)
    )


def stature(root_height: Tensor, upright: Tensor) -> Tensor:
    """The benchmark's posture factor in [0, 1] `[N]`, from root height in m and the root's vertical cosine.

    The head lies 0.7 m above the pelvis along the trunk; it should be above 1.65 m and the trunk within acos(0.9).
    """
    head = root_height + 0.7 * upright
    standing = torch.exp(torch.log(torch.tensor(0.1)) * ((1.65 - head).clamp(min=0) / 0.4125) ** 2)
    return standing * (1 - (0.9 - upright).clamp(min=0) / 1.9).clamp(min=0)


def low_force_share(force: Tensor) -> Tensor:
    """Mean over joints of the benchmark's tolerance on actuator force `[N, 19]` in N m: 1 at rest, 0 from 10 N m."""
    return (1 - (force / 10) ** 2).clamp(min=0).mean(dim=-1)
