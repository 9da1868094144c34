"""A robot is read from its model file; a second one stands by the same controller."""

from pathlib import Path

import numpy as np
import pytest

from mwl import make_env
from mwl.core import keys
from mwl.core.errors import BadInput, MissingFile
from mwl.demonstrators.lqr import LQRConfig, LQRStand
from mwl.robot.g1 import G1, SCENE
from mwl.robot.h1 import FOOT_CORNERS, H1, QPOS0
from mwl.robot.model import ASSETS
from mwl.robot.spec import Names, RobotSpec
from mwl.simulation import ObservationLayout, Task

_NEGATED = ("hip_yaw", "hip_roll", "torso", "waist_yaw", "waist_roll", "shoulder_roll", "shoulder_yaw", "wrist_roll", "wrist_yaw", "ankle_roll")  # fmt: skip # noqa: E501


def _fallen(measured):
    return measured.qpos[:, 2] < 0.6


G1_STAND = Task(
    name="g1-stand",
    scene=str(SCENE),
    instruction="stand still",
    description="stay upright",
    success_bar=500.0,
    layout=ObservationLayout(robot_qpos=36, robot_qvel=35),
    reward=lambda measured: 1.0 - _fallen(measured),
    terminated=_fallen,
    observe=lambda measured: {"robot_qpos": measured.qpos, "robot_qvel": measured.qvel},
    robot=G1,
)


def test_the_g1_stands_for_ten_seconds():
    env = make_env(G1_STAND, num_envs=8, seed=0)
    balance = LQRStand(env.model, G1.frame_skip, LQRConfig(effort_weight=10.0), G1)
    state = env.reset()
    balance.reset(state[keys.OBSERVATION])
    for _ in range(round(10 / G1.control_dt)):
        state[keys.ACTION] = balance.act(state[keys.OBSERVATION])
        state = env.step(state)[keys.NEXT].exclude(keys.REWARD)
        assert not state[keys.TERMINATED].any()
    qpos, qvel = env.state
    assert (qpos[:, 2] > 0.78).all()  # upright: its knees are at 0.1 rad, its legs 0.79 m
    assert qvel.abs().max() < 0.5


@pytest.mark.parametrize("robot", [H1, G1], ids=lambda robot: robot.name)
def test_the_mirror_follows_from_the_axes(robot):
    index, sign = robot.mirror
    names = [joint.removesuffix("_joint") for joint in robot.joints]
    assert sign.tolist() == [-1.0 if name.endswith(_NEGATED) else 1.0 for name in names]
    assert (index[index] == np.arange(robot.action_size)).all()
    assert names[index[0]] == names[0].replace("left", "right")


def test_limbs_and_soles_come_from_the_model():
    assert H1.distance("hip", "knee") == pytest.approx(0.4)
    assert H1.hands[1] == ("right_elbow_link", (0.31, 0.0, -0.01))
    assert G1.sole == tuple((x, y, -0.035) for x in (-0.05, 0.12) for y in (-0.03, 0.03))  # spheres of 5 mm at -0.03
    hull = RobotSpec.from_mjcf(ASSETS / "plain.xml", "h1", pose=QPOS0).sole
    np.testing.assert_allclose(hull, FOOT_CORNERS, atol=0.0016)


def test_a_target_and_its_action_are_inverse():
    action = np.random.default_rng(0).uniform(-1, 1, (7, 29)).astype(np.float32)
    np.testing.assert_allclose(G1.ctrl_to_action(G1.action_to_ctrl(action)), action, atol=1e-6)


def test_a_scene_that_is_none_is_refused_in_one_line(tmp_path: Path):
    with pytest.raises(MissingFile, match="no such scene"):
        RobotSpec.from_mjcf(tmp_path / "none.xml", "none")
    broken = tmp_path / "broken.xml"
    broken.write_text("<mujoco><worldbody>", encoding="utf-8")
    with pytest.raises(BadInput, match=r"broken\.xml"):
        RobotSpec.from_mjcf(broken, "broken")
    ball = tmp_path / "ball.xml"
    ball.write_text(
        '<mujoco><worldbody><body><freejoint/><geom size="1"/></body></worldbody></mujoco>', encoding="utf-8"
    )
    with pytest.raises(BadInput, match="drive the hinge joints"):
        RobotSpec.from_mjcf(ball, "ball")
    with pytest.raises(BadInput, match="left_knee_joint"):
        RobotSpec.from_mjcf(ASSETS / "plain.xml", "h1", names=Names(knee="{side}_knee_joint"))
    with pytest.raises(BadInput, match="26"):
        RobotSpec.from_mjcf(ASSETS / "plain.xml", "h1", pose=[0.0] * 7)
