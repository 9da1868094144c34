"""Guidance with small experts: who is followed, and what it takes with it."""

import pytest
import torch

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.experts.library import Expert, ExpertLibrary
from mwl.experts.network import PolicyNetwork
from mwl.experts.spec import ExpertSpec
from mwl.robot.joint_mirror import joint_mirror
from mwl.selection import ActionCorrection, ExpertAgent, Gate, Guidance, LoadedGate, resolve_weights
from mwl.selection.context import CONTEXT_SIZE
from mwl.simulation import get_task

TASK = get_task("h1-walk")
N = 3


def constant_expert(name: str, value: float) -> Expert:
    """Acts alike everywhere."""
    spec = ExpertSpec(name=name, task=TASK.name, hidden=(4,))
    network = PolicyNetwork(spec.input_size, spec.action_size, spec.hidden)
    with torch.no_grad():
        network.layers[-1].weight.zero_()
        network.layers[-1].bias.fill_(value)
    return Expert(spec, network, {"card": {"name": name, "description": name, "paraphrases": []}})


@pytest.fixture
def library() -> ExpertLibrary:
    return ExpertLibrary([constant_expert("stand", 0.5), constant_expert("walk", -0.5)])


@pytest.fixture
def gate() -> LoadedGate:
    torch.manual_seed(0)
    names, embeddings = ["walk", "stand", "run"], torch.eye(3)
    return LoadedGate(Gate(CONTEXT_SIZE, 3), dict(zip(names, embeddings, strict=True)))


@pytest.fixture
def observation() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(N, TASK.layout.size)


def test_weights_alone(library: ExpertLibrary, observation: torch.Tensor) -> None:
    guide = Guidance(library, semantic_weights={"stand": 3.0, "walk": 1.0}, alpha=0.2).reference(observation)
    assert torch.allclose(guide[keys.FUSED_WEIGHTS], torch.tensor([0.75, 0.25]).expand(N, -1))
    assert torch.allclose(guide[keys.REFERENCE_ACTION], torch.full((N, 19), 0.25))
    assert guide[keys.EXPERT_ACTION].shape == (N, 2, 19)
    assert keys.GATE_PROBS not in guide


def test_gate_alone(library: ExpertLibrary, gate: LoadedGate, observation: torch.Tensor) -> None:
    guide = Guidance(library, gate, alpha=0.9).reference(observation)
    assert torch.equal(guide[keys.FUSED_WEIGHTS], guide[keys.GATE_PROBS])


def test_both(library: ExpertLibrary, gate: LoadedGate, observation: torch.Tensor) -> None:
    guide = Guidance(library, gate, {"walk": 1.0}, alpha=0.25).reference(observation)
    expected = 0.25 * torch.tensor([0.0, 1.0]) + 0.75 * guide[keys.GATE_PROBS]
    assert torch.allclose(guide[keys.FUSED_WEIGHTS], expected)


def test_without_its_gate_what_the_instruction_weighs_acts_by_itself(
    library: ExpertLibrary, gate: LoadedGate, observation: torch.Tensor
) -> None:
    told = Guidance(library, gate, {"walk": 1.0}, alpha=0.25).without("gate")
    assert torch.equal(told.reference(observation)[keys.FUSED_WEIGHTS], torch.tensor([0.0, 1.0]).expand(N, -1))
    with pytest.raises(BadInput, match="nothing that weighs its experts"):
        Guidance(library, gate).without("gate")
    for part in ("gate", "tuning", "residual", "plan"):
        with pytest.raises(BadInput, match=f"no {part} to leave out"):
            Guidance(library, semantic_weights={"walk": 1.0}).without(part)


def test_top1_follows_one_expert_and_a_new_instruction_at_once(
    library: ExpertLibrary, observation: torch.Tensor
) -> None:
    guidance = Guidance(library, semantic_weights={"stand": 0.6, "walk": 0.4}, mode="top1")
    assert torch.allclose(guidance.reference(observation)[keys.REFERENCE_ACTION], torch.tensor(0.5))
    guidance = guidance.with_weights({"stand": 0.48, "walk": 0.52})
    assert torch.allclose(guidance.reference(observation)[keys.REFERENCE_ACTION], torch.tensor(-0.5))


def test_agent_executes_the_reference_with_and_without_batch(library: ExpertLibrary, observation: torch.Tensor) -> None:
    agent = ExpertAgent(Guidance(library, semantic_weights={"walk": 1.0}))
    agent.reset()
    assert torch.allclose(agent.act(observation), torch.full((N, 19), -0.5))
    assert agent.act(observation[0]).shape == (19,)


def test_everything_travels_as_plain_values(
    library: ExpertLibrary, gate: LoadedGate, observation: torch.Tensor, tmp_path
) -> None:
    guidance = Guidance(library, gate, {"walk": 1.0}, alpha=0.3)
    torch.save(guidance.to_plain(), tmp_path / "guidance.pt")
    copy = Guidance.from_plain(torch.load(tmp_path / "guidance.pt", weights_only=True))
    ours, theirs = guidance.reference(observation), copy.reference(observation)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours.keys())  # noqa: SIM118


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"fly": 1.0}, "name fly; the experts are stand, walk"),
        ({"stand": -1.0, "walk": 2.0}, "not negative"),
        ({"stand": 0.0}, "not all zero"),
        ([1.0], "there are 2 experts"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        resolve_weights(weights, ["stand", "walk"])


def test_guidance_without_any_opinion_is_refused(library: ExpertLibrary) -> None:
    with pytest.raises(BadInput, match="gate, semantic weights, or both"):
        Guidance(library)


def test_every_environment_can_follow_its_own_instruction(library: ExpertLibrary, observation: torch.Tensor) -> None:
    guidance = Guidance(library, semantic_weights={"stand": 1.0}, mode="top1")
    guidance = guidance.with_weights(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
    assert isinstance(guidance.semantic_weights, torch.Tensor)
    assert guidance.semantic_weights.tolist() == [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]
    reference = guidance.reference(observation)[keys.REFERENCE_ACTION]
    assert reference[:2, 0].tolist() == pytest.approx([0.5, -0.5])


def test_the_same_weights_told_again_keep_the_expert_that_is_followed(
    library: ExpertLibrary, observation: torch.Tensor
) -> None:
    guidance = Guidance(library, semantic_weights={"stand": 0.52, "walk": 0.48}, mode="top1")
    walking = torch.ones(N, dtype=torch.int64)  # and standing weighs too little more to leave it
    agent = ExpertAgent(guidance)
    agent.state = guidance.begin(N)._replace(current=walking)
    agent.set_weights({"stand": 0.52, "walk": 0.48})
    assert torch.allclose(agent.act(observation), torch.tensor(-0.5))
    agent.set_weights({"stand": 0.53, "walk": 0.47})  # something else, though too little more as well
    assert torch.allclose(agent.act(observation), torch.tensor(0.5))


def test_the_start_phase_begins_where_an_episode_does(library: ExpertLibrary, observation: torch.Tensor) -> None:
    """Of `start_phase: 2` the ages 0 and 1 have the offset in full (2 - 2 * 1 / 2 = 1), the age 2 has none."""
    correction = ActionCorrection(torch.tensor([False, True]), torch.ones(19), start_phase=2)
    correction.coefficients[correction.size] = 5.0
    guidance = Guidance(library, semantic_weights={"walk": 1.0}, layout=TASK.layout, correction=correction)
    agent = ExpertAgent(guidance)

    def adjusted(action: torch.Tensor) -> torch.Tensor:
        return (action[:, 0] + 0.5).abs() > 1e-3  # the expert's own action is -0.5

    ends = torch.zeros(N, dtype=torch.bool)
    ends[0] = True
    assert [bool(adjusted(agent.act(observation)).all()) for _ in range(3)] == [True, True, False]
    assert not adjusted(agent.act(observation)).any()
    agent.reset(ends)
    assert torch.equal(adjusted(agent.act(observation)), ends)
    # in a state by itself the age is what is given; without, the start phase is long over
    told = guidance.reference(observation, age=torch.where(ends, 0, 7))
    assert torch.equal(adjusted(told[keys.REFERENCE_ACTION]), ends)
    assert not adjusted(guidance.reference(observation)[keys.REFERENCE_ACTION]).any()
    agent.reset()
    assert adjusted(agent.act(observation)).all()


def test_tuned_experts_travel_with_the_guidance(library: ExpertLibrary, observation: torch.Tensor) -> None:
    correction = ActionCorrection(torch.tensor([False, True]), torch.ones(19), joint_mirror())
    correction.coefficients.copy_(torch.linspace(-1, 1, len(correction.coefficients)))
    guidance = Guidance(library, semantic_weights={"walk": 1.0}, layout=TASK.layout, correction=correction)
    plain = Guidance.from_plain(guidance.to_plain(), TASK.layout)
    told = guidance.reference(observation)[keys.EXPERT_ACTION]
    assert torch.equal(plain.reference(observation)[keys.EXPERT_ACTION], told)
    assert torch.allclose(told[:, 0], torch.tensor(0.5))
    assert not torch.allclose(told[:, 1], torch.tensor(-0.5), atol=1e-2)
