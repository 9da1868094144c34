"""Observations as seen from another heading, or in a mirror, so that a skill acts there as it learned to."""

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mwl.robot import frames
from mwl.robot.h1 import build_model
from mwl.robot.joint_mirror import AXIAL_SIGN, POLAR_SIGN, mirror_joints
from mwl.robot.kinematics import HANDS, PointKinematics
from mwl.simulation import get_task

if TYPE_CHECKING:
    from mwl.simulation.task import ObservationLayout

_PLACES = ("left_hand", "goal")  # parts that are places in the world


def turned(observation: Tensor, layout: "ObservationLayout", angle: Tensor) -> Tensor:
    """Observations `[N, O]` of the world turned by angles `[N]` (rad, to the left) about its vertical axis."""
    seen = observation.clone()
    qpos, qvel = layout.slices["robot_qpos"], layout.slices["robot_qvel"]
    root, speed = observation[:, qpos], observation[:, qvel]
    about = torch.stack([(angle / 2).cos(), torch.zeros_like(angle), torch.zeros_like(angle), (angle / 2).sin()], -1)
    seen[:, qpos] = torch.cat([_turn(root[:, :3], angle), _product(about, root[:, 3:7]), root[:, 7:]], dim=-1)
    seen[:, qvel] = torch.cat([_turn(speed[:, :3], angle), speed[:, 3:]], dim=-1)
    for name in _PLACES:
        if name in layout.slices:
            seen[:, layout.slices[name]] = _turn(observation[:, layout.slices[name]], angle)
    return seen


def mirrored(observation: Tensor, layout: "ObservationLayout") -> Tensor:
    """Observations `[N, O]` of the mirror image, left and right exchanged; its left hand is the robot's right one."""
    seen = observation.clone()
    qpos, qvel = layout.slices["robot_qpos"], layout.slices["robot_qvel"]
    root, speed = observation[:, qpos], observation[:, qvel]
    quaternion = root[:, 3:7] * torch.tensor([1.0, -1.0, 1.0, -1.0])
    seen[:, qpos] = torch.cat([root[:, :3] * POLAR_SIGN, quaternion, mirror_joints(root[:, 7:26])], dim=-1)
    spin = speed[:, 3:6] * AXIAL_SIGN
    seen[:, qvel] = torch.cat([speed[:, :3] * POLAR_SIGN, spin, mirror_joints(speed[:, 6:25])], dim=-1)
    if "goal" in layout.slices:
        seen[:, layout.slices["goal"]] = observation[:, layout.slices["goal"]] * POLAR_SIGN
    if "left_hand" in layout.slices:
        right = _right_hand().positions(root[:, 7:26])[:, 0]
        placed = root[:, :3] + (frames.rotation_matrix(root[:, 3:7]) @ right.unsqueeze(-1)).squeeze(-1)
        seen[:, layout.slices["left_hand"]] = placed * POLAR_SIGN
    return seen


def _turn(vector: Tensor, angle: Tensor) -> Tensor:
    return frames.to_heading(-angle, vector)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Product `[N, 4]` of quaternions wxyz."""
    (aw, ax, ay, az), (bw, bx, by, bz) = a.unbind(-1), b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )


@lru_cache(maxsize=1)
def _right_hand() -> PointKinematics:
    return PointKinematics(build_model(get_task("h1-stand")), HANDS[1:2])
