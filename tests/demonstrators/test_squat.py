"""Squatting: depths mean what they say, and robots stay on their feet on the way down and up."""

import numpy as np
import pytest
import torch

from mwl import make_env
from mwl.core import keys
from mwl.demonstrators.lqr import LQRConfig, standing_pose
from mwl.demonstrators.reach import Reach, reachable_targets
from mwl.demonstrators.squat import DEEPEST_PITCH, Squat
from mwl.robot import frames
from mwl.robot.h1 import FRAME_SKIP, QPOS0

KNEES = {0.0: 0.8, 0.5: 1.3, 1.0: 1.8}  # rad by depth; the pelvis pitches by 1 rad on the way


@pytest.fixture(scope="module")
def env():
    return make_env("h1-stand", num_envs=8, seed=1)


@pytest.fixture(scope="module")
def squat(env) -> Squat:
    return Squat(env.model, FRAME_SKIP, LQRConfig())


def poses(env) -> torch.Tensor:
    """One pose `[26]` per depth."""
    rows = [standing_pose(env.model, knee, depth * DEEPEST_PITCH) for depth, knee in KNEES.items()]
    return torch.from_numpy(np.stack(rows)).float()


def test_depth_is_read_off_the_pose_whatever_its_heading(env, squat):
    depths = torch.tensor(list(KNEES))
    assert torch.allclose(squat.of(poses(env)), depths, atol=1e-4)
    turned = poses(env)
    half = torch.tensor(0.6)  # a turn of 1.2 rad about the vertical, before the pitch
    w, y = turned[:, 3].clone(), turned[:, 5].clone()
    turned[:, 3:7] = torch.stack([half.cos() * w, -half.sin() * y, half.cos() * y, half.sin() * w], dim=-1)
    assert torch.allclose(squat.of(turned), depths, atol=1e-4)


def test_only_low_targets_need_it(squat):
    assert squat.needed(torch.tensor([1.8, 1.0, 0.7, 0.4, 0.2])).tolist() == pytest.approx([0, 0, 0.5, 1, 1])


def test_a_robot_that_has_bent_sees_a_target_where_it_is(env, squat):
    """No way left to bend: the target in the body frame, of whatever heading; a way left: as seen at its end."""
    qpos, target = poses(env)[1:2], torch.tensor([[0.4, 0.2, -0.5]])
    rotation = frames.rotation_matrix(qpos[:, 3:7])
    half, whole = torch.tensor([0.5]), torch.tensor([1.0])
    assert torch.allclose(squat.seen_from(half, half, target, rotation), frames.to_body(rotation, target), atol=1e-5)
    moved = target + squat.pelvis(half) - squat.pelvis(whole)
    deepest = frames.rotation_matrix(poses(env)[2:, 3:7])
    assert torch.allclose(squat.seen_from(whole, half, target, rotation), frames.to_body(deepest, moved), atol=1e-4)


def test_low_targets_are_reached_and_left_again(env):
    targets = reachable_targets(env.model, 200, torch.Generator().manual_seed(3))
    lowest = targets[targets[:, 2].argsort()[:8]] + torch.tensor(QPOS0[:3], dtype=torch.float32)
    assert (lowest[:, 2] < 0.45).all()
    state = env.reset()
    reach = Reach(env.model, FRAME_SKIP, targets=lowest)
    reach.reset(state[keys.OBSERVATION])
    everyone = torch.ones(len(lowest), dtype=torch.bool)
    for step in range(400):
        if step == 200:
            hand = torch.from_numpy(env.measurement["left_hand_position"]).float()
            # exact but for the depth that is missing at rest, which the arm makes up for within its own range
            assert (hand - lowest).norm(dim=-1).max() < 0.03
            reach.aim(torch.tensor([0.37, 0.21, 1.08]).expand(8, 3), everyone)
        state = env.step(state.set(keys.ACTION, reach.act(state[keys.OBSERVATION])))[keys.NEXT].exclude(keys.REWARD)
    assert (state[keys.OBSERVATION][:, 2] > 0.95).all()  # upright again: the pelvis is at 0.98 m
