"""The way that a robot has gone, step of the plan by step: what came of each, measured from the physics."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from mwl.robot import CONTROL_HZ, frames


class Trajectory:
    """Places and headings of one robot at every control step, each with the step of the plan that was at work."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, float, float, float]] = []

    def add(self, place: int, between: bool, qpos: ArrayLike) -> None:
        """Take in the robot's `qpos` before a control step; `between` two steps it belongs to none."""
        root = np.asarray(qpos, dtype=float)
        yaw = float(frames.heading(frames.rotation_matrix(torch.from_numpy(root[3:7])[None]))[0])
        self._rows.append((-1 if between else place, float(root[0]), float(root[1]), yaw))

    def of(self, place: int) -> dict[str, Any]:
        """Seconds, metres from where the step began (ahead and to the left of its first heading, too), degrees turned
        to the left, and the mean speed of its second half in m/s; nothing for a step that never began."""
        at = [index for index, row in enumerate(self._rows) if row[0] == place]
        if not at:
            return {}
        rows = np.array([row[1:] for row in self._rows[at[0] : at[-1] + 2]])
        yaw = np.unwrap(rows[:, 2])
        off = rows[-1, :2] - rows[0, :2]
        cos, sin = math.cos(yaw[0]), math.sin(yaw[0])
        middle = len(rows) // 2
        half = max(len(rows) - 1 - middle, 1) / CONTROL_HZ
        path = float(np.linalg.norm(np.diff(rows[:, :2], axis=0), axis=1).sum())
        return {
            "seconds": (len(rows) - 1) / CONTROL_HZ,
            "metres": float(np.hypot(*off)),
            "ahead_m": float(cos * off[0] + sin * off[1]),
            "left_m": float(cos * off[1] - sin * off[0]),
            "path_m": path,
            "degrees_left": math.degrees(yaw[-1] - yaw[0]),
            "speed": float(np.hypot(*(rows[-1, :2] - rows[middle, :2]))) / half,
        }
