"""Going to a target: the robot gets there, whichever way it has to turn, and stays."""

import pytest
import torch

from mwl.demonstrators.approach import GOAL, Approach, in_heading
from mwl.simulation import make_env
from mwl.teachers.teacher import TrackingPolicy

AHEAD, BEHIND = (1.5, 0.3, 1.2), (-1.2, 0.8, 1.1)  # m, world frame; the robot looks along x


@pytest.fixture
def environment(data_folder):
    env = make_env("h1-reach", num_envs=2, num_threads=1, seed=0)
    env.reset()
    qpos, qvel = env.state
    state = env.set_state(qpos, qvel, goal=torch.tensor([AHEAD, BEHIND]))
    return env, state, Approach(TrackingPolicy.load(data_folder / "teachers/walk"))


def test_the_goal_is_where_the_task_shows_it(environment):
    env, _, _ = environment
    assert env.task.layout.slices["goal"] == GOAL


def test_it_walks_to_targets_and_stays(environment):
    env, state, approach = environment
    approach.reset(state["observation"])
    away = []
    # at most 5 s to turn by 2.6 rad at 0.7 rad/s, 2 s for 1.5 m, and some to settle
    for _ in range(500):
        action = approach.act(state["observation"])
        approach.executed(action)
        state = env.step(state.set("action", action))["next"].exclude("reward")
        away.append((in_heading(state["observation"])[:, :2] - torch.tensor(approach.config.standoff)).norm(dim=-1))
    assert (state["observation"][:, 2] > 0.8).all()  # nobody fell
    assert (torch.stack(away)[-100:].mean(dim=0) < 0.08).all()
