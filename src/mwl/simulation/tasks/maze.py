"""Walk through a maze, from checkpoint to checkpoint."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mwl.simulation import rewards
from mwl.simulation.task import Array, Measurement, Reward, Task

# Indexed by stage, the number of checkpoints reached so far; at the last stage the robot may stay where it is.
CHECKPOINTS = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 6.0], [6.0, 6.0], [6.0, 6.0]])  # m
HEADINGS = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
LAST = len(CHECKPOINTS) - 1
RADIUS = 0.4  # m, within which a checkpoint counts as reached
SPEED = 2.0  # m/s


def advance(measured: Measurement) -> NDArray[np.int64]:
    """Stage `[N]` after this step, from the stage before it and where the pelvis is."""
    stage = measured.progress
    away = np.linalg.norm(measured["pelvis_position"][:, :2] - CHECKPOINTS[stage], axis=-1)
    return np.minimum(stage + (away < RADIUS), LAST)


def terms(measured: Measurement) -> Mapping[str, Array]:
    """Parts `[N]` of the reward: in [0, 1], a tenth while a wall is touched; 100 times its number for each checkpoint
    reached."""
    stage = advance(measured)
    posture = rewards.standing(measured) * rewards.small_control(measured)
    error = measured["com_velocity"][:, :2] - SPEED * HEADINGS[stage]
    moving = rewards.tolerance(error, margin=1.0, kind="linear", value_at_margin=0.0).prod(axis=-1)
    moving = (5 * np.where(stage == LAST, 1.0, moving) + 1) / 6
    away = np.linalg.norm(measured["imu_position"][:, :2] - CHECKPOINTS[stage], axis=-1)
    untouched = np.where(measured["wall_contact"][:, 0] > 0, 0.1, 1.0)
    return {
        "posture": 0.2 * posture * untouched,
        "speed": 0.4 * moving * untouched,
        "near_checkpoint": 0.4 * rewards.tolerance(away, margin=1.0) * untouched,
        "checkpoint": np.where(stage > measured.progress, 100.0 * stage, 0.0),
    }


MAZE = Task(
    name="h1-maze",
    scene="maze.xml",
    instruction="find the way through the maze",
    description="Walk from checkpoint to checkpoint at 2 m/s without touching the walls.",
    success_bar=1200.0,
    reward=Reward(terms, sum),
    fixed_scene=True,
    terminated=rewards.fallen,
    advance=advance,
    camera="above",
)
