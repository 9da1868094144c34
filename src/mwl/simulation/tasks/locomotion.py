"""On the plain floor, upright and relaxed: stand still, walk along +x at 1 m/s, run at 5 m/s."""

from functools import partial

from mwl.simulation import rewards
from mwl.simulation.task import Array, Measurement, Task


def still(measured: Measurement) -> Array:
    """Reward `[N]` in [0, 1] for not drifting."""
    return rewards.small_control(measured) * rewards.standing(measured) * rewards.stillness(measured)


def reward(measured: Measurement, speed: float) -> Array:
    """Reward `[N]` in [0, 1] for moving at `speed` m/s or faster."""
    return rewards.small_control(measured) * rewards.standing(measured) * rewards.forward_speed(measured, speed)


STAND = Task(
    name="h1-stand",
    scene="plain.xml",
    instruction="stand still",
    description="Stay upright without moving.",
    success_bar=800.0,
    reward=still,
    terminated=rewards.fallen,
)
WALK = Task(
    name="h1-walk",
    scene="plain.xml",
    instruction="walk forward",
    description="Move along +x at 1 m/s or faster, upright.",
    success_bar=700.0,
    reward=partial(reward, speed=1.0),
    terminated=rewards.fallen,
)
RUN = Task(
    name="h1-run",
    scene="plain.xml",
    instruction="run forward",
    description="Move along +x at 5 m/s or faster, upright.",
    success_bar=700.0,
    reward=partial(reward, speed=5.0),
    terminated=rewards.fallen,
)
