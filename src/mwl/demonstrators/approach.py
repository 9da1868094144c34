"""Going to a target: a walker steered by the target's bearing, which keeps stepping on the spot once it is there."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mwl.robot import frames
from mwl.robot.standoff import STANDOFF
from mwl.teachers.teacher import TrackingPolicy

GOAL = slice(54, 57)  # in the observation of h1-reach, m, world frame


@dataclass(frozen=True)
class ApproachConfig:
    """How the robot walks to a target."""

    standoff: tuple[float, float] = STANDOFF
    """Where the target should come to lie: m ahead of the pelvis and m to the left, within the left hand's reach."""
    far: float = 0.7
    """Horizontal distance in m beyond which the robot faces the target and walks; nearer, it steps to all sides."""
    facing: float = 0.9
    """Bearing in rad beyond which a far robot only turns."""
    gain: float = 1.5
    """Speed per distance, 1/s, and turning rate per bearing, 1/s."""
    max_forward: float = 1.3
    max_sideways: float = 0.35
    max_turning: float = 0.7


class Approach:
    """Demonstrator of the way to a target of h1-reach.

    Args:
        walker: a commanded walking teacher.
        config: see there.
    """

    name = "approach"
    command = None  # the task shows its goal

    def __init__(self, walker: TrackingPolicy, config: ApproachConfig | None = None) -> None:
        self.config, self._walker = config or ApproachConfig(), walker
        self.noise_scale = walker.noise_scale

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Begin anew where `mask` `[N]` holds."""
        self._walker.reset(observation, mask)

    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, 19]` in [-1, 1] at observations `[N, 57]` of h1-reach."""
        self._walker.steer(self._velocity(observation))
        return self._walker.act(observation)

    def executed(self, action: Tensor) -> None:
        """Hear which action `[N, 19]` was executed."""
        self._walker.executed(action)

    def describe(self) -> dict[str, Any]:
        """Provenance of the walker."""
        return self._walker.describe()

    def _velocity(self, observation: Tensor) -> Tensor:
        """Command `[N, 3]` that brings the robot to its standoff."""
        config, goal = self.config, in_heading(observation)
        ahead, left = goal[:, 0] - config.standoff[0], goal[:, 1] - config.standoff[1]
        bearing, far = torch.atan2(goal[:, 1], goal[:, 0]), goal[:, :2].norm(dim=-1) > config.far
        forward = (config.gain * ahead).clamp(-0.4, config.max_forward)
        forward = torch.where(far & (bearing.abs() > config.facing), 0.0, forward)
        sideways = (config.gain * left).clamp(-config.max_sideways, config.max_sideways)
        turning = (config.gain * bearing).clamp(-config.max_turning, config.max_turning)
        return torch.stack([forward, torch.where(far, 0.0, sideways), torch.where(far, turning, 0.0)], dim=-1)


def in_heading(observation: Tensor) -> Tensor:
    """The goal `[N, 3]` from the pelvis in the heading frame, m, at observations `[N, 57]` of h1-reach."""
    yaw = frames.heading(frames.rotation_matrix(observation[:, 3:7]))
    return frames.to_heading(yaw, observation[:, GOAL] - observation[:, :3])
