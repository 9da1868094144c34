"""The gait clock of a tracking policy: what it observes, what its actions mean, and how the reference moves on.

The training environment and the finished demonstrator share this file, so that a policy meets the same world in both.
In the second half of the stride observation and action are mirrored, so a policy only ever learns half a gait and is
exactly left-right symmetric.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mwl.mocap.gait_cycle import GaitCycle, Pose, walking_direction
from mwl.robot import frames
from mwl.robot.h1 import CONTROL_DT, CTRL_HIGH, CTRL_LOW, JOINT_NAMES
from mwl.robot.joint_mirror import AXIAL_SIGN, POLAR_SIGN, joint_mirror

MAX_ACTION = 4.0  # actions beyond this are cut
_PHASES = 40  # that are tried to find where in its stride a robot is
RESIDUAL_JOINTS = (*JOINT_NAMES[:11], "left_shoulder_pitch", "right_shoulder_pitch")
OBSERVATION_SIZE = (
    11 + 2 * len(JOINT_NAMES) + len(RESIDUAL_JOINTS) + 6
)  # root, joints, previous action, command and clock


@dataclass(frozen=True)
class ResidualScale:
    """Radians that one unit of action adds to the reference, per kind of joint."""

    hip_yaw: float = 0.15
    hip_roll: float = 0.15
    hip_pitch: float = 0.3
    knee: float = 0.4
    ankle: float = 0.5
    torso: float = 0.2
    shoulder_pitch: float = 0.3

    def per_joint(self) -> Tensor:
        """Scale of each residual joint, `[13]`."""
        return torch.tensor([float(getattr(self, _kind(name))) for name in RESIDUAL_JOINTS])


def _kind(joint: str) -> str:
    return joint.removeprefix("left_").removeprefix("right_")


class GaitController:
    """Clock, observation and action mapping of N robots that follow one gait cycle.

    Args:
        cycle: the reference gait.
        scale: what one unit of action means, per kind of joint.
        num_envs: N.
        ramp_rate: change of the commanded forward speed in m/s^2 on the way to its target.

    Attributes:
        ramp_rate: `[N]`, that of every robot.
    """

    def __init__(self, cycle: GaitCycle, scale: ResidualScale, num_envs: int, ramp_rate: float = 1.5) -> None:
        self.cycle = cycle
        self.ramp_rate = torch.full((num_envs,), ramp_rate, dtype=torch.float64)
        self.phase = torch.zeros(num_envs)
        self.target = torch.zeros(num_envs, 3)  # m/s forward, m/s sideways, rad/s turning
        self.command = torch.zeros(num_envs, 3)  # the same, with the forward speed on its ramp
        self.desired_heading = torch.zeros(num_envs)
        self.previous_action = torch.zeros(num_envs, len(RESIDUAL_JOINTS))
        self._targets = torch.zeros(num_envs, len(JOINT_NAMES))
        self._scale = scale.per_joint()
        self._joints = torch.tensor([JOINT_NAMES.index(name) for name in RESIDUAL_JOINTS])
        self._low, self._high = torch.as_tensor(CTRL_LOW).float(), torch.as_tensor(CTRL_HIGH).float()
        self._joint_index, self._joint_sign = joint_mirror()
        self._action_index, self._action_sign = joint_mirror(RESIDUAL_JOINTS)

    @property
    def mirrored(self) -> Tensor:
        """Where the robot is in the mirrored half of its stride, bool `[N, 1]`."""
        return (self.phase >= 0.5).unsqueeze(-1)

    def restart(self, mask: Tensor, phase: Tensor, target: Tensor, start_speed: Tensor, heading: Tensor) -> None:
        """Begin anew where `mask` `[N]` holds, from phase, command, initial forward speed and heading (all `[N]`)."""
        command = torch.cat([start_speed.unsqueeze(-1), target[:, 1:]], dim=-1)
        self.phase = torch.where(mask, phase, self.phase)
        self.target = torch.where(mask.unsqueeze(-1), target, self.target)
        self.command = torch.where(mask.unsqueeze(-1), command, self.command)
        self.desired_heading = torch.where(mask, heading, self.desired_heading)
        self.previous_action = torch.where(mask.unsqueeze(-1), 0.0, self.previous_action)

    def reference(self) -> Pose:
        """Reference pose at the present phase and command."""
        return self.cycle.pose(self.phase, self.command)

    def closest_phase(self, joints: Tensor, command: Tensor) -> Tensor:
        """Phase `[N]` at which the gait's pose under commands `[N, 3]` is closest to joint angles `[N, 19]`, rad."""
        count, tried = len(joints), torch.arange(_PHASES) / _PHASES
        poses = self.cycle.pose(tried.repeat(count), command.repeat_interleave(_PHASES, dim=0)).joints
        away = (poses.view(count, _PHASES, -1) - joints.unsqueeze(1)).square().sum(dim=-1)
        return tried[away.argmin(dim=-1)]

    def heading_error(self, rotation: Tensor) -> Tensor:
        """Heading minus desired heading in rad `[N]`, from the root's rotation `[N, 3, 3]`."""
        return frames.wrap_angle(frames.heading(rotation) - self.desired_heading)

    def observe(self, qpos: Tensor, qvel: Tensor) -> Tensor:
        """Observation `[N, 68]` of `qpos` `[N, 26]`, `qvel` `[N, 25]`, mirrored in the second half of the stride."""
        rotation = frames.rotation_matrix(qpos[:, 3:7])
        joints, joint_velocity = qpos[:, 7:26], qvel[:, 6:25]
        direct = [
            qpos[:, 2:3],
            frames.gravity_in_body(rotation),
            self.heading_error(rotation).unsqueeze(-1),
            frames.to_body(rotation, qvel[:, 0:3]),
            qvel[:, 3:6],
            joints,
            0.1 * joint_velocity,
            self.previous_action,
            self.command,
        ]
        mirror_image = [
            direct[0],
            direct[1] * POLAR_SIGN,
            -direct[2],
            direct[3] * POLAR_SIGN,
            direct[4] * AXIAL_SIGN,
            joints[:, self._joint_index] * self._joint_sign,
            direct[6][:, self._joint_index] * self._joint_sign,
            self._mirror_action(self.previous_action),
            self.command * torch.tensor([1.0, -1.0, -1.0]),
        ]
        seen = torch.where(self.mirrored, torch.cat(mirror_image, dim=-1), torch.cat(direct, dim=-1))
        angle = 2 * torch.pi * torch.remainder(self.phase, 0.5)
        remaining_ramp = self.target[:, 0] - self.command[:, 0]
        return torch.cat([seen, torch.stack([angle.sin(), angle.cos(), remaining_ramp], dim=-1)], dim=-1)

    def joint_targets(self, action: Tensor) -> Tensor:
        """Position targets `[N, 19]` in rad of actions `[N, 13]`; the action becomes the previous one."""
        self.previous_action = torch.where(self.mirrored, self._mirror_action(action), action)
        targets = self.reference().joints.clone()
        targets[:, self._joints] += self._scale * self.previous_action
        self._targets = targets.clamp(self._low, self._high)
        return self._targets

    def recall_targets(self, targets: Tensor) -> None:
        """Take executed position targets `[N, 19]` in rad for the previous action's.

        What the servos' range cut off the action stays in it, as where the policy was trained: told of its own targets,
        it remembers its own action.
        """
        change = (targets - self._targets)[:, self._joints] / self._scale
        self.previous_action = (self.previous_action + change).clamp(-MAX_ACTION, MAX_ACTION)

    def advance(self) -> None:
        """Move clock, ramp and desired heading on by one control step."""
        speed = self.command[:, 0]
        self.phase = torch.remainder(
            self.phase + walking_direction(speed) * CONTROL_DT / self.cycle.stride_time(speed), 1.0
        )
        step = (self.ramp_rate * CONTROL_DT).float()
        ramped = speed + (self.target[:, 0] - speed).clamp(-step, step)
        self.command = torch.cat([ramped.unsqueeze(-1), self.target[:, 1:]], dim=-1)
        self.desired_heading = self.desired_heading + self.target[:, 2] * CONTROL_DT

    def _mirror_action(self, action: Tensor) -> Tensor:
        return action[:, self._action_index] * self._action_sign
