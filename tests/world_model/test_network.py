"""Layers and networks against plain versions of the same thing."""

import pytest
import torch

from mwl.core.errors import BadInput
from mwl.world_model.layers import Ensemble, SimNorm
from mwl.world_model.network import WorldModel


def test_simnorm_equals_the_reference_layout_up_to_a_permutation() -> None:
    x = torch.randn(5, 64, dtype=torch.float64)
    ours = SimNorm(8)(x)
    side_by_side = x.view(5, 8, 8).transpose(1, 2).reshape(5, 64)  # groups of 8 neighbours, as the reference has them
    reference = side_by_side.view(5, 8, 8).softmax(-1).reshape(5, 64)
    assert torch.allclose(ours.view(5, 8, 8).transpose(1, 2).reshape(5, 64), reference)
    assert torch.allclose(ours.sum(-1), torch.full((5,), 8.0, dtype=torch.float64))  # 8 simplices


def test_drawn_members_are_those_of_the_whole_ensemble() -> None:
    ensemble = Ensemble(5, 7, 16, 3, torch.nn.SiLU())
    with torch.no_grad():
        ensemble.linears[-1].weight.normal_()
    x, members = torch.randn(4, 7), torch.tensor([3, 1])
    assert torch.allclose(ensemble(x, members), ensemble(x)[members], atol=1e-6)


def test_frozen_ensemble_passes_gradient_to_its_input_alone() -> None:
    ensemble = Ensemble(2, 7, 16, 3, torch.nn.SiLU())
    with torch.no_grad():
        ensemble.linears[-1].weight.normal_()
    x = torch.randn(4, 7, requires_grad=True)
    ensemble(x, frozen=True).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in ensemble.parameters())


@pytest.mark.parametrize(("size", "parameters"), [("1M", 1_251_541), ("5M", 5_027_460)])
def test_sizes_have_the_parameters_of_the_reference(size: str, parameters: int) -> None:
    # Counted in the reference for 51 observations and 19 actions, without termination head and target networks.
    model = WorldModel(51, 19, size)
    skipped = ("termination_head", "target_qs")
    ours = sum(p.numel() for name, p in model.named_parameters() if not name.startswith(skipped))
    assert ours == parameters


def test_initial_weights_follow_the_mended_initialisation() -> None:
    model = WorldModel(51, 19, "1M")
    for weight in (model.dynamics[0][0].weight, model.qs.linears[1].weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert weight.abs().max() <= 2.0
    assert model.reward_head[-1].weight.abs().sum() == 0
    assert model.qs.linears[-1].weight.abs().sum() == 0


def test_unknown_size_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"2M.*0\.2M, 1M, 5M, 19M"):
        WorldModel(4, 2, "2M")


def test_half_precision_agrees_with_single_within_its_rounding() -> None:
    torch.manual_seed(0)
    model = WorldModel(5, 2, "0.2M", dropout=0.0, precision="bfloat16").eval()
    torch.nn.init.normal_(model.reward_head[-1].weight, std=0.1)  # type: ignore[arg-type]
    features, action = torch.randn(64, 5), torch.rand(64, 2)
    z, reward = model.step(model.encode(features), action)
    with model.autocast():
        rough, rough_reward = model.step(model.encode(features), action)
    assert not torch.equal(rough.float(), z)
    assert torch.allclose(rough.float(), z, atol=0.02)  # 8 bits of mantissa on entries up to 1
    assert rough_reward.dtype == torch.float32
    assert (rough_reward - reward).abs().max() < 0.05 * reward.abs().max()
