"""Where the parts of the door are and where the robot's hands are beside them, batched; figures of `assets/door.xml`.

The leaf's frame has its origin at the foot of the shut door's middle, x through the doorway, y to the free edge, z up;
it turns with the leaf about the hinge. Positive hinge angles move the free edge towards the robot.
"""

from dataclasses import dataclass

import mujoco
import torch
from torch import Tensor

from mwl.robot import frames
from mwl.robot.kinematics import HANDS, PointKinematics

DOOR_X = 0.8  # m, where the leaf's frame lies when shut
HINGE_AXIS = (-0.05, -0.5)  # m in the leaf's frame
HATCH_AXIS = (0.4, 1.2)  # m, y and z in the leaf's frame
BAR_GRIP = 0.15  # m from the hatch's axis along its bar, towards the bar's free end
FOREARM_TO_BAR = 0.055  # m between the axes of forearm and bar when they touch
GRIP_X = -0.105  # m, a forearm that ends here reaches past the bar without touching the leaf
BEHIND_EDGE = (0.13, 0.43, 1.05)  # m in the leaf's frame: behind the free edge, below the bolts
RATCHET = 0.275  # rad of the hinge from which the sprung-back bolt keeps the leaf from shutting


@dataclass(frozen=True)
class HandsAtDoor:
    """Both hands `[N, 2, 3]` (left, right) and where they should go, `[N, 3]` each, all in the leaf's frame in m."""

    hands: Tensor
    grip: Tensor
    behind_edge: Tensor


class DoorGeometry:
    """Hands and door of N robots in the leaf's frame.

    Args:
        model: compiled robot model; only its kinematic tree is read.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._hands = PointKinematics(model, HANDS)

    def measure(self, qpos: Tensor) -> HandsAtDoor:
        """Hands and their goals at the task's `qpos` `[N, 28]`."""
        rotation = frames.rotation_matrix(qpos[:, 3:7])
        world = self._hands.positions(qpos[:, 7:26]) @ rotation.transpose(-1, -2) + qpos[:, None, :3]
        return HandsAtDoor(
            hands=to_leaf(world, qpos[:, 26, None]),
            grip=grip_point(qpos[:, 27]),
            behind_edge=torch.tensor(BEHIND_EDGE).expand(qpos.shape[0], 3),  # len() would fix N in an exported expert
        )


def to_leaf(world: Tensor, hinge: Tensor) -> Tensor:
    """World points `[..., 3]` in m in the frame of a leaf opened by `hinge` `[...]` rad."""
    x, y = world[..., 0] - DOOR_X - HINGE_AXIS[0], world[..., 1] - HINGE_AXIS[1]
    cos, sin = hinge.cos(), hinge.sin()
    return torch.stack([cos * x + sin * y + HINGE_AXIS[0], cos * y - sin * x + HINGE_AXIS[1], world[..., 2]], dim=-1)


def grip_point(hatch: Tensor) -> Tensor:
    """Where the forearm should end to turn the hatch further `[N, 3]`, leaf's frame, at hatch angles `[N]` in rad.

    It lies on the side of the bar from which pressing turns the hatch: above at first, on the hinge's side later.
    """
    cos, sin = hatch.cos(), hatch.sin()
    y = HATCH_AXIS[0] - BAR_GRIP * cos - FOREARM_TO_BAR * sin
    z = HATCH_AXIS[1] - BAR_GRIP * sin + FOREARM_TO_BAR * cos
    return torch.stack([torch.full_like(y, GRIP_X), y, z], dim=-1)
