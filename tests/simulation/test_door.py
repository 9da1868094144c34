"""The latch: pure geometry, measured on the original as the largest hinge angle under a constant hinge torque."""

import mujoco
import numpy as np
import pytest

from mwl.robot.h1 import QPOS0
from mwl.simulation import build_model, get_task

HINGE, HATCH = 26, 27  # in qpos; one less in qvel, as the root quaternion has four numbers
SECONDS = 3.0


def largest_hinge_angle(torque: float, hatch: float) -> float:
    """Largest hinge angle in rad under `torque` N m with the hatch held at `hatch` rad, the robot out of the way."""
    model = build_model(get_task("h1-door"))
    data = mujoco.MjData(model)
    data.qpos[:] = [*QPOS0, 0.0, hatch]
    data.qpos[2] = 10.0
    largest = 0.0
    for _ in range(int(SECONDS / model.opt.timestep)):
        data.qpos[HATCH], data.qvel[HATCH - 1] = hatch, 0.0
        data.qfrc_applied[HINGE - 1] = torque
        mujoco.mj_step(model, data)
        largest = max(largest, data.qpos[HINGE])
    return largest


@pytest.mark.parametrize(
    ("hatch", "torque", "low", "high"),
    [
        (0.0, 60, 0.015, 0.025),  # locked: 0.020 to 0.022 measured on the original
        (0.5, 60, 0.015, 0.025),
        (0.5, 200, 0.015, 0.025),
        (0.75, 60, 0.06, 0.08),  # half free: 0.072
        (1.0, 20, 0.3, 0.8),  # free, against the spring alone: 20 / 50 = 0.4 rad at rest, up to twice that on the way
        (1.0, 200, 1.3, 1.45),  # up to the hinge's limit
    ],
)
def test_the_leaf_moves_only_once_the_hatch_is_turned(hatch: float, torque: float, low: float, high: float) -> None:
    assert low <= largest_hinge_angle(torque, hatch) <= high


def test_the_hatch_weighs_nothing_and_its_spring_holds_it_closed() -> None:
    model = build_model(get_task("h1-door"))
    data = mujoco.MjData(model)
    data.qpos[:] = [*QPOS0, 0.0, 0.0]
    data.qpos[2] = 10.0
    for _ in range(300):
        mujoco.mj_step(model, data)

    assert np.abs(data.qpos[HINGE:]).max() < 5e-3
    assert model.body("door").mass[0] == pytest.approx(159.6672, abs=1e-3)
    assert model.body("door_hatch").mass[0] == pytest.approx(2.161416, abs=1e-5)
