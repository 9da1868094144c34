"""Skills as actions: what an action decides, and that a held decision is what the expert does by itself."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict
from torchrl.envs.utils import check_env_specs

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.core.manifest import Manifest
from mwl.experts.library import ExpertLibrary
from mwl.simulation import HumanoidEnv, make_env
from mwl.skills import Bridge, SkillAgent, SkillEnv, SkillSpace
from mwl.skills.commands import Command, command_of

EXPERTS = Path(__file__).parents[2] / "data/experts"


@pytest.fixture(scope="module")
def library() -> ExpertLibrary:
    return ExpertLibrary.load([EXPERTS / "stand", EXPERTS / "walk"])


@pytest.fixture(scope="module")
def space(library: ExpertLibrary) -> SkillSpace:
    return SkillSpace(library)


def test_a_decision_survives_the_way_through_an_action(space: SkillSpace) -> None:
    assert space.names == ["score of stand", "score of walk", "walk forward", "walk sideways", "walk turning"]
    told = torch.tensor([1.1, -0.2, 0.4])
    decision = space.decode(torch.stack([space.encode("walk", told), space.encode("stand")]))
    assert decision.skill.tolist() == [1, 0]
    torch.testing.assert_close(decision.commands["walk"][0], told)
    # the middle of -0.5 to 1.6 m/s, -0.3 to 0.3 m/s and -0.6 to 0.6 rad/s
    torch.testing.assert_close(decision.commands["walk"][1], torch.tensor([0.55, 0.0, 0.0]))


def test_an_action_beyond_the_bounds_tells_the_bound(space: SkillSpace) -> None:
    decision = space.decode(torch.tensor([[0.0, 1.0, 9.0, -9.0, 0.0]]))
    torch.testing.assert_close(decision.commands["walk"], torch.tensor([[1.6, -0.3, 0.0]]))


def test_ranges_of_a_manifest_count(library: ExpertLibrary) -> None:
    manifest = {**library.experts[1].manifest, "command_range": {"low": [0, -0.1, -1], "high": [2, 0.1, 1]}}
    command = command_of(Manifest.of(manifest))
    assert command is not None
    assert (command.low, command.high) == ((0, -0.1, -1), (2, 0.1, 1))
    assert command.described([1.0, 0.0, 0.25]) == "forward 1 m/s, sideways 0 m/s, turning 0.25 rad/s"
    assert command_of(library.experts[0].manifest) is None
    for wrong in ({"low": [0, 0, 0]}, {"low": [1, 0, 0], "high": [0, 1, 1]}, {"low": [0], "high": [1]}, 3):
        with pytest.raises(BadInput, match="command"):
            command_of(Manifest.of({**manifest, "command_range": wrong}))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"skills": ["walk"]}, "hold 'stand'"),
        ({"skills": ["stand", "hop"]}, "no expert 'hop'"),
        ({"bridges": {("walk", "stand"): Bridge("walk", 0)}, "skills": ["stand", "walk"]}, "at least one control step"),
        ({"bridges": {("run", "stand"): Bridge("walk", 5)}, "skills": ["stand", "walk"]}, "no skill 'run'"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(library: ExpertLibrary, changes: dict, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        SkillSpace(library, **changes)


def test_wrong_decisions_are_refused(space: SkillSpace) -> None:
    for skill, command, match in (
        ("fly", None, "no skill"),
        ("stand", [1.0], "takes no command"),
        ("walk", [1.0], "of 3"),
    ):
        with pytest.raises(BadInput, match=match):
            space.encode(skill, command)
    with pytest.raises(BadInput, match="5 numbers"):
        space.decode(torch.zeros(2, 4))


def _alone(
    env: HumanoidEnv, library: ExpertLibrary, told: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reward `[N]` and last observation `[N, O]` of `steps` control steps of the walking expert by itself."""
    state, earned = env.reset(), torch.zeros(env.num_envs)
    for _ in range(steps):
        action = library.actions(state[keys.OBSERVATION], env.task.layout, {"walk": told})[:, 1]
        state = env.step(state.set(keys.ACTION, action))[keys.NEXT]
        earned += state[keys.REWARD].squeeze(-1)
        state = state.exclude(keys.REWARD)
    return earned, state[keys.OBSERVATION]


def test_a_held_decision_is_what_the_expert_does_by_itself(space: SkillSpace, library: ExpertLibrary) -> None:
    told = torch.tensor([0.8, 0.1, 0.3])
    earned, reached = _alone(
        make_env("h1-walk", 3, seed=5),
        library,
        space.decode(space.encode("walk", told).unsqueeze(0)).commands["walk"],
        20,
    )
    env = SkillEnv(make_env("h1-walk", 3, seed=5), space, hold=10)
    state, total = env.reset(), torch.zeros(3)
    for decision in range(2):
        assert state[keys.STEP_COUNT].eq(decision).all()
        state = env.step(state.set(keys.ACTION, space.encode("walk", told).expand(3, -1)))[keys.NEXT]
        total += state[keys.REWARD].squeeze(-1)
        state = state.exclude(keys.REWARD)
    assert env.control_steps == 60
    assert torch.equal(state[keys.OBSERVATION], reached)
    torch.testing.assert_close(total, earned, atol=1e-4, rtol=0)


def test_a_fall_within_a_decision_ends_the_episode_and_pays_nothing_after_it(space: SkillSpace) -> None:
    env = SkillEnv(make_env("h1-walk", 2, seed=0), space, hold=10)
    state = env.reset()
    qpos, qvel = env.env.state
    qpos[0, 2:7] = torch.tensor([0.15, 0.5**0.5, 0.0, 0.5**0.5, 0.0])  # on its face
    env.env.set_state(qpos.numpy(), qvel.numpy())
    reached = env.step(state.set(keys.ACTION, space.encode("stand").expand(2, -1)))[keys.NEXT]
    assert reached[keys.TERMINATED].squeeze(-1).tolist() == [True, False]
    assert reached[keys.REWARD][0] <= 1.0 < reached[keys.REWARD][1]  # one step of at most 1, for ten
    again = env.maybe_reset(reached.clone())
    assert again[keys.STEP_COUNT].squeeze(-1).tolist() == [0, 1]


def test_the_time_limit_truncates(space: SkillSpace) -> None:
    short = replace(make_env("h1-walk", 1).task, max_episode_steps=25)
    env = SkillEnv(make_env(short, 1, seed=0), space, hold=10)
    assert env.max_decisions == 3
    state, flags = env.reset(), []
    for _ in range(3):
        state = env.step(state.set(keys.ACTION, space.encode("stand").unsqueeze(0)))[keys.NEXT]
        flags.append((bool(state[keys.TRUNCATED]), bool(state[keys.TERMINATED])))
        state = state.exclude(keys.REWARD)
    assert flags == [(False, False), (False, False), (True, False)]
    assert env.control_steps == 25


def test_a_bridge_acts_before_the_next_skill(library: ExpertLibrary) -> None:
    """Between walking and standing the walker acts on, as told by default, for the steps of its bridge."""
    three = ExpertLibrary([*library.experts, ExpertLibrary.load(EXPERTS.parent / "transitions/stop").experts[0]])
    space = SkillSpace(three, ["stand", "walk"], {("walk", "stand"): Bridge("stop", 15)})
    env = SkillEnv(make_env("h1-walk", 1, seed=0), space, hold=10)
    acted = []
    step = three.step

    def spy(*args: torch.Tensor, **more: object):  # type: ignore[no-untyped-def]
        actions, memory = step(*args, **more)  # type: ignore[arg-type]
        marked = torch.arange(3.0).view(1, 3, 1).expand(1, 3, actions.shape[-1])  # who acts, as an action
        acted.append(actions)
        return marked.clone(), memory

    three.step = spy  # type: ignore[method-assign]
    seen = []
    world_step = env.env.world.step

    def watch(action):  # type: ignore[no-untyped-def]
        seen.append(int(action[0, 0]))
        return world_step(acted[-1][:, seen[-1]].numpy())

    env.env.world.step = watch  # type: ignore[method-assign]
    env.env.world.valid_action = lambda action: action  # type: ignore[method-assign]
    state = env.reset()
    for skill in ("walk", "stand", "stand"):
        state = env.step(state.set(keys.ACTION, space.encode(skill).unsqueeze(0)))[keys.NEXT].exclude(keys.REWARD)
    assert seen == [1] * 10 + [2] * 15 + [0] * 5


def test_going_on_from_a_snapshot_is_as_never_stopped(space: SkillSpace) -> None:
    torch.manual_seed(0)
    plan = torch.rand(6, 2, space.size) * 2 - 1

    def play(env: SkillEnv, state: TensorDict, decisions: torch.Tensor) -> torch.Tensor:
        for action in decisions:
            state = env.step_and_maybe_reset(state.set(keys.ACTION, action))[1]
        return state[keys.OBSERVATION]

    env = SkillEnv(make_env("h1-walk", 2, seed=1), space, hold=5)
    state = env.reset()
    for action in plan[:3]:
        state = env.step_and_maybe_reset(state.set(keys.ACTION, action))[1]
    kept = env.snapshot()
    through = play(env, state, plan[3:])
    other = SkillEnv(make_env("h1-walk", 2, seed=9), space, hold=5)
    other.restore(kept)
    assert torch.equal(play(other, other.reset(), plan[3:]), through)


class _Route:
    """Decides by how often it was asked."""

    def __init__(self, decisions: torch.Tensor) -> None:
        self.decisions = decisions

    def reset(self, done: torch.Tensor | None = None) -> None:
        self.asked = 0

    def act(self, observation: torch.Tensor, step: int | None = None) -> torch.Tensor:
        self.asked += 1
        return self.decisions[self.asked - 1]


def test_an_agent_carries_out_decisions_as_the_environment_does(space: SkillSpace) -> None:
    torch.manual_seed(1)
    plan = torch.rand(4, 2, space.size) * 2 - 1
    env = SkillEnv(make_env("h1-walk", 2, seed=3), space, hold=5)
    state = env.reset()
    for action in plan:
        state = env.step(state.set(keys.ACTION, action))[keys.NEXT].exclude(keys.REWARD)
    inner = make_env("h1-walk", 2, seed=3)
    agent = SkillAgent(_Route(plan), space, inner.task.layout, hold=5)
    agent.reset()
    each = inner.reset()
    for step in range(20):
        each = inner.step(each.set(keys.ACTION, agent.act(each[keys.OBSERVATION], step)))[keys.NEXT]
        each = each.exclude(keys.REWARD)
    assert torch.equal(each[keys.OBSERVATION], state[keys.OBSERVATION])


def test_it_is_an_environment_of_torchrl(space: SkillSpace) -> None:
    check_env_specs(SkillEnv(make_env("h1-maze", 2, seed=0), space, hold=3))


def test_a_command_needs_a_range_for_every_name() -> None:
    with pytest.raises(BadInput, match="needs a unit and a range"):
        Command(("forward",), ("m/s",), (1.0,), (1.0,))
