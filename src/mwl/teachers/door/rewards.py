"""Reward of training at the door: pure functions of batched quantities, summed with the weights of a configuration.

The benchmark's own reward has an optimum in leaning on the shut door, since it rewards standing far ahead; here the
way through is worth nothing before the leaf is open, and the angle of the leaf is worth most.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mwl.robot import frames
from mwl.teachers.door.geometry import HandsAtDoor
from mwl.teachers.rewards import stature


@dataclass(frozen=True)
class DoorRewardConfig:
    """Weights of the terms, per control step."""

    posture: ClassVar[float] = 0.10
    near_grip: ClassVar[float] = 0.5
    """For the right hand's nearness to the bar, as long as the leaf isn't wide open."""
    hatch: ClassVar[float] = 0.8
    hinge: ClassVar[float] = 3.0
    """Per rad of the leaf."""
    opening: ClassVar[float] = 1.5
    """Per rad/s of the leaf, once the bolt is free."""
    behind_edge: ClassVar[float] = 0.3
    """For the left hand's nearness to the leaf's outer face, once the leaf is ajar."""
    hinge_limit: float = 1.2
    """Angle in rad beyond which opening has no more reward; the benchmark rewards up to 1."""
    passed: float = 0.6
    """Per m of the root's way through, once the leaf is open or the door is passed."""
    held: tuple[float, float] = (0.4, 0.8)
    """Angles of the leaf in rad from which, and up to which in full, the way through is rewarded."""
    hatch_held: float = 0.0
    """For a hatch that stays turned while the leaf is held open, in full from 0.75 rad as in the benchmark."""
    beyond: bool = True
    """Whether a leaf that fell to behind who has passed counts as open."""
    action_rate: ClassVar[float] = 0.010
    action_size: ClassVar[float] = 0.004
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


def door_states(
    at_door: HandsAtDoor, qpos: Tensor, qvel: Tensor, fallen: Tensor, action: Tensor, action_change: Tensor
) -> DoorStates:
    """What the reward is computed from, of the task's `qpos` `[N, 28]` and `qvel` `[N, 27]` and where the hands are."""
    return DoorStates(
        posture=stature(qpos[:, 2], frames.rotation_matrix(qpos[:, 3:7])[:, 2, 2]),
        grip_distance=(at_door.grip - at_door.hands[:, 1]).norm(dim=-1),
        edge_distance=(at_door.behind_edge - at_door.hands[:, 0]).norm(dim=-1),
        hinge=qpos[:, 26],
        hinge_rate=qvel[:, 25],
        hatch=qpos[:, 27],
        root_x=qpos[:, 0],
        fallen=fallen,
        action=action,
        action_change=action_change,
    )


def door_reward(states: DoorStates, config: DoorRewardConfig) -> Tensor:
    """Reward of one control step, `[N]`."""
    hinge = states.hinge.clamp(0, config.hinge_limit)
    beyond = ((states.root_x - 0.8) / 0.3).clamp(0, 1) if config.beyond else torch.zeros_like(hinge)
    wide = ((hinge - 0.4) / 0.4).clamp(0, 1).maximum(beyond)
    begins, ends = config.held
    held = ((hinge - begins) / (ends - begins)).clamp(0, 1).maximum(beyond)
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
        + config.hatch_held * held * (states.hatch / 0.75).clamp(0, 1)
        + config.passed * held * (states.root_x + 0.3).clamp(0, 1.6)
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
