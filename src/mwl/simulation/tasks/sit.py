"""Sit down on the chair behind the robot, and stay there calmly."""

import numpy as np

from mwl.simulation import rewards
from mwl.simulation.task import Array, Measurement, Task

CHAIR_X = -0.25  # m; the chair stands on the x axis


def reward(measured: Measurement) -> Array:
    """Reward `[N]` in [0, 1]."""
    x, y, height = measured.qpos[:, 0], measured.qpos[:, 1], measured.qpos[:, 2]
    sitting = rewards.tolerance(height, 0.68, 0.72, 0.2)
    on_chair = rewards.tolerance(x - CHAIR_X, -0.19, 0.19, 0.2) * rewards.tolerance(y, margin=0.1)
    torso = measured["head_position"][:, 2] - measured["imu_position"][:, 2]
    posture = rewards.tolerance(torso, 0.35, 0.45, 0.3) * rewards.upright(measured, margin=0.9, bound=0.95)
    seat = 0.5 * sitting + 0.5 * on_chair
    return seat * posture * rewards.small_control(measured) * rewards.stillness(measured)


def terminated(measured: Measurement) -> np.ndarray:
    """Off the chair: root below 0.5 m `[N]`, bool."""
    return rewards.fallen(measured, 0.5)


SIT_SIMPLE = Task(
    name="h1-sit_simple",
    scene="sit_simple.xml",
    instruction="sit down on the chair",
    description="Sit on the chair behind the robot, torso upright, without moving.",
    success_bar=750.0,
    reward=reward,
    fixed_scene=True,
    terminated=terminated,
)
