"""Going to a target: who stands, who walks, and that those who walk get there."""

import pytest
import torch

from mwl.motion.approach import GOAL, Approach
from mwl.motion.teacher import TrackingPolicy
from mwl.simulation import make_env
from mwl.simulation.robot import FRAME_SKIP

NEAR, AHEAD, BEHIND = (0.35, 0.25, 1.1), (1.5, 0.3, 1.2), (-1.2, 0.8, 1.1)  # m, world frame; the robot looks along x


@pytest.fixture
def environment(data_folder):
    env = make_env("h1-reach", num_envs=3, num_threads=1, seed=0)
    env.reset()
    qpos, qvel = env.state
    state = env.set_state(qpos, qvel, goal=torch.tensor([NEAR, AHEAD, BEHIND]))
    walker = TrackingPolicy.load(data_folder / "teachers/walk")
    return env, state, Approach(env.model, FRAME_SKIP, walker)


def test_the_goal_is_where_the_task_shows_it(environment):
    env, _, _ = environment
    assert env.task.layout.slices["goal"] == GOAL


def test_it_stands_for_near_targets_and_walks_to_far_ones(environment):
    env, state, approach = environment
    approach.reset(state["observation"])
    start = state["observation"][:, :2].clone()
    for _ in range(250):
        action = approach.act(state["observation"])
        approach.executed(action)
        state = env.step(state.set("action", action))["next"].exclude("reward")
    observation = state["observation"]
    walked = (observation[:, :2] - start).norm(dim=-1)
    distance = (observation[:, env.task.layout.slices["left_hand"]] - observation[:, GOAL]).norm(dim=-1)
    assert (observation[:, 2] > 0.8).all()  # nobody fell
    assert walked[0] < 0.1
    assert distance[0] < 0.05
    # five seconds: one to start, at most 2.5 to turn at 0.7 rad/s, the rest on the way of about 1 m
    assert (walked[1:] > 0.5).all()
    assert (distance[1:] < 1.0).all()
