"""Guidance of stateful experts: each environment has its own memory, which ends with its episode."""

import pytest
import torch

from mwl.core import keys
from mwl.experts.library import Expert, ExpertLibrary
from mwl.experts.network import network_of
from mwl.experts.spec import ExpertSpec
from mwl.selection import ExpertAgent, Guidance
from mwl.simulation import get_task

TASK = get_task("h1-walk")
N = 3


def make_expert(name: str, memory: int) -> Expert:
    spec = ExpertSpec(name=name, task=TASK.name, hidden=(16, 16), memory=memory)
    return Expert(spec, network_of(spec), {"card": {"name": name, "description": name, "paraphrases": []}})


@pytest.fixture
def library() -> ExpertLibrary:
    torch.manual_seed(0)
    return ExpertLibrary([make_expert("stand", 0), make_expert("walk", 4), make_expert("run", 2)])


def observations(steps: int) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(steps, N, TASK.layout.size)


def test_the_memory_is_carried_on_and_lies_in_the_tensordict(library: ExpertLibrary) -> None:
    guidance, memory = Guidance(library, semantic_weights={"walk": 1.0}), library.initial_memory(N)
    state = None
    for observation in observations(4):
        guide, state = guidance.step(observation, state)
        assert torch.equal(guide[keys.MEMORY], memory)
        expected, memory = library.step(observation, TASK.layout, memory=memory)
        assert torch.equal(guide[keys.EXPERT_ACTION], expected)
        assert torch.equal(guide[keys.NEXT, keys.MEMORY], memory)
    assert memory.shape == (N, 6)


def test_the_memory_ends_with_the_episode_and_in_no_other_environment(library: ExpertLibrary) -> None:
    agent = ExpertAgent(Guidance(library, semantic_weights={"walk": 1.0}))
    first, second, third = observations(3)
    agent.act(first)
    agent.act(second)
    agent.reset(torch.tensor([False, True, False]))
    action = agent.act(third)
    carried = library.step(second, memory=library.step(first)[1])[1]
    on, anew = library.actions(third, memory=carried)[:, 1], library.actions(third)[:, 1]
    torch.testing.assert_close(action, torch.stack([on[0], anew[1], on[2]]))
    agent.reset()
    torch.testing.assert_close(agent.act(third), anew)


def test_what_is_asked_off_the_trajectory_is_not_remembered(library: ExpertLibrary) -> None:
    guidance = Guidance(library, semantic_weights={"walk": 1.0})
    first, second, elsewhere = observations(3)
    guide, state = guidance.step(first)
    kept = guide[keys.NEXT, keys.MEMORY]
    anew = guidance.reference(elsewhere)
    assert torch.equal(anew[keys.EXPERT_ACTION], library.actions(elsewhere))
    memory = torch.randn(N, 6)
    told = guidance.reference(elsewhere, memory=memory)
    assert torch.equal(told[keys.EXPERT_ACTION], library.actions(elsewhere, memory=memory))
    assert torch.equal(guidance.step(second, state)[0][keys.MEMORY], kept)


def test_stateless_experts_leave_no_trace(library: ExpertLibrary) -> None:
    guidance = Guidance(ExpertLibrary(library.experts[:1]), semantic_weights={"stand": 1.0})
    guide = guidance.reference(observations(1)[0])
    assert keys.MEMORY not in guide
    assert keys.NEXT not in guide


def test_a_written_guidance_acts_alike(library: ExpertLibrary) -> None:
    guidance = Guidance(library, semantic_weights={"walk": 0.5, "run": 0.5})
    copy = Guidance.from_plain(guidance.to_plain())
    mine, its = None, None
    for observation in observations(3):
        (ours, mine), (theirs, its) = guidance.step(observation, mine), copy.step(observation, its)
        torch.testing.assert_close(ours[keys.REFERENCE_ACTION], theirs[keys.REFERENCE_ACTION])
