"""Forward kinematics of points on the robot, batched: where hands and feet are, given the joints.

Everything is in the pelvis frame, so a caller that needs world positions rotates and shifts by the root pose.
"""

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mwl.robot.frames import rotation_matrix
from mwl.robot.h1 import H1

HANDS, FEET = H1.hands, H1.feet


class PointKinematics:
    """Positions of fixed points of the robot's bodies as functions of its 19 joint angles.

    Args:
        model: compiled robot model; only its kinematic tree is read.
        points: pairs of body name and position in that body's frame, in m.
    """

    def __init__(self, model: mujoco.MjModel, points: tuple[tuple[str, tuple[float, float, float]], ...]) -> None:
        self._root = model.body("pelvis").id
        self._points = [(model.body(body).id, torch.tensor(offset)) for body, offset in points]
        self._chain = sorted({ancestor for body, _ in self._points for ancestor in self._ancestors(model, body)})
        self._parent = {body: int(model.body_parentid[body]) for body in self._chain}
        self._offset = {body: torch.tensor(model.body_pos[body], dtype=torch.float32) for body in self._chain}
        self._rotation = {
            body: rotation_matrix(torch.tensor(model.body_quat[body], dtype=torch.float32)) for body in self._chain
        }
        self._joint = {body: int(model.jnt_qposadr[model.body_jntadr[body]]) - 7 for body in self._chain}
        self._turn = {body: _rodrigues(model.jnt_axis[model.body_jntadr[body]]) for body in self._chain}

    def _ancestors(self, model: mujoco.MjModel, body: int) -> list[int]:
        chain = []
        while body != self._root:
            chain.append(body)
            body = int(model.body_parentid[body])
        return chain

    def positions(self, joints: Tensor) -> Tensor:
        """Positions `[N, P, 3]` in the pelvis frame, in m, at joint angles `[N, 19]` in rad, float32."""
        count = joints.shape[0]  # not len(), which would fix the number of robots when an expert is exported
        frames = {self._root: (torch.eye(3).expand(count, 3, 3), torch.zeros(count, 3))}
        for body in self._chain:  # parents come before children in MuJoCo's body order
            rotation, origin = frames[self._parent[body]]
            origin = origin + rotation @ self._offset[body]
            angle = joints[:, self._joint[body], None]
            basis = torch.cat([torch.ones_like(angle), angle.sin(), 1 - angle.cos()], dim=-1)
            turn = (basis @ self._turn[body]).unflatten(-1, (3, 3))
            frames[body] = (rotation @ self._rotation[body] @ turn, origin)
        positions = [frames[body][1] + frames[body][0] @ offset for body, offset in self._points]
        return torch.stack(positions, dim=1)


def above_soles(feet: PointKinematics, qpos: Tensor) -> Tensor:
    """`qpos` `[N, 26]` with the root's height, in m, counted from the lowest corner of the soles instead of z = 0."""
    rotation = rotation_matrix(qpos[:, 3:7])
    lowest = (feet.positions(qpos[:, 7:26]) @ rotation.transpose(-1, -2))[..., 2].min(dim=-1).values
    return torch.cat([qpos[:, :2], -lowest.unsqueeze(-1), qpos[:, 3:]], dim=-1)


def _rodrigues(axis: NDArray[np.float64]) -> Tensor:
    """Basis `[3, 9]` of rotations about a unit axis: coefficients of 1, sin and 1 - cos, each a flat 3 x 3 matrix."""
    x, y, z = axis
    cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float32)
    return torch.stack([torch.eye(3), cross, cross @ cross]).flatten(1)
