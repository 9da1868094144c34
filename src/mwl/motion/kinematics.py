"""Forward kinematics of points on the robot, batched in torch and differentiable: where hands and feet are, given the joints.

Everything is in the pelvis frame, so a caller that needs world positions rotates and shifts by the root pose.
"""

import mujoco
import torch
from torch import Tensor

from mwl.motion.frames import rotation_matrix

SOLE_HEIGHT = -0.07  # m, the flat underside of the foot in the ankle frame
FOOT_CORNERS = tuple((x, y, SOLE_HEIGHT) for x in (-0.0953, 0.1956) for y in (-0.0135, 0.0135))
HAND_OFFSET = (0.31, 0.0, -0.01)  # m, the hand site in the elbow frame
HANDS = (("left_elbow_link", HAND_OFFSET), ("right_elbow_link", HAND_OFFSET))
FEET = tuple((f"{side}_ankle_link", corner) for side in ("left", "right") for corner in FOOT_CORNERS)


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
        self._axis = {
            body: torch.tensor(model.jnt_axis[model.body_jntadr[body]], dtype=torch.float32) for body in self._chain
        }

    def _ancestors(self, model: mujoco.MjModel, body: int) -> list[int]:
        chain = []
        while body != self._root:
            chain.append(body)
            body = int(model.body_parentid[body])
        return chain

    def positions(self, joints: Tensor) -> Tensor:
        """Positions `[N, P, 3]` in the pelvis frame, in m, at joint angles `[N, 19]` in rad."""
        identity = torch.eye(3, dtype=joints.dtype).expand(len(joints), 3, 3)
        frames = {self._root: (identity, torch.zeros(len(joints), 3, dtype=joints.dtype))}
        for body in self._chain:  # parents come before children in MuJoCo's body order
            rotation, origin = frames[self._parent[body]]
            origin = origin + rotation @ self._offset[body].to(joints.dtype)
            turn = _axis_rotation(self._axis[body].to(joints.dtype), joints[:, self._joint[body]])
            frames[body] = (rotation @ self._rotation[body].to(joints.dtype) @ turn, origin)
        positions = [frames[body][1] + frames[body][0] @ offset.to(joints.dtype) for body, offset in self._points]
        return torch.stack(positions, dim=1)


def _axis_rotation(axis: Tensor, angle: Tensor) -> Tensor:
    """Rotation matrices `[N, 3, 3]` about a unit axis `[3]` by angles `[N]` (Rodrigues)."""
    x, y, z = axis.tolist()
    cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=angle.dtype)
    sin, cos = angle.sin()[:, None, None], angle.cos()[:, None, None]
    return torch.eye(3, dtype=angle.dtype) + sin * cross + (1 - cos) * (cross @ cross)
