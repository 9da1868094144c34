"""Squatting on the spot: balanced poses from upright to knees and trunk bent, and how far to go for a target."""

import mujoco
import numpy as np
import torch
from torch import Tensor

from mwl.demonstrators.lqr import BalanceTable, LQRConfig, pelvis_from_feet, standing_pose
from mwl.robot import frames
from mwl.robot.h1 import H1, QPOS0

UPRIGHT_KNEE = float(QPOS0[10])  # rad; the reset's own, so that a robot that need not bend stays as it is
DEEPEST_KNEE, DEEPEST_PITCH = 1.8, 1.0  # rad; further down, the pelvis meets the thighs
DEEPEST_SPREAD = 0.6  # rad; hanging arms would meet the knees
HIGHEST, LOWEST = 1.0, 0.4  # m; targets above the one need no squat, for those below the other it is deepest
_POSES = 9
_KNEES = list(H1.index("knee"))


class Squat:
    """Poses along one path; `depth` is 0 upright and 1 bent down deepest.

    Args:
        model: the benchmark's robot model; frame_skip: physics steps per control step.
        config: cost of the balance.
    """

    def __init__(self, model: mujoco.MjModel, frame_skip: int, config: LQRConfig) -> None:
        knees = np.linspace(UPRIGHT_KNEE, DEEPEST_KNEE, _POSES)
        pitches, spreads = np.linspace(0, DEEPEST_PITCH, _POSES), np.linspace(0, DEEPEST_SPREAD, _POSES)
        poses = [standing_pose(model, *shape) for shape in zip(knees, pitches, spreads, strict=True)]
        self._table = BalanceTable(model, frame_skip, poses, config)
        self._pelvis = torch.from_numpy(np.stack([pelvis_from_feet(model, pose) for pose in poses])).float()

    @staticmethod
    def needed(height: Tensor) -> Tensor:
        """Depth `[N]` from which targets at `height` `[N]` (m above the floor) are in reach."""
        return ((HIGHEST - height) / (HIGHEST - LOWEST)).clamp(0, 1)

    @staticmethod
    def of(qpos: Tensor) -> Tensor:
        """Depth `[N]` of robots in poses `[N, 26]`, by their knees and the pitch of the pelvis."""
        knee = (qpos[:, 7:26][:, _KNEES].mean(dim=-1) - UPRIGHT_KNEE) / (DEEPEST_KNEE - UPRIGHT_KNEE)
        gravity = frames.gravity_in_body(frames.rotation_matrix(qpos[:, 3:7]))
        pitch = torch.atan2(gravity[:, 0], -gravity[:, 2]) / DEEPEST_PITCH
        return ((knee + pitch) / 2).clamp(0, 1)

    def pelvis(self, depth: Tensor) -> Tensor:
        """The pelvis `[N, 3]` from the middle between the ankles, heading frame, m."""
        place = depth * (_POSES - 1)
        below = place.long().clamp(max=_POSES - 2)
        return torch.lerp(self._pelvis[below], self._pelvis[below + 1], (place - below).unsqueeze(-1))

    def seen_from(self, depth: Tensor, now: Tensor, target: Tensor, rotation: Tensor | None = None) -> Tensor:
        """Targets `[N, 3]` in the pelvis frame that robots will have once they have come from one depth to another.

        Args:
            depth: to come, `[N]`.
            now: present depth, `[N]`.
            target: from the present pelvis, in the heading frame, m, `[N, 3]`.
            rotation: of the pelvis now, body to world, `[N, 3, 3]`; what it differs from that of its depth stays. None
                takes that of the depth.
        """
        from_pelvis = target + self.pelvis(now) - self.pelvis(depth)
        if rotation is None:
            return frames.to_body(pitched(DEEPEST_PITCH * depth), from_pelvis)
        yaw = frames.heading(rotation)
        upright = torch.stack([yaw.cos(), -yaw.sin(), yaw.sin(), yaw.cos()], dim=-1).unflatten(-1, (2, 2))
        world = torch.cat([(upright * from_pelvis[:, None, :2]).sum(dim=-1), from_pelvis[:, 2:]], dim=-1)
        return frames.to_body(pitched(DEEPEST_PITCH * (depth - now)), frames.to_body(rotation, world))

    def control(self, observation: Tensor, depth: Tensor, deliberate: slice) -> np.ndarray:
        """Servo targets `[N, 19]` in rad that bring robots to a depth `[N]`; see `BalanceTable.control`."""
        place = (depth * (_POSES - 1)).double().numpy()
        return self._table.control(observation.double().numpy(), place, deliberate)


def pitched(pitch: Tensor) -> Tensor:
    """Rotations `[N, 3, 3]` (body to heading frame) of pelvises pitched forward by `pitch` `[N]` rad."""
    zero = torch.zeros_like(pitch)
    return frames.rotation_matrix(torch.stack([(pitch / 2).cos(), zero, (pitch / 2).sin(), zero], dim=-1))
