"""The gate's online learning: towards experts whose actions the model values more, and nowhere without a difference."""

from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from mwl.experts.library import ExpertLibrary
from mwl.selection import Gate, Guidance, LoadedGate
from mwl.selection.context import CONTEXT_SIZE
from mwl.simulation import get_task
from mwl.world_model import GuidanceConfig, LearningConfig, NetworkConfig, PlannerConfig
from mwl.world_model.data import WorldModelData
from mwl.world_model.learning.learner import Learner
from mwl.world_model.learning.losses import Batch, RunningScale
from mwl.world_model.module import WorldModelModule
from mwl.world_model.network import WorldModel
from mwl.world_model.planner import GuidanceSwitches

EXPERTS = [Path(__file__).parents[2] / "data/experts" / name for name in ("stand", "walk")]
BATCH, FEATURES, ACTIONS = 16, 5, 19


def make_guidance(weights: dict[str, float] | None = None) -> Guidance:
    torch.manual_seed(0)
    gate = LoadedGate(Gate(CONTEXT_SIZE, 8).eval(), {"stand": torch.eye(8)[0], "walk": torch.eye(8)[1]})
    return Guidance(ExpertLibrary.load(EXPERTS), gate, weights, layout=get_task("h1-walk").layout)


class Valued(WorldModel):
    """Values actions by a given function instead of learned ones."""

    worth: Callable[[Tensor], Tensor]

    def q(self, latent: Tensor, action: Tensor, members: Tensor, frozen: bool = False) -> Tensor:
        return self.worth(action).expand(2, *action.shape[:-1])


def chances(guidance: Guidance, observation: Tensor) -> Tensor:
    """Mean weights `[2]` of standing and walking."""
    return guidance.reference(observation)["gate_probs"].mean(dim=0)


def taught(guidance: Guidance, worth: Callable[[Tensor], Tensor], observation: Tensor) -> Learner:
    """A learner after 40 updates in which standing acts by zeros and walking by halves."""
    model = Valued(FEATURES, ACTIONS, "0.2M", num_experts=2)
    model.worth = worth
    guiding = GuidanceConfig(gate_lr=1e-2)
    learner = Learner(
        model, RunningScale(), LearningConfig(), guiding, GuidanceSwitches(), 0.99, torch.ones(ACTIONS), guidance
    )  # fmt: skip
    expert_action = torch.stack([torch.zeros(ACTIONS), torch.full((ACTIONS,), 0.5)]).expand(3, BATCH, 2, ACTIONS)
    batch = Batch(
        features=torch.randn(4, BATCH, FEATURES),
        action=torch.zeros(3, BATCH, ACTIONS),
        reward=torch.zeros(3, BATCH),
        terminated=torch.zeros(3, BATCH, dtype=torch.bool),
        reference=torch.zeros(4, BATCH, ACTIONS),
        expert_action=expert_action,
        observation=observation,
    )
    optimizers = learner.optimizers()
    for _ in range(40):
        learner.update(batch, optimizers, 0.0)
    return learner


@pytest.fixture
def observation() -> Tensor:
    env, _ = WorldModelData("h1-walk", num_envs=BATCH).make_env()
    seen = env.reset()["observation"]
    env.close()
    return seen


def test_it_switches_to_the_expert_that_is_worth_more(observation: Tensor) -> None:
    guidance = make_guidance()
    before = chances(guidance, observation)
    learner = taught(guidance, lambda action: -(action - 0.5).square().sum(dim=-1), observation)
    assert torch.equal(chances(guidance, observation), before)  # acting goes on by the old one within a round
    learner.hand_on_gate()
    assert before[1] < 0.6
    assert chances(guidance, observation)[1] > 0.9


def test_it_does_not_drift_where_all_are_worth_the_same(observation: Tensor) -> None:
    guidance = make_guidance()
    before = chances(guidance, observation)
    taught(guidance, lambda action: torch.ones(action.shape[:-1]), observation).hand_on_gate()
    assert torch.equal(chances(guidance, observation), before)


class GatedModule(WorldModelModule):
    """Guided by a gate that has learned nothing, and told to walk."""

    def make_guidance(self) -> Guidance:
        return make_guidance({"walk": 1.0})


def test_rounds_act_by_what_the_gate_has_learned() -> None:
    pl.seed_everything(0, verbose=False)
    module = GatedModule(
        NetworkConfig("0.2M", num_q=2, dropout=0.0, activation="silu"),
        LearningConfig(batch_size=16, seed_steps=32, learning_starts=16),
        PlannerConfig(samples=16, iterations=1, elites=4, policy_samples=2),
        GuidanceConfig(gate_lr=1e-3),
    )
    data = WorldModelData("h1-walk", env_steps=80, num_envs=4)
    options = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    pl.Trainer(max_epochs=1, accelerator="cpu", **options).fit(module, datamodule=data)
    gate = data.behaviour.agent.guidance.gate.gate
    untaught = make_guidance().gate.gate
    assert not any(torch.equal(a, b) for a, b in zip(gate.phi.parameters(), untaught.phi.parameters(), strict=True))
    handed_over = module.artifact()["checkpoint"]["guidance"]["gate"]["state_dict"]
    assert all(torch.equal(handed_over[name], value.cpu()) for name, value in module.gate.state_dict().items())
