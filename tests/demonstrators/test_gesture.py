"""Raised and waved arms: which arm, how high, to and fro, and that left is the mirror image of right."""

import pytest
import torch

from mwl.core import keys
from mwl.demonstrators.posture.gesture import MOVES, Gesture, arm_targets, moved_joints
from mwl.demonstrators.registry import build_demonstrator, load_demonstration_config
from mwl.robot import CONTROL_HZ
from mwl.robot.h1 import JOINT_NAMES
from mwl.robot.joint_mirror import mirror_joints
from mwl.simulation import make_env
from mwl.teachers.teacher import TrackingPolicy

ELBOW = {side: JOINT_NAMES.index(f"{side}_elbow") for side in ("left", "right")}


def shown(move, arm, seconds):
    """Heights of left hand, right hand and head above the floor `[T, 3]` in m, and joint angles `[T, 19]` in rad."""
    env = make_env("h1-stand", 1, seed=0)
    gesture = Gesture(TrackingPolicy.load("data/teachers/stand_robust", torch.zeros(3)), move, arm)
    state, heights, joints = env.reset(), [], []
    gesture.reset(state[keys.OBSERVATION])
    for _ in range(round(seconds * CONTROL_HZ)):
        action = gesture.act(state[keys.OBSERVATION])
        gesture.executed(action)
        state = env.step(state.set(keys.ACTION, action))[keys.NEXT].exclude(keys.REWARD)
        seen = env.measurement
        places = [seen[f"{name}_position"][0, 2] for name in ("left_hand", "right_hand", "head")]
        heights.append(torch.tensor(places))
        joints.append(state[keys.OBSERVATION][0, 7:26])
    return torch.stack(heights), torch.stack(joints)


@pytest.mark.parametrize(("arm", "up"), [(-1.0, (1,)), (1.0, (0,)), (0.0, (0, 1))])
def test_the_arm_that_is_told_rises_above_the_head_and_stays(arm, up):
    heights, _ = shown("raise_arm", arm, 3.0)
    above = heights[100:, :2] > heights[100:, 2:] + 0.2  # the hand of a straight arm is 0.4 m above the head
    assert above[:, list(up)].all()
    assert not above[:, [hand for hand in (0, 1) if hand not in up]].any()


def test_an_arm_takes_most_of_a_second_to_rise():
    """A servo told the end at once would be there within 0.2 s."""
    heights, _ = shown("raise_arm", -1.0, 1.5)
    first = int((heights[:, 1] > heights[:, 2] + 0.2).int().argmax())
    assert 0.3 * CONTROL_HZ < first < 1.2 * CONTROL_HZ


def test_a_waving_hand_goes_to_and_fro_beside_the_head():
    heights, joints = shown("wave", -1.0, 5.0)
    elbow = joints[100:, ELBOW["right"]] - MOVES["wave"].raised["elbow"]
    there_and_back = ((elbow[1:] > 0) != (elbow[:-1] > 0)).sum()
    assert 4 <= there_and_back <= 12, "0.7 to 2 waves a second, for three seconds"
    assert elbow.max() > 0.3
    assert elbow.min() < -0.3
    assert (heights[100:, 1] > heights[100:, 2]).all()
    assert (heights[100:, 0] < 1.3).all(), "the other hand hangs"


def test_the_left_arm_does_the_mirror_image_of_the_right_one():
    generator = torch.Generator().manual_seed(3)
    joints, rest = (scale * torch.randn(32, 19, generator=generator) for scale in (1.0, 0.1))
    targets = arm_targets(MOVES["wave"], joints, rest)
    mirror = arm_targets(MOVES["wave"], *(mirror_joints(each) for each in (joints, rest)))
    torch.testing.assert_close(mirror_joints(mirror), targets)
    arm = torch.tensor([[-1.0], [1.0], [0.0]])
    assert moved_joints(MOVES["wave"], arm).sum(dim=-1).tolist() == [4, 4, 8]


def test_legs_and_trunk_and_the_other_arm_are_the_teachers():
    """It is shown arms that hang, so it answers as if they did."""
    env = make_env("h1-stand", 4, seed=1)
    teacher, alone = (TrackingPolicy.load("data/teachers/stand_robust", torch.zeros(3)) for _ in range(2))
    gesture, observation = Gesture(teacher, "wave", arm=1.0), env.reset()[keys.OBSERVATION]
    gesture.reset(observation)
    alone.reset(observation)
    hanging = observation.clone()
    hanging[:, 7:26] = torch.where(moved_joints(MOVES["wave"], gesture.command), alone.reference(), hanging[:, 7:26])
    action, own = gesture.act(observation), alone.act(hanging)
    others = ~moved_joints(MOVES["wave"], gesture.command)[0]
    torch.testing.assert_close(action[:, others], own[:, others])


def test_a_configuration_draws_the_arm_of_each_robot(data_folder, monkeypatch):
    monkeypatch.chdir(data_folder.parent)
    env = make_env("h1-stand", 64, seed=0)
    gesture = build_demonstrator(load_demonstration_config("conf/demonstrators/taught.yaml#wave"), env)
    gesture.reset(env.reset()[keys.OBSERVATION])
    counts = [int((gesture.command == arm).sum()) for arm in (-1.0, 0.0, 1.0)]
    assert sum(counts) == 64
    assert min(counts) >= 8, "of 64 drawn evenly, fewer than 8 for one of three has a chance of 2e-4"
    assert "stand_robust" in gesture.describe()["teacher"]
