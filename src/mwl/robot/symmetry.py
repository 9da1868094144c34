"""Left-right mirroring of the robot: which joint becomes which, and which quantities change sign."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mwl.robot.h1 import JOINT_NAMES

_NEGATED = ("hip_yaw", "hip_roll", "torso", "shoulder_roll", "shoulder_yaw")
POLAR_SIGN = torch.tensor([1.0, -1.0, 1.0])  # positions, velocities, gravity: y changes sign
AXIAL_SIGN = torch.tensor([-1.0, 1.0, -1.0])  # angular velocities: x and z change sign


def mirrored_name(joint: str) -> str:
    """Name of the joint on the other side of the body; a joint of the trunk is its own mirror image."""
    if joint.startswith("left_"):
        return "right_" + joint.removeprefix("left_")
    if joint.startswith("right_"):
        return "left_" + joint.removeprefix("right_")
    return joint


def joint_mirror(names: Sequence[str] = JOINT_NAMES) -> tuple[Tensor, Tensor]:
    """Index `[J]` and sign `[J]` such that `x[..., index] * sign` is the mirror image of joint values `[..., J]`."""
    index = torch.tensor([list(names).index(mirrored_name(name)) for name in names])
    sign = torch.tensor([-1.0 if name.endswith(_NEGATED) else 1.0 for name in names])
    return index, sign


def mirror_joints(values: Tensor) -> Tensor:
    """Mirror image of joint angles, velocities or targets `[..., 19]`."""
    index, sign = joint_mirror()
    return values[..., index] * sign
