"""The robot's figures, and the map between actions and joint targets."""

import mujoco
import numpy as np
import pytest

from mwl.robot.h1 import CTRL_HIGH, CTRL_LOW, JOINT_NAMES, QPOS0, action_to_ctrl, ctrl_to_action
from mwl.simulation import build_model, get_task


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return build_model(get_task("h1-walk"))


def test_masses_and_centre_of_mass(model: mujoco.MjModel) -> None:
    data = mujoco.MjData(model)
    data.qpos[:] = QPOS0
    mujoco.mj_forward(model, data)

    assert model.body_subtreemass[1] == pytest.approx(51.6499, abs=1e-4)
    np.testing.assert_allclose(data.subtree_com[1], [0.028, 0.001, 0.947], atol=5e-4)
    np.testing.assert_allclose(data.site("head").xpos[2], 1.68, atol=1e-9)
    np.testing.assert_allclose(data.site("left_hand").xpos, [0.3285, 0.2135, 1.0766], atol=1e-4)


def test_only_the_feet_touch_in_the_reset_pose(model: mujoco.MjModel) -> None:
    data = mujoco.MjData(model)
    data.qpos[:] = QPOS0
    mujoco.mj_forward(model, data)

    links = {model.body(model.geom_bodyid[geom]).name for pair in data.contact.geom for geom in pair}
    assert links == {"world", "left_ankle_link", "right_ankle_link"}
    assert data.ncon == 8  # four corners of each foot
    assert data.contact.dist.min() == pytest.approx(-0.00105, abs=2e-5)


def test_actuators_are_the_joints_in_order(model: mujoco.MjModel) -> None:
    assert tuple(model.joint(1 + i).name for i in range(19)) == JOINT_NAMES
    for i, name in enumerate(JOINT_NAMES):
        assert model.jnt_qposadr[model.joint(name).id] == 7 + i
        np.testing.assert_array_equal(model.actuator(name).ctrlrange, model.joint(name).range)


def test_action_zero_is_mid_range_and_the_bounds_are_reached() -> None:
    np.testing.assert_allclose(action_to_ctrl(np.zeros(19)), (CTRL_LOW + CTRL_HIGH) / 2, atol=1e-6)
    np.testing.assert_allclose(action_to_ctrl(np.ones(19)), CTRL_HIGH, atol=1e-6)
    np.testing.assert_allclose(action_to_ctrl(-np.ones(19)), CTRL_LOW, atol=1e-6)


def test_action_and_ctrl_are_inverse() -> None:
    action = np.random.default_rng(0).uniform(-1, 1, (7, 19))
    np.testing.assert_allclose(ctrl_to_action(action_to_ctrl(action)), action, atol=1e-6)


def test_fast_contacts_keep_feet_and_shins() -> None:
    fast = build_model(get_task("h1-walk"), contacts="fast", timestep=0.004)
    colliding = {fast.geom(i).name for i in range(fast.ngeom) if fast.geom_contype[i]}

    feet_and_shins = {f"{side}_{link}_link_contact" for side in ("left", "right") for link in ("ankle", "knee")}
    assert colliding == {"floor", *feet_and_shins}
    assert fast.opt.timestep == 0.004


@pytest.mark.parametrize(("hip_yaw", "hip_roll"), [(0.0, 0.0), (-0.4, 0.3), (0.4, -0.3)])
def test_fast_hips_stop_where_the_thigh_meets_the_hip(hip_yaw: float, hip_roll: float) -> None:
    """The full robot's thigh touches the hip's housing from 0.368 rad of extension on; there the fast joint ends."""
    full, fast = build_model(get_task("h1-walk")), build_model(get_task("h1-walk"), contacts="fast")

    def stopped(model: mujoco.MjModel, hip_pitch: float) -> bool:
        data = mujoco.MjData(model)
        data.qpos[2] = 2.0  # clear of the floor
        data.joint("left_hip_yaw").qpos, data.joint("left_hip_roll").qpos = hip_yaw, hip_roll
        data.joint("left_hip_pitch").qpos = hip_pitch
        mujoco.mj_forward(model, data)
        return data.nefc > data.nf  # a contact or a limit, beside the joints' friction

    for model in (full, fast):
        assert not stopped(model, 0.365)
        assert stopped(model, 0.371)


def test_what_is_drawn_does_not_change_physics() -> None:
    task = get_task("h1-reach")
    plain, drawn = build_model(task), build_model(task, visual=True)

    assert drawn.ngeom > plain.ngeom
    assert drawn.nsensordata == plain.nsensordata
    np.testing.assert_array_equal(drawn.body_mass, plain.body_mass)
    np.testing.assert_array_equal(drawn.body_inertia, plain.body_inertia)
