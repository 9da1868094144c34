"""Trajectories recorded from the original environments, kept beside the repository; parity tests skip without them."""

from pathlib import Path

import numpy as np
import pytest

from mwl.simulation.task import Measurement, SensorIndex

FOLDER = Path(__file__).parents[2].parent / "shared" / "parity"
TASKS = ("h1-walk", "h1-reach", "h1-door")


def load(task: str) -> dict[str, np.ndarray]:
    """Arrays `[K, T, ...]` (actions, rewards) and `[K, T + 1, ...]` (states, sensors) of K trajectories."""
    path = FOLDER / f"{task}.npz"
    if not path.exists():
        pytest.skip(f"recorded trajectories are not at hand: {path}")
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def measurement(record: dict[str, np.ndarray], trajectory: int) -> Measurement:
    """What rewards are computed from, as the original recorded it, for every step `[T]` of one trajectory."""
    sites, bodies = list(record["site_names"]), list(record["body_names"])

    def site(name: str) -> np.ndarray:
        return record["site_xpos"][trajectory, 1:, sites.index(name)]

    parts = {
        "actuator_force": record["actuator_force"][trajectory, 1:],
        "com_velocity": record["sensordata"][trajectory, 1:, 2:5],
        "torso_up": record["xmat_torso"][trajectory, 1:, 2::3],
        "pelvis_up": record["xmat_pelvis"][trajectory, 1:, 2::3],
        "head_position": site("head"),
        "imu_position": site("imu"),
        "left_hand_position": site("left_hand"),
        "right_hand_position": site("right_hand"),
    }
    if "door_hatch" in bodies:
        parts["hatch_position"] = record["body_xpos"][trajectory, 1:, bodies.index("door_hatch")]
    steps = record["action"].shape[1]
    return Measurement(
        qpos=record["qpos"][trajectory, 1:],
        qvel=record["qvel"][trajectory, 1:],
        sensordata=np.concatenate(list(parts.values()), axis=-1),
        goal=np.broadcast_to(record["goal"][trajectory], (steps, 3)),
        progress=np.zeros(steps, dtype=np.int64),
        index=SensorIndex.of_sizes(**{name: part.shape[-1] for name, part in parts.items()}),
    )
