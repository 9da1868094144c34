"""Sit down on the chair behind the robot, or on one that may stand anywhere near, and stay there calmly."""

import math
from collections.abc import Mapping

import numpy as np

from mwl.simulation import rewards
from mwl.simulation.task import Array, Measurement, ObservationLayout, Reward, Task

CHAIR = np.array([[-0.25, 0.0]])  # m, x and y where it begins
FORWARD, ASIDE, TURN = (0.2, 0.4), 0.15, 1.8  # m, m, rad: where the robot begins where the chair isn't behind it


def terms(measured: Measurement) -> Mapping[str, Array]:
    """Factors `[N]` in [0, 1] of the reward, beside the chair where it stands from the beginning."""
    return _seated(measured, CHAIR)


def terms_where_it_stands(measured: Measurement) -> Mapping[str, Array]:
    """Factors `[N]` in [0, 1] of the reward, beside the chair where it stands by now."""
    return _seated(measured, measured["chair_position"][:, :2])


def _seated(measured: Measurement, chair: Array) -> Mapping[str, Array]:
    x, y = (measured.qpos[:, :2] - chair).T
    sitting = rewards.tolerance(measured.qpos[:, 2], 0.68, 0.72, 0.2)
    on_chair = rewards.tolerance(x, -0.19, 0.19, 0.2) * rewards.tolerance(y, margin=0.1)
    torso = measured["head_position"][:, 2] - measured["imu_position"][:, 2]
    posture = rewards.tolerance(torso, 0.35, 0.45, 0.3) * rewards.upright(measured, margin=0.9, bound=0.95)
    return {
        "seat": 0.5 * sitting + 0.5 * on_chair,
        "posture": posture,
        "small_control": rewards.small_control(measured),
        "stillness": rewards.stillness(measured),
    }


def terminated(measured: Measurement) -> np.ndarray:
    """Off the chair: root below 0.5 m `[N]`, bool."""
    return rewards.fallen(measured, 0.5)


def begin(qpos: Array, generator: np.random.Generator) -> Array:
    """The robot begins somewhere before the chair, turned by up to 1.8 rad."""
    qpos[0], qpos[1] = generator.uniform(*FORWARD), generator.uniform(-ASIDE, ASIDE)
    half = generator.uniform(-TURN, TURN) / 2
    qpos[3:7] = np.cos(half), 0.0, 0.0, np.sin(half)
    return qpos


def observe(measured: Measurement) -> Mapping[str, Array]:
    """Positions, then velocities, of robot and chair; in the world frame."""
    return {
        "robot_qpos": measured.qpos[:, :26],
        "chair_qpos": measured.qpos[:, 26:],
        "robot_qvel": measured.qvel[:, :25],
        "chair_qvel": measured.qvel[:, 25:],
    }


SIT_SIMPLE = Task(
    name="h1-sit_simple",
    scene="sit_simple.xml",
    instruction="sit down on the chair",
    description="Sit on the chair behind the robot, torso upright, without moving.",
    success_bar=750.0,
    reward=Reward(terms, math.prod),
    fixed_scene=True,
    terminated=terminated,
)
SIT_HARD = Task(
    name="h1-sit_hard",
    scene="sit_hard.xml",
    instruction="turn round and sit down on the chair",
    description="Sit on a chair that can be pushed away, from wherever the robot stands before it.",
    success_bar=750.0,
    reward=Reward(terms_where_it_stands, math.prod),
    terminated=terminated,
    observe=observe,
    layout=ObservationLayout(robot_qpos=26, chair_qpos=7, robot_qvel=25, chair_qvel=6),
    object_qpos0=(-0.25, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0),
    begin=begin,
)
