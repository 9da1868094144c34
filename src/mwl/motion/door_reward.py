"""Reward of training at the door: pure functions of batched quantities, summed with the weights of a configuration.

The benchmark's own reward has an optimum in leaning on the shut door, since it pays for standing far ahead; here the
way through is worth nothing before the leaf is open, and the angle of the leaf is worth most.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DoorRewardConfig:
    """Weights of the terms, per control step."""

    posture: float = 0.10
    near_grip: float = 0.5
    """For the right hand's nearness to the bar, as long as the leaf isn't wide open."""
    hatch: float = 0.8
    hinge: float = 3.0
    """Per rad of the leaf."""
    opening: float = 1.5
    """Per rad/s of the leaf, once the bolt is free."""
    behind_edge: float = 0.3
    """For the left hand's nearness to the leaf's outer face, once the leaf is ajar."""
    passed: float = 0.6
    """Per m of the root's way through, once the leaf is open or the door is passed."""
    action_rate: float = 0.010
    action_size: float = 0.004
    fall: float = 2.0


@dataclass(frozen=True)
class DoorStates:
    """What the reward is computed from, each `[N]` unless noted; m, rad, s."""

    posture: Tensor  # the benchmark's posture factor in [0, 1]
    grip_distance: Tensor  # of the right hand to where it should press
    edge_distance: Tensor  # of the left hand to where it could push the leaf from behind
    hinge: Tensor
    hinge_rate: Tensor
    hatch: Tensor
    root_x: Tensor
    fallen: Tensor  # bool
    action: Tensor  # [N, A]
    action_change: Tensor  # [N, A]


def door_reward(states: DoorStates, config: DoorRewardConfig) -> Tensor:
    """Reward of one control step, `[N]`."""
    hinge = states.hinge.clamp(0, 1.2)
    beyond = ((states.root_x - 0.8) / 0.3).clamp(0, 1)  # the leaf falls to behind who has passed: nothing lost
    wide = ((hinge - 0.4) / 0.4).clamp(0, 1).maximum(beyond)
    free = ((states.hatch - 0.6) / 0.4).clamp(0, 1).maximum((hinge / 0.1).clamp(0, 1))
    ajar = ((hinge - 0.15) / 0.15).clamp(0, 1)
    at_grip, behind = _nearness(states.grip_distance), _nearness(states.edge_distance)
    return (
        config.posture * states.posture
        + config.near_grip * at_grip.maximum(wide)
        + config.hatch * (states.hatch / 1.6).clamp(0, 1).maximum(wide)
        + config.hinge * hinge
        + config.opening * free * states.hinge_rate.clamp(-0.6, 0.6)
        + config.behind_edge * ajar * behind.maximum(wide)
        + config.passed * wide * (states.root_x + 0.3).clamp(0, 1.6)
        - config.action_rate * states.action_change.square().mean(dim=-1)
        - config.action_size * states.action.square().mean(dim=-1)
        - config.fall * states.fallen.float()
    )


def _nearness(distance: Tensor) -> Tensor:
    """1 at distance 0 m, with a slope that draws from 1 m away and steeper ones within 25 cm and 8 cm."""
    return (
        0.4 * (1 - distance).clamp(min=0)
        + 0.3 * torch.exp(-((distance / 0.25) ** 2))
        + 0.3 * torch.exp(-((distance / 0.08) ** 2))
    )
