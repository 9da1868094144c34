"""The batched physics against MuJoCo's own loop, and what it promises about threads and broken physics."""

import mujoco
import numpy as np
import pytest

from mwl.robot.h1 import FRAME_SKIP, QPOS0
from mwl.simulation import Simulation, build_model, get_task

EVERYWHERE = slice(None)


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return build_model(get_task("h1-walk"))


def started(model: mujoco.MjModel, num_envs: int, num_threads: int = 1, height: float = 0.0) -> Simulation:
    """Copies at the reset pose, lifted by `height` m, each with noise of its own."""
    simulation = Simulation(model, num_envs, FRAME_SKIP, num_threads)
    qpos = np.stack([QPOS0 + np.random.default_rng(i).uniform(-0.01, 0.01, model.nq) for i in range(num_envs)])
    qpos[:, 2] += height
    simulation.reset(np.ones(num_envs, dtype=bool), qpos, np.zeros((num_envs, model.nv)))
    return simulation


def targets(num_envs: int, step: int) -> np.ndarray:
    """Joint targets `[N, 19]` in rad of one step; row i is the same whatever N."""
    noise = [np.random.default_rng([step, i]).uniform(-0.3, 0.3, 19) for i in range(num_envs)]
    return QPOS0[7:] + np.stack(noise)


@pytest.mark.parametrize(("height", "tolerance"), [(3.0, 1e-12), (0.0, 1e-7)])
def test_a_control_step_is_ten_physics_steps(model: mujoco.MjModel, height: float, tolerance: float) -> None:
    """In the air to the last digit; on the floor up to the solver's tolerance, which its starting point decides."""
    simulation, data = started(model, 1, height=height), mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = simulation.qpos[0], simulation.qvel[0]
    mujoco.mj_forward(model, data)
    data.qacc_warmstart[:] = 0
    for step in range(5):
        simulation.step(targets(1, step))
        data.ctrl[:] = targets(1, step)[0]
        for _ in range(FRAME_SKIP):
            mujoco.mj_step(model, data)

        np.testing.assert_allclose(simulation.qpos[0], data.qpos, rtol=0, atol=tolerance)
        np.testing.assert_allclose(simulation.sensordata[0], data.sensordata, rtol=0, atol=1e3 * tolerance)


def test_sensors_lag_one_physics_step(model: mujoco.MjModel) -> None:
    """Sensors are measured at the start of the last physics step: 2 ms, at 1 m/s 2 mm, before the state."""
    simulation = started(model, 1, height=3.0)
    velocity = np.zeros((1, model.nv))
    velocity[0, 0] = 1.0
    simulation.reset(np.ones(1, dtype=bool), np.array([[*QPOS0[:2], 4.0, *QPOS0[3:]]]), velocity)
    simulation.step(QPOS0[None, 7:])

    start = model.sensor("pelvis_position").adr[0]
    assert simulation.qpos[0, 0] - simulation.sensordata[0, start] == pytest.approx(0.002, abs=1e-4)


def test_neither_threads_nor_neighbours_change_a_copy(model: mujoco.MjModel) -> None:
    few, many = started(model, 3, num_threads=1), started(model, 7, num_threads=2)
    for step in range(40):
        few.step(targets(3, step))
        many.step(targets(7, step))

    np.testing.assert_array_equal(few.qpos, many.qpos[:3])
    np.testing.assert_array_equal(few.qvel, many.qvel[:3])
    np.testing.assert_array_equal(few.sensordata, many.sensordata[:3])


def test_a_snapshot_goes_on_exactly(model: mujoco.MjModel) -> None:
    simulation = started(model, 2)
    for step in range(10):
        simulation.step(targets(2, step))
    kept = simulation.snapshot()
    for step in range(10, 20):
        simulation.step(targets(2, step))
    expected = simulation.qpos.copy()

    other = Simulation(model, 2, FRAME_SKIP, 1)
    other.restore(kept)
    for step in range(10, 20):
        other.step(targets(2, step))
    np.testing.assert_array_equal(other.qpos, expected)


@pytest.mark.parametrize("broken", [1e9, np.inf, np.nan])
def test_broken_physics_stays_where_it_broke(model: mujoco.MjModel, broken: float) -> None:
    simulation, healthy = started(model, 3), started(model, 3)
    simulation.qvel[1, :] = broken
    simulation.step(targets(3, 0))
    healthy.step(targets(3, 0))

    np.testing.assert_array_equal(simulation.unstable, [False, True, False])
    assert np.isfinite(simulation.qpos).all()
    assert np.isfinite(simulation.sensordata).all()
    np.testing.assert_array_equal(simulation.qpos[[0, 2]], healthy.qpos[[0, 2]])
    simulation.step(targets(3, 1))
    assert not simulation.unstable.any()
