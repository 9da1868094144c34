"""Run over hurdles 7 m apart without touching the barriers at the sides."""

import math
from collections.abc import Mapping

import numpy as np

from mwl.simulation import rewards
from mwl.simulation.task import Array, Measurement, Reward, Task


def terms(measured: Measurement) -> Mapping[str, Array]:
    """Factors `[N]` in [0, 1] of the reward; a tenth while a barrier (not a hurdle) is touched."""
    return {
        "standing": rewards.standing(measured, upright_bound=0.8),
        "small_control": rewards.small_control(measured),
        "forward_speed": rewards.forward_speed(measured, 5.0),
        "untouched": np.where(measured["barrier_contact"][:, 0] > 0, 0.1, 1.0),
    }


HURDLE = Task(
    name="h1-hurdle",
    scene="hurdle.xml",
    instruction="run and jump over the hurdles",
    description="Move along +x at 5 m/s or faster over hurdles, upright, without touching the barriers.",
    success_bar=700.0,
    reward=Reward(terms, math.prod),
    fixed_scene=True,
    terminated=rewards.fallen,
)
