"""The body of a robot at the door: a frozen walker below, free trunk and arms above, and what a policy for it observes.

Training environment and finished demonstrator share this file, so that a policy meets the same world in both.
"""

from dataclasses import dataclass

import mujoco
import torch
from torch import Tensor

from mwl.robot import frames
from mwl.robot.h1 import CTRL_HIGH, CTRL_LOW, JOINT_NAMES
from mwl.teachers.door.geometry import DoorGeometry, HandsAtDoor
from mwl.teachers.gait_observation import MAX_ACTION, RESIDUAL_JOINTS, GaitController
from mwl.teachers.teacher import TrackingPolicy

LEGS, UPPER = slice(0, 10), slice(10, 19)
ACTION_SIZE = 3 + len(JOINT_NAMES)  # velocity command, then all joints
READY = (0.0, -0.3, 0.2, 0.0, 0.0, -0.3, -0.2, 0.3, 0.0)  # rad: trunk and arms before the door, forearms ahead
_COMMAND_LIMIT = torch.tensor([0.6, 0.35, 0.6])  # m/s forward and sideways, rad/s
_HEADING_LEAD = 0.4  # rad by which the wanted heading may lead the true one


@dataclass(frozen=True)
class DoorActionScale:
    """What one unit of action means: m/s, rad/s, and rad added to walker or ready pose."""

    forward: float = 0.3
    sideways: float = 0.2
    turning: float = 0.4
    legs: float = 0.08
    torso: float = 0.25
    arms: float = 0.4

    def per_action(self) -> Tensor:
        """Scale of each action `[22]`."""
        base = [self.forward, self.sideways, self.turning]
        return torch.tensor([*base, *[self.legs] * 10, self.torso, *[self.arms] * 8])


class DoorController:
    """Walker, action mapping and observation of N robots at the door.

    The walker is told that trunk and arms are where its gait wants them, so that their work doesn't disturb its stride.

    Args:
        model: compiled model of the door scene.
        walker: moves the legs; frozen.
        scale: what one unit of action means.
        num_envs: N.
    """

    def __init__(self, model: mujoco.MjModel, walker: TrackingPolicy, scale: DoorActionScale, num_envs: int) -> None:
        tracking = walker.config.tracking
        self.gait = GaitController(walker.cycle, tracking.scale, num_envs, tracking.command.ramp_rate)
        self.previous_action = torch.zeros(num_envs, ACTION_SIZE)
        self._geometry = DoorGeometry(model)
        self._walker, self._scale = walker, scale.per_action()
        self._ready = torch.tensor(READY)
        self._low, self._high = torch.as_tensor(CTRL_LOW).float(), torch.as_tensor(CTRL_HIGH).float()
        self._targets = torch.zeros(num_envs, len(JOINT_NAMES))

    def restart(self, mask: Tensor, heading: Tensor | None = None) -> None:
        """Begin anew, from rest, where `mask` `[N]` holds; `heading` `[N]` in rad is wanted first, 0 unless given."""
        nothing = torch.zeros(len(mask))
        wanted = nothing if heading is None else heading
        self.gait.restart(mask, nothing, torch.zeros(len(mask), 3), nothing, wanted)
        self.previous_action = torch.where(mask.unsqueeze(-1), 0.0, self.previous_action)

    def memory(self) -> Tensor:
        """All that the controller remembers, `[N, M]`."""
        gait = self.gait
        columns = [gait.phase[:, None], gait.target, gait.command, gait.desired_heading[:, None]]
        return torch.cat([*columns, gait.previous_action, self.previous_action], dim=-1)

    def recall(self, mask: Tensor, memory: Tensor) -> None:
        """Remember `memory` `[N, M]` where `mask` `[N]` holds."""
        sizes = [1, 3, 3, 1, len(RESIDUAL_JOINTS), ACTION_SIZE]
        phase, target, command, heading, residual, action = memory.split(sizes, dim=-1)
        gait, chosen = self.gait, mask.unsqueeze(-1)
        gait.phase = torch.where(mask, phase[:, 0], gait.phase)
        gait.target = torch.where(chosen, target, gait.target)
        gait.command = torch.where(chosen, command, gait.command)
        gait.desired_heading = torch.where(mask, heading[:, 0], gait.desired_heading)
        gait.previous_action = torch.where(chosen, residual, gait.previous_action)
        self.previous_action = torch.where(chosen, action, self.previous_action)

    def measure(self, qpos: Tensor) -> HandsAtDoor:
        """Hands beside the door at `qpos` `[N, 28]`."""
        return self._geometry.measure(qpos)

    def observe(self, qpos: Tensor, qvel: Tensor) -> Tensor:
        """What the policy sees `[N, 99]` of the task's `qpos` `[N, 28]` and `qvel` `[N, 27]`."""
        rotation = frames.rotation_matrix(qpos[:, 3:7])
        yaw = frames.heading(rotation)
        at_door = self.measure(qpos)
        angle = 2 * torch.pi * self.gait.phase
        clock = torch.stack([angle.sin(), angle.cos(), self.gait.heading_error(rotation)], dim=-1)
        return torch.cat(
            [
                qpos[:, :3],
                frames.gravity_in_body(rotation),
                torch.stack([yaw.cos(), yaw.sin()], dim=-1),
                frames.to_body(rotation, qvel[:, :3]),
                qvel[:, 3:6],
                qpos[:, 7:26],
                0.1 * qvel[:, 6:25],
                qpos[:, 26:],
                qvel[:, 25:],
                self.previous_action,
                self.gait.command,
                clock,
                at_door.hands[:, 0],
                at_door.hands[:, 1],
                at_door.grip - at_door.hands[:, 1],
                at_door.behind_edge - at_door.hands[:, 0],
            ],
            dim=-1,
        )

    @torch.no_grad()
    def joint_targets(self, action: Tensor, qpos: Tensor, qvel: Tensor) -> Tensor:
        """Position targets `[N, 19]` in rad of actions `[N, 22]`; they become the previous ones, and time moves on."""
        self.previous_action = action.clamp(-MAX_ACTION, MAX_ACTION)
        scaled = self._scale * self.previous_action
        self._command(scaled[:, :3], qpos)
        pose = self.gait.reference().joints
        joints, velocity = qpos[:, 7:26].clone(), qvel[:, 6:25].clone()
        joints[:, UPPER], velocity[:, UPPER] = pose[:, UPPER], 0.0
        told = torch.cat([qpos[:, :7], joints], dim=-1), torch.cat([qvel[:, :6], velocity], dim=-1)
        residual = self._walker.agent.act(self.gait.observe(*told)).clamp(-MAX_ACTION, MAX_ACTION)
        legs = self.gait.joint_targets(residual)[:, LEGS]
        self.gait.advance()
        targets = torch.cat([legs + scaled[:, 3:13], self._ready + scaled[:, 13:]], dim=-1)
        self._targets = targets.clamp(self._low, self._high)
        return self._targets

    def recall_targets(self, targets: Tensor) -> None:
        """Take executed position targets `[N, 19]` for the previous action's, as far as legs, trunk and arms go.

        What the servos' range cut off the action stays in it, see `GaitController.recall_targets`.
        """
        joints = self.previous_action[:, 3:] + (targets - self._targets) / self._scale[3:]
        action = torch.cat([self.previous_action[:, :3], joints], dim=-1)
        self.previous_action = action.clamp(-MAX_ACTION, MAX_ACTION)

    def _command(self, velocity: Tensor, qpos: Tensor) -> None:
        """Tell the walker a velocity `[N, 3]`, smoothed over five steps."""
        gait = self.gait
        gait.target = gait.target + 0.2 * (velocity.clamp(-_COMMAND_LIMIT, _COMMAND_LIMIT) - gait.target)
        gait.command = torch.cat([gait.command[:, :1], gait.target[:, 1:]], dim=-1)
        error = gait.heading_error(frames.rotation_matrix(qpos[:, 3:7]))
        excess = error - error.clamp(-_HEADING_LEAD, _HEADING_LEAD)
        gait.desired_heading = gait.desired_heading + excess
