"""What the world model sees of a task: the shared egocentric features, and the rest of the scene around the robot."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mwl.experts.features import egocentric, robot_state
from mwl.robot import frames
from mwl.simulation.task import ObservationLayout

_POINTS = ("left_hand", "goal")  # places in the world, m
_ROBOT = ("robot_qpos", "robot_qvel")
_BODY = 12  # of the egocentric features those of the root; the rest are joints
_WAVES = (16.0, 8.0, 4.0, 2.0, 1.0)  # m


class Observer:
    """Turns observations into features; a task without a robot's state (`sizes` None) is taken as it is.

    World x and y are left out where nothing else in the scene has a place: what holds here holds everywhere. Where the
    scene is fixed and the observation does not show it, they are all there is to know it by.

    Args:
        sizes: names and sizes of the observation's parts in order, as in `ObservationLayout`; None for a plain vector.
        position: the scene is fixed: show world x and y whatever the observation shows.
        joints: show them; a steered skill takes care of its joints, so that who steers it need not know them, and sees
            places the sharper: as sine and cosine of waves from 16 m down to 1 m, too.
    """

    def __init__(self, sizes: Mapping[str, int] | None, position: bool = False, joints: bool = True) -> None:
        self.layout = None if sizes is None else ObservationLayout(**sizes)
        self.position, self.joints = position, joints

    def __call__(self, observation: Tensor) -> Tensor:
        """Features `[..., F]` of observations `[..., O]`."""
        if self.layout is None:
            return observation
        flat = observation.flatten(0, -2)
        qpos, _ = robot_state(flat, self.layout)
        yaw = frames.heading(frames.rotation_matrix(qpos[:, 3:7]))
        own = egocentric(flat, self.layout)
        parts, position = [own if self.joints else own[:, :_BODY]], self.position
        for name, where in self.layout.slices.items():
            if name in _POINTS:
                parts.append(frames.to_heading(yaw, flat[:, where] - qpos[:, 0:3]))
            elif name not in _ROBOT:
                parts.append(flat[:, where])
                position = True
        if position:
            parts.append(qpos[:, 0:2])
            if not self.joints:
                phases = (2 * math.pi * qpos[:, 0:2].unsqueeze(-1) / qpos.new_tensor(_WAVES)).flatten(1)
                parts += [phases.sin(), phases.cos()]
        result: Tensor = torch.cat(parts, dim=-1).unflatten(0, observation.shape[:-1])
        return result
