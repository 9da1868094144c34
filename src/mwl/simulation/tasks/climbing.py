"""Stair and slide: walk up and down, over steps or over slopes."""

import math
from collections.abc import Mapping

import numpy as np

from mwl.simulation import rewards
from mwl.simulation.task import Array, Measurement, Reward, Task


def terms(measured: Measurement) -> Mapping[str, Array]:
    """Factors `[N]` in [0, 1] of the reward for moving at 1 m/s or faster with the head well above both feet."""
    head = measured["head_position"][:, 2]
    return {
        "above_left_foot": rewards.tolerance(head - measured["left_foot_position"][:, 2], 1.2, np.inf, 0.45),
        "above_right_foot": rewards.tolerance(head - measured["right_foot_position"][:, 2], 1.2, np.inf, 0.45),
        "upright": rewards.upright(measured, bound=0.5),
        "small_control": rewards.small_control(measured),
        "forward_speed": rewards.forward_speed(measured, 1.0),
    }


def terminated(measured: Measurement) -> np.ndarray:
    """Torso lying or upside down `[N]`, bool."""
    return measured["torso_up"][:, 2] < 0.1


STAIR = Task(
    name="h1-stair",
    scene="stair.xml",
    instruction="climb the stairs",
    description="Walk along +x at 1 m/s or faster, up and down stairs of 0.18 m steps.",
    success_bar=700.0,
    reward=Reward(terms, math.prod),
    fixed_scene=True,
    terminated=terminated,
)
SLIDE = Task(
    name="h1-slide",
    scene="slide.xml",
    instruction="walk up and down the slopes",
    description="Walk along +x at 1 m/s or faster, up and down slopes of 19 degrees.",
    success_bar=700.0,
    reward=Reward(terms, math.prod),
    fixed_scene=True,
    terminated=terminated,
)
