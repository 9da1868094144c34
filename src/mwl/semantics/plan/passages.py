"""Where what words name in a scene ends, and how high it is, read from that scene."""

from functools import lru_cache

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mwl.robot.h1 import build_model
from mwl.semantics.shipped import WORLDS
from mwl.simulation import get_task
from mwl.simulation.tasks.maze import CHECKPOINTS, LAST, RADIUS

PARTS = {  # begin of their names
    "tunnel": "tunnel_ceiling",
    "hurdles": "hurdle",
    "poles": "pole_row",
    "stairs": "landing",
    "slope": "ridge",
}
CLEAR = {
    "tunnel": 0.3,
    "hurdles": 1.0,
    "poles": 0.4,
}  # m past an end: all of the robot is through, or both feet are down
MOST = 0.78  # of a height; who has climbed that much has both feet on the last step, or is about to turn the ridge


@lru_cache
def ends(ground: str) -> tuple[float, ...]:
    """x of where it lies behind, m: of all that there is of it, one after the other along the way."""
    return tuple(sorted({round(float(box[1, 0]) + CLEAR[ground], 6) for box in _boxes(ground)}))


def at_end(place: Tensor) -> Tensor:
    """Whether who is at `place` `[N, 2]` in m has come to the last checkpoint of the maze `[N]`."""
    return (place - torch.tensor(CHECKPOINTS[LAST], dtype=place.dtype)).norm(dim=-1) < RADIUS


@lru_cache
def height(ground: str) -> float:
    """How much of its height counts as up, or down, m."""
    return MOST * max(float(box[1, 2]) for box in _boxes(ground))


def _boxes(ground: str) -> NDArray[np.float64]:
    """Lowest and greatest x, y, z `[P, 2, 3]` of every part, m."""
    model = build_model(get_task(WORLDS[ground]))
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    parts = [i for i in range(model.ngeom) if model.geom(i).name.startswith(PARTS[ground])]
    turned = data.geom_xmat[parts].reshape(-1, 3, 3)
    middle = data.geom_xpos[parts] + np.einsum("pij,pj->pi", turned, model.geom_aabb[parts, :3])
    half = np.einsum("pij,pj->pi", np.abs(turned), model.geom_aabb[parts, 3:])
    return np.stack([middle - half, middle + half], axis=1)
