"""Walk through a forest of thin poles without touching them."""

from collections.abc import Mapping

import numpy as np

from mwl.simulation import rewards
from mwl.simulation.task import Array, Measurement, Reward, Task


def terms(measured: Measurement) -> Mapping[str, Array]:
    """Parts `[N]` of the reward, which lies in [0, 1]; a tenth while a pole is touched."""
    posture = rewards.standing(measured) * rewards.small_control(measured)
    untouched = np.where(measured["pole_contact"][:, 0] > 0, 0.1, 1.0)
    return {
        "posture": 0.5 * posture * untouched,
        "forward_speed": 0.5 * rewards.forward_speed(measured, 0.5) * untouched,
    }


def terminated(measured: Measurement) -> np.ndarray:
    """Root below 0.5 m `[N]`, bool."""
    return rewards.fallen(measured, 0.5)


POLE = Task(
    name="h1-pole",
    scene="pole.xml",
    instruction="walk between the poles",
    description="Move along +x at 0.5 m/s or faster through a forest of poles without touching them.",
    success_bar=700.0,
    reward=Reward(terms, sum),
    fixed_scene=True,
    terminated=terminated,
)
