"""Stand still: upright, relaxed, not drifting."""

from mwl.simulation import rewards
from mwl.simulation.task import Array, Measurement, Task


def reward(measured: Measurement) -> Array:
    """Reward `[N]` in [0, 1]."""
    return rewards.small_control(measured) * rewards.standing(measured) * rewards.stillness(measured)


STAND = Task(
    name="h1-stand",
    scene="plain.xml",
    instruction="stand still",
    description="Stay upright without moving.",
    success_bar=800.0,
    reward=reward,
    terminated=rewards.fallen,
)
