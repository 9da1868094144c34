"""The residual: observations brought up to the present, actions that move the robot as it used to move."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mwl.core import keys
from mwl.core.errors import CorruptFile
from mwl.experts import features
from mwl.experts.features import EGOCENTRIC_SIZE
from mwl.experts.library import ExpertLibrary
from mwl.robot.h1 import ACTION_SIZE
from mwl.selection import Guidance
from mwl.selection.residual import MAX_DELAY, Residual
from mwl.simulation import get_task, make_env

LAYOUT = get_task("h1-walk").layout
WHOLE = torch.ones(1, 2)


class OfAction(nn.Module):
    """Moves the first A features by a multiple of the action, whatever the state."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, seen: Tensor) -> Tensor:
        return nn.functional.pad(self.gain * seen[..., EGOCENTRIC_SIZE:], (0, EGOCENTRIC_SIZE - ACTION_SIZE))


def linear(damping: float = 1e-6, *, before: float = 1.0, now: float = 1.0, delay: int = 0) -> Residual:
    """A residual in a world in which an action moves the robot `now` times as it stands, and moved it `before`."""
    residual = Residual(damping, delay)
    residual.dynamics.before, residual.dynamics.change = OfAction(before), OfAction(now - before)  # type: ignore[assignment]
    residual.shares = WHOLE.clone()
    return residual


@pytest.fixture
def observation() -> Tensor:
    """Robots `[8, O]` in motion, which look in all directions."""
    torch.manual_seed(0)
    env = make_env("h1-walk", num_envs=8, seed=0)
    now = env.reset()
    qpos, qvel = env.state
    qpos[:, 3:7] = nn.functional.normalize(torch.randn(8, 4).double(), dim=-1)
    qvel = torch.randn_like(qvel)
    now = env.set_state(qpos.numpy(), qvel.numpy())
    return now[keys.OBSERVATION]


def test_moved_to_its_own_features_a_robot_stays(observation: Tensor) -> None:
    told = features.egocentric(observation, LAYOUT)
    again = features.moved(observation, LAYOUT, told)
    torch.testing.assert_close(features.egocentric(again, LAYOUT), told, atol=1e-5, rtol=0)
    # a quaternion and its negative are one rotation
    sign = torch.sign((again[:, 3:7] * observation[:, 3:7]).sum(dim=-1, keepdim=True))
    again = torch.cat([again[:, :3], sign * again[:, 3:7], again[:, 7:]], dim=-1)
    torch.testing.assert_close(again, observation, atol=1e-5, rtol=0)


def test_weak_motors_are_told_to_go_twice_as_far(observation: Tensor) -> None:
    action = 0.02 * torch.randn(8, 3, ACTION_SIZE)
    told = linear(now=0.5).act(observation, LAYOUT, action)
    torch.testing.assert_close(told, 2 * action, atol=1e-4, rtol=1e-3)


def test_damping_keeps_an_action_near_the_experts(observation: Tensor) -> None:
    action = 0.02 * torch.randn(8, 1, ACTION_SIZE)
    # min |d/2 - a/2|^2 + c |d|^2 with c = 0.1 * 50 / 19: d = a * 0.25 / (0.25 + c)
    share = 0.25 / (0.25 + 0.1 * EGOCENTRIC_SIZE / ACTION_SIZE)
    told = linear(0.1, now=0.5).act(observation, LAYOUT, action)
    torch.testing.assert_close(told, (1 + share) * action, atol=1e-5, rtol=1e-3)


def test_where_nothing_changed_actions_stay(observation: Tensor) -> None:
    action = torch.rand(8, 2, ACTION_SIZE) - 0.5
    torch.testing.assert_close(linear().act(observation, LAYOUT, action), action, atol=1e-5, rtol=0)


def test_shares_say_who_changes_what(observation: Tensor) -> None:
    action, residual = 0.02 * torch.randn(8, 1, ACTION_SIZE), linear(now=0.5, delay=1)
    residual.shares = torch.tensor([[1.0, 1.0], [0.0, 0.0]]).repeat(4, 1)
    told = residual.act(observation, LAYOUT, action)
    assert torch.equal(told[1::2], action[1::2])
    assert (told[::2] != action[::2]).any(dim=-1).all()
    seen = residual.present(observation, LAYOUT, torch.ones(8, residual.memory_size), None)
    assert torch.equal(seen[1::2], observation[1::2])
    assert (seen[::2] != observation[::2]).any(dim=-1).all()


def test_late_observations_are_led_on_by_the_actions_since_then(observation: Tensor) -> None:
    residual = linear(delay=2)
    memory = torch.zeros(8, residual.memory_size)
    for value in (0.3, 0.02, 0.01):  # the first is too long ago to matter
        memory = residual.remember(memory, torch.full((8, ACTION_SIZE), value))
    seen = residual.present(observation, LAYOUT, memory, torch.tensor([0, 1, 2, 3, 9, 9, 9, 9]))
    risen = features.egocentric(seen, LAYOUT)[:, 0] - features.egocentric(observation, LAYOUT)[:, 0]
    # an episode begins with its first state known: there 0 and 1 actions have followed
    torch.testing.assert_close(risen, torch.tensor([0.0, 0.01, *[0.03] * 6]), atol=1e-5, rtol=0)


def test_what_is_remembered_is_what_was_carried_out() -> None:
    library = ExpertLibrary.load("data/experts/walk")
    guidance = Guidance(library, semantic_weights={"walk": 1.0}, layout=LAYOUT, residual=Residual(0.2))
    now = make_env("h1-walk", num_envs=2, seed=0).reset()[keys.OBSERVATION]
    begin = guidance.begin(2)
    guide, after = guidance.step(now, begin)
    assert torch.equal(after.memory[:, :ACTION_SIZE], guide[keys.REFERENCE_ACTION])
    other = torch.full((2, ACTION_SIZE), 0.5)
    assert torch.equal(guidance.carried_out(after, begin, other).memory[:, :ACTION_SIZE], other)


def test_without_a_share_experts_act_as_they_are() -> None:
    library = ExpertLibrary.load("data/experts/walk")
    plain = Guidance(library, semantic_weights={"walk": 1.0}, layout=LAYOUT)
    idle = replace(plain, residual=Residual(0.2, delay=MAX_DELAY))
    now = make_env("h1-walk", num_envs=2, seed=0).reset()[keys.OBSERVATION]
    told = [guidance.step(now)[0][keys.REFERENCE_ACTION] for guidance in (plain, idle)]
    assert torch.equal(*told)


def test_it_comes_back_from_plain_values(observation: Tensor) -> None:
    torch.manual_seed(0)
    residual = Residual(0.2, delay=1)
    nn.init.normal_(residual.dynamics.change[-1].bias)  # type: ignore[arg-type]
    residual.shares = WHOLE.clone()
    again = Residual.from_plain(residual.to_plain())
    memory, action = torch.rand(8, residual.memory_size), torch.rand(8, 1, ACTION_SIZE) - 0.5
    assert torch.equal(
        residual.present(observation, LAYOUT, memory, None), again.present(observation, LAYOUT, memory, None)
    )
    assert torch.equal(residual.act(observation, LAYOUT, action), again.act(observation, LAYOUT, action))
    with pytest.raises(CorruptFile, match="delay is out of range"):
        Residual.from_plain({**residual.to_plain(), "delay": 9})
