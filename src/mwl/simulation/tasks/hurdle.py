"""Run over hurdles 7 m apart without touching the barriers at the sides."""

import numpy as np

from mwl.simulation import rewards
from mwl.simulation.task import Array, Measurement, Task


def reward(measured: Measurement) -> Array:
    """Reward `[N]` in [0, 1]; a tenth while a barrier (not a hurdle) is touched."""
    posture = rewards.standing(measured, upright_bound=0.8) * rewards.small_control(measured)
    untouched = np.where(measured["barrier_contact"][:, 0] > 0, 0.1, 1.0)
    return posture * rewards.forward_speed(measured, 5.0) * untouched


HURDLE = Task(
    name="h1-hurdle",
    scene="hurdle.xml",
    instruction="run and jump over the hurdles",
    description="Move along +x at 5 m/s or faster over hurdles, upright, without touching the barriers.",
    success_bar=700.0,
    reward=reward,
    fixed_scene=True,
    terminated=rewards.fallen,
)
