"""Left-right mirroring of the robot: which joint becomes which, and which quantities change sign."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mwl.robot.h1 import H1
from mwl.robot.spec import mirrored_name

POLAR_SIGN = torch.tensor([1.0, -1.0, 1.0])  # positions, velocities, gravity: y changes sign
AXIAL_SIGN = torch.tensor([-1.0, 1.0, -1.0])  # angular velocities: x and z change sign


def joint_mirror(names: Sequence[str] = H1.joints) -> tuple[Tensor, Tensor]:
    """Index `[J]` and sign `[J]` such that `x[..., index] * sign` is the mirror image of joint values `[..., J]`."""
    signs = dict(zip(H1.joints, H1.mirror[1].tolist(), strict=True))
    index = torch.tensor([list(names).index(mirrored_name(name)) for name in names])
    return index, torch.tensor([signs[name] for name in names])


def mirror_joints(values: Tensor) -> Tensor:
    """Mirror image of joint angles, velocities or targets `[..., 19]`."""
    index, sign = joint_mirror()
    return values[..., index] * sign
