"""What the gate sees: the same robot before another thing is another context."""

import pytest
import torch

from mwl.experts.features import EGOCENTRIC_SIZE, egocentric
from mwl.selection.context import CONTEXT_SIZE, gate_context
from mwl.simulation import get_task, make_env


@pytest.mark.parametrize("task", ["h1-walk", "h1-reach", "h1-door"])
def test_every_task_gives_the_same_features(task: str) -> None:
    env = make_env(task, num_envs=2, num_threads=1, seed=0)
    observation = env.reset()["observation"]
    seen = gate_context(observation, env.task.layout)
    assert seen.shape == (2, CONTEXT_SIZE)
    assert torch.equal(seen[:, :EGOCENTRIC_SIZE], egocentric(observation, env.task.layout))
    assert bool((seen[:, EGOCENTRIC_SIZE:] == 0).all()) == (task == "h1-walk")  # which shows nothing but the robot


def test_a_far_goal_differs_from_a_farther_one() -> None:
    """Experts see both as half a metre away; whether to go there at all must not depend on that."""
    layout = get_task("h1-reach").layout
    observation = make_env("h1-reach", num_envs=2, num_threads=1, seed=0).reset()["observation"][:1].repeat(2, 1)
    observation[:, layout.slices["goal"]] = torch.tensor([[1.0, 0.0, 1.0], [2.0, 0.0, 1.0]])
    near, far = gate_context(observation, layout)
    assert float((near - far).abs().max()) > 0.9


def test_a_recording_that_says_what_was_asked_for_stands_for_a_task_that_shows_it() -> None:
    env = make_env("h1-walk", num_envs=2, num_threads=1, seed=0)
    observation = env.reset()["observation"]
    told = gate_context(observation, env.task.layout, {"hand_target": torch.tensor([[0.4, 0.2, 0.1]]).expand(2, 3)})
    assert (told[:, EGOCENTRIC_SIZE] == 1).all()
    assert torch.allclose(told[:, EGOCENTRIC_SIZE + 1 : EGOCENTRIC_SIZE + 4], torch.tensor([0.4, 0.2, 0.1]))
