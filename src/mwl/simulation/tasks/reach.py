"""Reach: bring the left hand to a point in space that may be out of reach from where the robot stands."""

from collections.abc import Mapping

import numpy as np

from mwl.simulation import rewards
from mwl.simulation.task import Array, Measurement, ObservationLayout, Reward, Task

NEAR, THERE = 1.0, 0.05  # m


def terms(measured: Measurement) -> Mapping[str, Array]:
    """Parts `[N]` of the reward: 5 for an upright pelvis, 5 within 1 m of the goal, 10 more within 5 cm, less for
    moving fast."""
    distance = np.linalg.norm(measured["left_hand_position"] - measured.goal, axis=-1)
    fast = 1e-4 * np.square(measured.qvel[:, :25]).sum(axis=-1)
    return {
        "upright": 5 * measured["pelvis_up"][:, 2],
        "calm": -fast,
        "near": 5.0 * (distance < NEAR),
        "there": 10.0 * (distance < THERE),
    }


def observe(measured: Measurement) -> Mapping[str, Array]:
    """The robot's state, where its left hand is, and where it should be; both in the world frame in m."""
    return {
        "robot_qpos": measured.qpos[:, :26],
        "robot_qvel": measured.qvel[:, :25],
        "left_hand": measured["left_hand_position"],
        "goal": measured.goal,
    }


REACH = Task(
    name="h1-reach",
    scene="reach.xml",
    instruction="touch the target with your left hand",
    description="Bring the left hand within 5 cm of a random point; episodes never end early.",
    success_bar=12000.0,
    reward=Reward(terms, sum),
    terminated=rewards.never,
    observe=observe,
    layout=ObservationLayout(robot_qpos=26, robot_qvel=25, left_hand=3, goal=3),
    goal_low=(-2.0, -2.0, 0.2),
    goal_high=(2.0, 2.0, 2.0),
)
