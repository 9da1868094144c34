"""Rotations of the robot's root: the heading frame (yaw only) and the body frame, batched over environments.

Quaternions are MuJoCo's `(w, x, y, z)` and need not be unit: the benchmark's reset leaves the root quaternion slightly
off, and every function here normalises first.
"""

import torch
from torch import Tensor


def rotation_matrix(quaternion: Tensor) -> Tensor:
    """Rotation matrices `[..., 3, 3]` (body to world) of quaternions `[..., 4]`."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    matrices: Tensor = torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
    return matrices


def to_body(rotation: Tensor, vector: Tensor) -> Tensor:
    """World vectors `[..., 3]` expressed in the frames whose body-to-world rotations `[..., 3, 3]` are given."""
    return (rotation * vector.unsqueeze(-1)).sum(dim=-2)


def gravity_in_body(rotation: Tensor) -> Tensor:
    """Unit vector of gravity in the body frame, `[..., 3]`; `(0, 0, -1)` when upright."""
    return -rotation[..., 2, :]


def heading(rotation: Tensor) -> Tensor:
    """Yaw in rad `[...]` of the body's x axis projected on the floor."""
    return torch.atan2(rotation[..., 1, 0], rotation[..., 0, 0])


def to_heading(yaw: Tensor, vector: Tensor) -> Tensor:
    """World vectors `[..., 3]` turned into the heading frame of `yaw` `[...]`: x forward, y left, z up."""
    cos, sin = yaw.cos(), yaw.sin()
    x, y, z = vector.unbind(-1)
    return torch.stack([cos * x + sin * y, cos * y - sin * x, z], dim=-1)


def wrap_angle(angle: Tensor) -> Tensor:
    """Angles brought into `[-pi, pi)`."""
    return torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi


def quaternion_from_euler(roll: Tensor, pitch: Tensor, yaw: Tensor) -> Tensor:
    """Quaternions `[..., 4]` of the rotation `Rz(yaw) Ry(pitch) Rx(roll)`, angles in rad."""
    cr, sr = (roll / 2).cos(), (roll / 2).sin()
    cp, sp = (pitch / 2).cos(), (pitch / 2).sin()
    cy, sy = (yaw / 2).cos(), (yaw / 2).sin()
    return torch.stack(
        [
            cr * cp * cy + sr * sp * sy,
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
        ],
        dim=-1,
    )
