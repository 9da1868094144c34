"""Push a box on a table to a point."""

from collections.abc import Mapping

import numpy as np

from mwl.simulation.task import Array, Measurement, ObservationLayout, Reward, Task

THERE = 0.05  # m
BOX = slice(26, 29)  # position of the box in qpos, m
BOX_VELOCITY = slice(25, 28)  # in qvel, m/s


def _to_goal(measured: Measurement) -> Array:
    return np.linalg.norm(measured.qpos[:, BOX] - measured.goal, axis=-1)


def terms(measured: Measurement) -> Mapping[str, Array]:
    """Parts `[N]` of the reward: minus the distances from box to goal and, a tenth of it, from left hand to box; 1000
    when there."""
    to_goal = _to_goal(measured)
    to_box = np.linalg.norm(measured["left_hand_position"] - measured.qpos[:, BOX], axis=-1)
    return {"there": 1000.0 * (to_goal < THERE), "to_box": -0.1 * to_box, "to_goal": -to_goal}


def succeeded(measured: Measurement) -> np.ndarray:
    """The box is where it should be `[N]`, bool."""
    return _to_goal(measured) < THERE


def observe(measured: Measurement) -> Mapping[str, Array]:
    """The robot's state, left hand, goal and box in the world frame, in m and m/s."""
    return {
        "robot_qpos": measured.qpos[:, :26],
        "robot_qvel": measured.qvel[:, :25],
        "left_hand": measured["left_hand_position"],
        "goal": measured.goal,
        "box_position": measured.qpos[:, BOX],
        "box_velocity": measured.qvel[:, BOX_VELOCITY],
    }


PUSH = Task(
    name="h1-push",
    scene="push.xml",
    instruction="push the box to the target",
    description="Push the box on the table to within 5 cm of a random point, which ends the episode.",
    success_bar=700.0,
    reward=Reward(terms, sum),
    terminated=succeeded,
    succeeded=succeeded,
    observe=observe,
    layout=ObservationLayout(robot_qpos=26, robot_qvel=25, left_hand=3, goal=3, box_position=3, box_velocity=3),
    goal_low=(0.7, -0.5, 1.0),
    goal_high=(1.0, 0.5, 1.0),
    max_episode_steps=500,
    object_qpos0=(0.7, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0),
)
