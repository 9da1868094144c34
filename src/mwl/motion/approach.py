"""Going to a target and touching it: a walker steered by the target's bearing, its left arm by inverse kinematics.

Where the target lies within reach of a standing robot, it stands; else it walks there and keeps stepping on the spot.
"""

from dataclasses import dataclass, field
from typing import Any

import mujoco
import torch
from torch import Tensor

from mwl.motion import frames
from mwl.motion.reach import CHAIN, HandKinematics, Reach, ReachConfig
from mwl.motion.teacher import TrackingPolicy
from mwl.simulation.robot import action_to_ctrl, ctrl_to_action

GOAL = slice(54, 57)  # in the observation of h1-reach, m, world frame
_ARM = slice(CHAIN.start + 1, CHAIN.stop)  # the chain without the waist, which walking needs
_ARM_QPOS = slice(7 + _ARM.start, 7 + _ARM.stop)
_ARM_QVEL = slice(26 + 6 + _ARM.start, 26 + 6 + _ARM.stop)
_STANDING_ERROR = 0.02  # m; targets to which inverse kinematics comes as close are reached standing
_SOLVE_INTERVAL = 10  # control steps between solutions of the arm's pose


@dataclass(frozen=True)
class ApproachConfig:
    """How the robot walks to a target."""

    standoff: tuple[float, float] = (0.32, 0.18)
    """Where the target should come to lie: m ahead of the pelvis and m to the left."""
    far: float = 0.7
    """Horizontal distance in m beyond which the robot faces the target and walks; nearer, it steps to all sides."""
    facing: float = 0.9
    """Bearing in rad beyond which a far robot only turns."""
    gain: float = 1.5
    """Speed per distance, 1/s, and turning rate per bearing, 1/s."""
    max_forward: float = 1.3
    max_sideways: float = 0.35
    max_turning: float = 0.7
    arm_distance: float = 0.8
    """Horizontal distance in m from which the arm is raised."""
    arm_rate: float = 0.015
    """Fastest change of the arm's servo targets, rad per control step; faster swings topple the walker."""
    reach: ReachConfig = field(default_factory=ReachConfig)
    """How a standing robot reaches."""


class Approach:
    """Demonstrator of h1-reach for targets near and far.

    Args:
        model: the benchmark's robot model; frame_skip: physics steps per control step.
        walker: a commanded walking teacher.
        config: see there.
    """

    name = "approach"
    command = None  # the task shows its goal

    def __init__(
        self, model: mujoco.MjModel, frame_skip: int, walker: TrackingPolicy, config: ApproachConfig | None = None
    ) -> None:
        self.config, self._walker = config or ApproachConfig(), walker
        self._kinematics = HandKinematics(model)
        self._stander = Reach(model, frame_skip, self.config.reach, targets=torch.zeros(1, 3))
        self._arm = self._solution = torch.zeros(0, _ARM.stop - _ARM.start)
        self._standing = torch.zeros(0, 1, dtype=torch.bool)
        self._step = 0
        self.noise_scale = walker.noise_scale

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Begin anew where `mask` `[N]` holds: decide who stands and who walks."""
        count = len(observation)
        if mask is None or len(self._arm) != count:
            mask = torch.ones(count, dtype=torch.bool)
            self._arm = self._solution = torch.zeros(count, _ARM.stop - _ARM.start)
            self._standing = torch.zeros(count, 1, dtype=torch.bool)
        _, error = self._kinematics.solve(_in_body(observation))
        chosen = mask.unsqueeze(-1)
        self._standing = torch.where(chosen, (error < _STANDING_ERROR).unsqueeze(-1), self._standing)
        self._arm = torch.where(chosen, observation[:, _ARM_QPOS], self._arm)
        self._solution = torch.where(chosen, self._arm, self._solution)
        self._stander.aim(observation[:, GOAL].clone())
        self._stander.reset(observation, mask)
        self._walker.reset(observation, mask)
        self.noise_scale = torch.where(self._standing, self._stander.noise_scale, self._walker.noise_scale)

    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, 19]` in [-1, 1] at observations `[N, 57]` of h1-reach."""
        return torch.where(self._standing, self._stander.act(observation), self._walk(observation))

    def executed(self, action: Tensor) -> None:
        """Hear which action `[N, 19]` was executed; of the arm, the walker only knows its own answer."""
        told = action.clone()
        told[:, _ARM] = self._answer[:, _ARM]
        self._walker.executed(told)

    def describe(self) -> dict[str, Any]:
        """Provenance of the walker; standing and arm are computed."""
        return self._walker.describe()

    def _walk(self, observation: Tensor) -> Tensor:
        self._walker.steer(self._velocity(observation))
        # The walker was trained with its arms at the reference; it is told that they are there.
        told = observation.clone()
        told[:, _ARM_QPOS] = self._walker.reference()[:, _ARM]
        told[:, _ARM_QVEL] = 0.0
        self._answer = self._walker.act(told)
        targets = torch.from_numpy(action_to_ctrl(self._answer.numpy())).float()
        targets[:, _ARM] = self._arm_targets(observation, targets[:, _ARM])
        return torch.from_numpy(ctrl_to_action(targets.numpy())).clamp(-1, 1)

    def _velocity(self, observation: Tensor) -> Tensor:
        """Command `[N, 3]` that brings the robot to its standoff."""
        config, goal = self.config, _in_heading(observation)
        ahead, left = goal[:, 0] - config.standoff[0], goal[:, 1] - config.standoff[1]
        bearing, far = torch.atan2(goal[:, 1], goal[:, 0]), goal[:, :2].norm(dim=-1) > config.far
        forward = (config.gain * ahead).clamp(-0.4, config.max_forward)
        forward = torch.where(far & (bearing.abs() > config.facing), 0.0, forward)
        sideways = (config.gain * left).clamp(-config.max_sideways, config.max_sideways)
        turning = (config.gain * bearing).clamp(-config.max_turning, config.max_turning)
        return torch.stack([forward, torch.where(far, 0.0, sideways), torch.where(far, turning, 0.0)], dim=-1)

    def _arm_targets(self, observation: Tensor, swing: Tensor) -> Tensor:
        """Servo targets of the left arm `[N, 4]` in rad: to the goal where it is near, else `swing` of the gait."""
        if self._step % _SOLVE_INTERVAL == 0:
            self._solution = self._kinematics.solve(_in_body(observation), iterations=30)[0][:, 1:]
        self._step += 1
        near = _in_heading(observation)[:, :2].norm(dim=-1, keepdim=True) < self.config.arm_distance
        wanted = torch.where(near, self._solution, swing)
        rate = self.config.arm_rate
        self._arm = self._arm + (wanted - self._arm).clamp(-rate, rate)
        return self._arm


def _offset(observation: Tensor) -> tuple[Tensor, Tensor]:
    rotation = frames.rotation_matrix(observation[:, 3:7])
    return rotation, observation[:, GOAL] - observation[:, :3]


def _in_body(observation: Tensor) -> Tensor:
    """The goal `[N, 3]` from the pelvis in the body frame, m."""
    rotation, offset = _offset(observation)
    return frames.to_body(rotation, offset)


def _in_heading(observation: Tensor) -> Tensor:
    """The goal `[N, 3]` from the pelvis in the heading frame, m."""
    rotation, offset = _offset(observation)
    return frames.to_heading(frames.heading(rotation), offset)
