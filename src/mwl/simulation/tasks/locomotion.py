"""On the plain floor, upright and relaxed: stand still, walk along +x at 1 m/s, run at 5 m/s."""

import math
from collections.abc import Mapping
from functools import partial

from mwl.simulation import rewards
from mwl.simulation.task import Array, Measurement, Reward, Task


def still(measured: Measurement) -> Mapping[str, Array]:
    """Factors `[N]` in [0, 1] of the reward for not drifting."""
    return {**_posture(measured), "stillness": rewards.stillness(measured)}


def moving(measured: Measurement, speed: float) -> Mapping[str, Array]:
    """Factors `[N]` in [0, 1] of the reward for moving at `speed` m/s or faster."""
    return {**_posture(measured), "forward_speed": rewards.forward_speed(measured, speed)}


def _posture(measured: Measurement) -> Mapping[str, Array]:
    return {"small_control": rewards.small_control(measured), "standing": rewards.standing(measured)}


STAND = Task(
    name="h1-stand",
    scene="plain.xml",
    instruction="stand still",
    description="Stay upright without moving.",
    success_bar=800.0,
    reward=Reward(still, math.prod),
    terminated=rewards.fallen,
)
WALK = Task(
    name="h1-walk",
    scene="plain.xml",
    instruction="walk forward",
    description="Move along +x at 1 m/s or faster, upright.",
    success_bar=700.0,
    reward=Reward(partial(moving, speed=1.0), math.prod),
    terminated=rewards.fallen,
)
RUN = Task(
    name="h1-run",
    scene="plain.xml",
    instruction="run forward",
    description="Move along +x at 5 m/s or faster, upright.",
    success_bar=700.0,
    reward=Reward(partial(moving, speed=5.0), math.prod),
    terminated=rewards.fallen,
)
