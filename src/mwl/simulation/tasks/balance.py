"""Stand on a board that lies on a ball: the ball is fixed (simple), or rolls (hard)."""

import math
from collections.abc import Mapping

import numpy as np

from mwl.simulation import rewards
from mwl.simulation.task import Array, Measurement, ObservationLayout, Reward, Task

HEIGHT = 0.37  # m, of the board's centre, by which the head has to be higher than on the floor
BOARD = (0.0, 0.0, HEIGHT, 1.0, 0.0, 0.0, 0.0)  # reset values in qpos: m, quaternion
BALL = (0.0, 0.0, 0.17, 1.0, 0.0, 0.0, 0.0)
START = np.array([-0.1, 0.0, 1.38])  # m, of the robot's root


def begin(qpos: Array, generator: np.random.Generator) -> Array:
    """The robot begins on the board; the reset's noise stays."""
    qpos[:3] += START - (0.0, 0.0, 0.98)
    return qpos


def terms(measured: Measurement) -> Mapping[str, Array]:
    """Factors `[N]` in [0, 1] of the reward."""
    return {
        "small_control": rewards.small_control(measured),
        "standing": rewards.standing(measured, height=rewards.STAND_HEIGHT + HEIGHT),
        "stillness": rewards.stillness(measured),
    }


def terminated(measured: Measurement) -> np.ndarray:
    """Root below 0.8 m, the robot on ball or floor, or the board on the floor `[N]`, bool."""
    touched = [measured[name][:, 0] > 0 for name in ("robot_on_pivot", "robot_on_floor", "board_on_floor")]
    return rewards.fallen(measured, 0.8) | np.any(touched, axis=0)


def observe(measured: Measurement) -> Mapping[str, Array]:
    """Positions, then velocities, of the robot and of what it stands on; in the world frame."""
    return {
        "robot_qpos": measured.qpos[:, :26],
        "board_qpos": measured.qpos[:, 26:],
        "robot_qvel": measured.qvel[:, :25],
        "board_qvel": measured.qvel[:, 25:],
    }


BALANCE_SIMPLE = Task(
    name="h1-balance_simple",
    scene="balance_simple.xml",
    instruction="balance on the board",
    description="Stand upright and still on a board that lies on a fixed ball.",
    success_bar=800.0,
    reward=Reward(terms, math.prod),
    terminated=terminated,
    observe=observe,
    layout=ObservationLayout(robot_qpos=26, board_qpos=7, robot_qvel=25, board_qvel=6),
    object_qpos0=BOARD,
    begin=begin,
    fixed_scene=True,
)
BALANCE_HARD = Task(
    name="h1-balance_hard",
    scene="balance_hard.xml",
    instruction="balance on the rolling board",
    description="Stand upright and still on a board that lies on a ball which rolls.",
    success_bar=800.0,
    reward=Reward(terms, math.prod),
    terminated=terminated,
    observe=observe,
    layout=ObservationLayout(robot_qpos=26, board_qpos=14, robot_qvel=25, board_qvel=12),
    object_qpos0=BOARD + BALL,
    begin=begin,
)
