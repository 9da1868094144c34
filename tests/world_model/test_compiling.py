"""Compiled planning and losses give what the eager ones do, and say what they need."""

import pytest
import torch

from mwl.core.errors import BadInput
from mwl.world_model import PlannerConfig
from mwl.world_model.learning.compiling import compiled
from mwl.world_model.learning.losses import Batch, model_losses, policy_losses
from mwl.world_model.network import WorldModel
from mwl.world_model.planner import MPPIPlanner, ReferenceActions

ENVS, EXPERTS, FEATURES, ACTIONS, BATCH = 2, 2, 5, 3, 4


def make_model(precision: str = "float32") -> WorldModel:
    torch.manual_seed(0)
    model = WorldModel(FEATURES, ACTIONS, "0.2M", EXPERTS, dropout=0.0, precision=precision)
    for head in (model.reward_head[-1], model.policy_head[-1], model.qs.linears[-1]):  # they begin with zeros
        torch.nn.init.normal_(head.weight, std=0.1)
    with torch.no_grad():  # a policy without noise, as compiled functions draw other numbers; both Qs are always drawn
        model.policy_head[-1].bias[ACTIONS:] = -20.0
    return model


def test_off_is_the_function_itself_and_a_missing_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled(torch.sin, "off") is torch.sin
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BadInput, match="needs a C\\+\\+ compiler"):
        compiled(torch.sin, "default")


@pytest.mark.slow
def test_plans_agree() -> None:
    """In a trust region so narrow that all candidates are the reference within 0.0001."""
    model = make_model().eval()
    latent = model.encode(torch.randn(ENVS, FEATURES)).detach()
    deviation = torch.zeros(3, ENVS, ACTIONS)
    guide = ReferenceActions(
        torch.rand(ENVS, ACTIONS), torch.rand(ENVS, EXPERTS, ACTIONS), torch.full((ENVS, EXPERTS), 0.5)
    )
    plans = {}
    for mode in ("off", "default"):
        config = PlannerConfig(samples=8, iterations=1, elites=1, policy_samples=0, compile=mode)  # type: ignore[arg-type]
        planner = MPPIPlanner(model, config, 3, 0.99)
        plans[mode] = [planner.plan(latent, deviation, guide, radius, "best") for radius in (1e-6, 1e-5)]
    for eager, fused in zip(plans["off"], plans["default"], strict=True):
        assert torch.allclose(eager.action, fused.action, atol=1e-4)
        assert torch.allclose(eager.value, fused.value, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_losses_agree(precision: str) -> None:
    model = make_model(precision)
    batch = Batch(
        features=torch.randn(4, BATCH, FEATURES),
        action=torch.rand(3, BATCH, ACTIONS) * 2 - 1,
        reward=torch.rand(3, BATCH),
        terminated=torch.rand(3, BATCH) < 0.2,
        reference=torch.rand(4, BATCH, ACTIONS),
        expert_action=torch.rand(3, BATCH, EXPERTS, ACTIONS),
    )
    found = {}
    for mode in ("off", "default"):
        model.zero_grad()
        with model.autocast():
            parts = compiled(model_losses, mode)(model, batch, 0.99, 0.5, True, False)
            (parts.consistency + parts.reward + parts.value + parts.termination + parts.experts).backward()
            policy = compiled(policy_losses, mode)(
                model, parts.latents.detach(), torch.ones(()), 0.5, 0.0, batch.reference, True
            )
            policy.improvement.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found[mode] = torch.cat([torch.stack([*parts[:5], policy.improvement]).detach().float(), gradient])
    gap = (found["off"] - found["default"]).norm() / found["off"].norm()
    assert gap < {"float32": 1e-4, "bfloat16": 3e-2}[precision]
