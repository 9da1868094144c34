"""Door: turn the hatch, pull the door open against its spring, walk through."""

from collections.abc import Mapping

import numpy as np

from mwl.simulation import rewards
from mwl.simulation.task import Array, Measurement, ObservationLayout, Reward, Task

HINGE, HATCH = 26, 27  # in qpos, rad


def terms(measured: Measurement) -> Mapping[str, Array]:
    """Parts `[N]` of the reward, at most 1: mostly how far the door is open (0.45) and having passed (0.35)."""
    posture = rewards.standing(measured, upright_margin=0.9) * rewards.small_control(measured)
    hinge = measured.qpos[:, HINGE]
    opened = np.minimum(1, hinge * np.abs(hinge))
    turned = rewards.tolerance(measured.qpos[:, HATCH], 0.75, 2, 0.75, "linear")
    at_hatch = rewards.tolerance(_hand_to_hatch(measured), 0, 0.25, 1, "linear")
    passed = rewards.tolerance(measured["imu_position"][:, 0], 1.2, np.inf, 1, "linear", 0.0)
    return {
        "posture": 0.1 * posture,
        "opened": 0.45 * opened,
        "turned": 0.05 * turned,
        "at_hatch": 0.05 * at_hatch,
        "passed": 0.35 * passed,
    }


def _hand_to_hatch(measured: Measurement) -> Array:
    """Distance `[N]` in m from the nearer hand to the hatch's axis."""
    hatch = measured["hatch_position"]
    return np.minimum(
        np.linalg.norm(measured["left_hand_position"] - hatch, axis=-1),
        np.linalg.norm(measured["right_hand_position"] - hatch, axis=-1),
    )


def observe(measured: Measurement) -> Mapping[str, Array]:
    """The robot's state and the angles (hinge, hatch) of the door in rad and rad/s, positions before velocities."""
    return {
        "robot_qpos": measured.qpos[:, :26],
        "door_qpos": measured.qpos[:, 26:],
        "robot_qvel": measured.qvel[:, :25],
        "door_qvel": measured.qvel[:, 25:],
    }


DOOR = Task(
    name="h1-door",
    scene="door.xml",
    instruction="open the door",
    description="Turn the hatch, pull the door open and walk through it.",
    success_bar=600.0,
    reward=Reward(terms, sum),
    terminated=lambda measured: rewards.fallen(measured, 0.58),
    observe=observe,
    layout=ObservationLayout(robot_qpos=26, door_qpos=2, robot_qvel=25, door_qvel=2),
    object_qpos0=(0.0, 0.0),
    camera="room",
    film_camera="both_sides",
)
