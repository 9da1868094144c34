"""The experts of gestures that ship: which hand is up, how it waves, and that nobody falls."""

import pytest
import torch

from mwl.experts.library import Expert
from mwl.experts.measure import Alone
from mwl.instructions.config import FollowStage
from mwl.instructions.follow import follow
from mwl.rollouts import rollout
from mwl.rollouts.pushes import Pushes
from mwl.simulation import Shift, make_env
from mwl.simulation.env import HumanoidEnv

ARMS = torch.tensor([[-1.0], [0.0], [1.0]])  # right, both, left


def hands(env: HumanoidEnv) -> torch.Tensor:
    """Heights of right and left hand above the head `[N, 2]`, m."""
    seen = env.measurement
    head = seen["head_position"][:, 2]
    return torch.stack([torch.tensor(seen[f"{side}_hand_position"][:, 2] - head) for side in ("right", "left")], dim=-1)


@pytest.mark.parametrize("name", ["raise_arm"])
def test_the_hand_that_is_told_is_above_the_head_and_nobody_falls(name: str) -> None:
    """10 s, the first two for the way up, in a plain world and in changed ones."""
    worlds = [Shift(), Shift(delay=0.02), Shift(payload=8.0), Shift(friction=0.5)]
    env = make_env("h1-stand", num_envs=12, seed=2, shift=[world for world in worlds for _ in ARMS])
    arms = ARMS.repeat(4, 1)
    for step in rollout(env, Alone(Expert.load(f"data/robust/{name}"), arms), 500):
        assert step.running.all(), f"a fall in step {step.index}"
        if step.index >= 100:
            up = hands(env) > 0
            assert (up[:, 0] == (arms[:, 0] <= 0)).all()
            assert (up[:, 1] == (arms[:, 0] >= 0)).all()


@pytest.mark.parametrize("name", ["raise_arm"])
def test_a_push_while_the_arm_is_up_is_caught(name: str) -> None:
    """Most survive pushes of 0.2 m/s every 2 s: half of those under which the manifest counts who stays up."""
    env = make_env("h1-stand", num_envs=12, seed=6)
    pushes = Pushes(std=0.2, interval=2.0, seed=6)
    agent = Alone(Expert.load(f"data/robust/{name}"), ARMS.repeat(4, 1))
    for step in rollout(env, agent, 300, pushes=pushes):
        running = step.running
    assert running.sum() >= 11


def test_words_choose_the_arm_and_another_skill_goes_on() -> None:
    summary = follow(FollowStage("raise your left hand for three seconds, then stand for two seconds"), None)
    assert summary["achieved"]
    assert not summary["fell"]
    assert [step["skill"] for step in summary["plan"]] == ["raise_arm", "stand"]
