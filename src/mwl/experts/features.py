"""What experts and the gate see of a task: egocentric, stateless features computed from the benchmark's observation.

World x and y are left out, everything else is expressed in the robot's own frames, so that a skill does not depend on
where it is used. Heading stays in: the benchmark's locomotion tasks reward going along the world's x axis.
"""

from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from mwl.core.errors import SpecMismatch
from mwl.robot import frames
from mwl.robot.h1 import build_model
from mwl.robot.kinematics import FEET, HANDS, PointKinematics, above_soles
from mwl.simulation import get_task
from mwl.teachers.door.geometry import DOOR_X, DoorGeometry

EGOCENTRIC_SIZE = 50
HAND_TARGET_SIZE = 6
DOOR_STATE_SIZE, DOOR_SIZE = 6, 15
MAX_HAND_ERROR = 0.5  # m; a target further away is one in the same direction


class Layout(Protocol):
    """Where the named parts of a task's observation lie."""

    slices: dict[str, slice]
    size: int


ROOT_HEIGHT = 0
HEADING = (4, 5)  # where cosine and sine of the heading stand in `egocentric`


def egocentric(observation: Tensor, layout: Layout) -> Tensor:
    """Features of the robot's own state, the same on every task.

    Args:
        observation: `[N, O]` of a task with `robot_qpos` (26) and `robot_qvel` (25).
        layout: where these lie.

    Returns:
        `[N, 50]`: root height (m), gravity in the body frame (3), cosine and sine of the heading (2), linear velocity
        in the body frame (3, m/s), angular velocity in the body frame (3, rad/s), joint angles (19, rad) and a tenth of
        the joint velocities (19, rad/s).
    """
    qpos, qvel = robot_state(observation, layout)
    rotation = frames.rotation_matrix(qpos[:, 3:7])
    yaw = frames.heading(rotation)
    return torch.cat(
        [
            qpos[:, 2:3],
            frames.gravity_in_body(rotation),
            yaw.cos().unsqueeze(-1),
            yaw.sin().unsqueeze(-1),
            frames.to_body(rotation, qvel[:, 0:3]),
            qvel[:, 3:6],
            qpos[:, 7:26],
            0.1 * qvel[:, 6:25],
        ],
        dim=-1,
    )


def moved(observation: Tensor, layout: Layout, features: Tensor) -> Tensor:
    """The observation `[N, O]` with its robot in the state that features `[N, 50]` as of `egocentric` tell.

    Where they leave it open, at x and y, the robot stays.
    """
    height, down, cos, sin, linear, angular, joints, velocities = features.split((1, 3, 1, 1, 3, 3, 19, 19), dim=-1)
    down = torch.nn.functional.normalize(down, dim=-1)
    pitch, roll = down[:, 0].clamp(-1, 1).asin(), torch.atan2(-down[:, 1], -down[:, 2])
    quaternion = frames.quaternion_from_euler(roll, pitch, torch.atan2(sin, cos).squeeze(-1))
    rotation = frames.rotation_matrix(quaternion)
    qpos, qvel = robot_state(observation, layout)
    told = observation.clone()
    told[:, layout.slices["robot_qpos"]] = torch.cat([qpos[:, :2], height, quaternion, joints], dim=-1)
    told[:, layout.slices["robot_qvel"]] = torch.cat(
        [(rotation @ linear.unsqueeze(-1)).squeeze(-1), angular, 10 * velocities, qvel[:, 25:]], dim=-1
    )
    return told


def robot_state(observation: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """The robot's `qpos` `[N, 26]` and `qvel` `[N, 25]` within observations `[N, O]`.

    Raises:
        SpecMismatch: the observation has another size than its layout, or the layout shows no robot state.
    """
    if observation.shape[-1] != layout.size:
        raise SpecMismatch(f"observation has {observation.shape[-1]} numbers, the task's layout {layout.size}")
    try:
        return observation[..., layout.slices["robot_qpos"]], observation[..., layout.slices["robot_qvel"]]
    except KeyError as error:
        raise SpecMismatch(f"the task's layout shows no {error}; experts need the robot's qpos and qvel") from error


def along_x(observation: Tensor, layout: Layout, command: Tensor) -> Tensor:
    """A velocity command `[N, 3]` that also turns back to the world's x axis, 1 rad/s per rad, at most 0.5 rad/s."""
    qpos, _ = robot_state(observation, layout)
    turning = (-frames.heading(frames.rotation_matrix(qpos[:, 3:7]))).clamp(-0.5, 0.5)
    return torch.cat([command[:, :2], (command[:, 2] + turning).unsqueeze(-1)], dim=-1)


def over_ground(observation: Tensor, layout: Layout, command: Tensor) -> Tensor:
    """Features `[N, 4]` of walking on uneven ground: the command `[N, 3]`, and the root's height above the soles, m."""
    qpos, _ = robot_state(observation, layout)
    return torch.cat([command, above_soles(_soles(), qpos)[:, 2:3]], dim=-1)


def hand_target_command(observation: Tensor, layout: Layout) -> Tensor:
    """The task's goal as a command `[N, 3]`: where the left hand should be from the pelvis, heading frame, m."""
    qpos, _ = robot_state(observation, layout)
    yaw = frames.heading(frames.rotation_matrix(qpos[:, 3:7]))
    return frames.to_heading(yaw, observation[..., layout.slices["goal"]] - qpos[:, 0:3])


def hand_target(observation: Tensor, layout: Layout, command: Tensor) -> Tensor:
    """Features of a reaching skill.

    The hand's place comes from forward kinematics, so they exist on every task, whether or not it shows the hand.

    Args:
        observation: `[N, O]`; layout: where its parts lie.
        command: target of the left hand `[N, 3]` relative to the pelvis in the heading frame, in m.

    Returns:
        `[N, 6]`: target and its distance vector from the hand, both in the body frame, in m; the distance is cut to
        `MAX_HAND_ERROR` and the target moved with it, so that a far goal reads as one in the same direction.
    """
    qpos, _ = robot_state(observation, layout)
    rotation = frames.rotation_matrix(qpos[:, 3:7])
    yaw = frames.heading(rotation)
    target = frames.to_body(rotation, frames.to_heading(-yaw, command))
    hand = _left_hand().positions(qpos[:, 7:26])[:, 0]
    error = target - hand
    error = error * (MAX_HAND_ERROR / error.norm(dim=-1, keepdim=True).clamp(min=MAX_HAND_ERROR))
    return torch.cat([hand + error, error], dim=-1)


def door_state(observation: Tensor, layout: Layout) -> Tensor:
    """Robot and door as a command `[N, 6]`: root from the shut leaf (x, y in m), hinge and hatch (rad), their rates."""
    qpos, _ = robot_state(observation, layout)
    angles, rates = observation[..., layout.slices["door_qpos"]], observation[..., layout.slices["door_qvel"]]
    return torch.cat([qpos[:, 0:1] - DOOR_X, qpos[:, 1:2], angles, rates], dim=-1)


def door(observation: Tensor, layout: Layout, command: Tensor) -> Tensor:
    """Features of a skill at a door.

    Args:
        observation: `[N, O]`; layout: where its parts lie.
        command: where robot and door are, `[N, 6]` as `door_state` gives it.

    Returns:
        `[N, 15]`: the command, both hands in the leaf's frame, and the right hand's way to the grip on the bar, m.
    """
    qpos, _ = robot_state(observation, layout)
    root = torch.cat([command[:, 0:1] + DOOR_X, command[:, 1:2], qpos[:, 2:]], dim=-1)
    at_door = _door_geometry().measure(torch.cat([root, command[:, 2:4]], dim=-1))
    return torch.cat([command, at_door.hands.flatten(1), at_door.grip - at_door.hands[:, 1]], dim=-1)


@lru_cache(maxsize=1)
def _door_geometry() -> DoorGeometry:
    return DoorGeometry(build_model(get_task("h1-door")))


@lru_cache(maxsize=1)
def _soles() -> PointKinematics:
    return PointKinematics(build_model(get_task("h1-stand")), FEET)


@lru_cache(maxsize=1)
def _left_hand() -> PointKinematics:
    return PointKinematics(build_model(get_task("h1-stand")), HANDS[:1])
