"""Walk and run: move along +x at 1 m/s or 5 m/s, upright and relaxed."""

from functools import partial

from mwl.simulation import rewards
from mwl.simulation.task import Array, Measurement, Task


def reward(measured: Measurement, speed: float) -> Array:
    """Reward `[N]` in [0, 1] for moving at `speed` m/s or faster."""
    return rewards.small_control(measured) * rewards.standing(measured) * rewards.forward_speed(measured, speed)


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
