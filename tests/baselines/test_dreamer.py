"""DreamerV3 is what its authors published (arXiv 2301.04104): each part against a number worked out by hand.

Whatever a network says depends on its last layer's bias alone, once that layer's weights are 0.
"""

import math
from typing import Any

import lightning.pytorch as pl
import pytest
import quiet_trainer
import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torchrl.modules import symlog

from mwl.baselines import DreamerConfig
from mwl.baselines.data import BaselineData
from mwl.baselines.dreamer import DreamerModule
from mwl.core import keys

BINS, HORIZON, TRACE = 255, 15, 0.95


@pytest.fixture
def module() -> DreamerModule:
    """Some experience with the pendulum, and no update yet."""
    pl.seed_everything(1)
    made = DreamerModule(DreamerConfig(units=32, batch_size=2, length=4, train_ratio=1e-6, learning_starts=8, warmup=7))
    quiet_trainer.fit(made, BaselineData("gym:Pendulum-v1", env_steps=40, num_envs=2, steps_per_round=4))
    return made


def sequences(module: DreamerModule) -> TensorDict:
    replay = module.data().replay
    assert replay is not None
    return module._sequences(replay.sample())


def says(network: nn.Module, *bias: float) -> None:
    """Let a network say one thing, whatever it is asked."""
    last = [part for part in network.modules() if isinstance(part, nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    last.bias.data.copy_(torch.tensor(bias).expand(last.out_features) if len(bias) == 1 else torch.tensor(bias))


def says_bin(network: nn.Module, which: int) -> None:
    """Let a head say the value of one bin."""
    says(network, *(50.0 if i == which else -50.0 for i in range(BINS)))


def heads(module: DreamerModule) -> dict[str, Any]:
    """The parts that only learning needs, by what they are asked."""
    assert module.loss is not None
    world = module.loss.model_loss.world_model
    return {str(part.out_keys[0][-1]): part.module for part in world.module if hasattr(part, "module")}


def losses(module: DreamerModule, rows: TensorDict) -> TensorDict:
    assert module.loss is not None
    found: TensorDict = module.loss(rows)
    return found


def bins() -> Tensor:
    """-(e^20 - 1) ... 0 ... e^20 - 1, evenly spaced once squashed."""
    grid = torch.linspace(-20, 20, BINS)
    return grid.sign() * (grid.abs().exp() - 1)


def test_the_decoder_says_what_is_squashed(module: DreamerModule) -> None:
    """It answers 3, and is asked for symlog(x): the loss is the sum over the features of (symlog(x) - 3)^2."""
    says(heads(module)["decoded"], 3.0)
    rows = sequences(module)
    wanted = (symlog(rows[keys.NEXT, keys.OBSERVATION]) - 3).square().sum(-1).mean()
    assert losses(module, rows)["loss_model_reco"].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_what_the_prior_knows_is_free_up_to_one_nat(module: DreamerModule) -> None:
    """Prior and posterior agree: both divergences are 0, count as 1, weigh 1 and 0.1, and teach nothing."""
    network = module.network
    for part in (network.prior.rnn_to_prior_projector, network.posterior):
        says(part, 0.0)
    found = losses(module, sequences(module))
    dynamic, representation = found["loss_model_dynamic"], found["loss_model_representation"]
    assert (dynamic.item(), representation.item()) == pytest.approx((1.0, 0.1))
    module.zero_grad(set_to_none=True)
    (dynamic + representation).backward()
    assert all(value.grad is None or not value.grad.any() for value in network.parameters())


def test_a_divergence_teaches_prior_and_posterior_apart(module: DreamerModule) -> None:
    """Beyond that nat: one of the two moves the prior, the other the posterior, at a tenth."""
    network = module.network
    for part, value in ((network.prior.rnn_to_prior_projector, 1.0), (network.posterior, -1.0)):
        says(part, *[value, -value] * 32)  # of units=32: 32 categoricals of two classes
    moved = {}
    for name in ("dynamic", "representation"):
        module.zero_grad(set_to_none=True)
        losses(module, sequences(module))[f"loss_model_{name}"].backward()
        last = network.prior.rnn_to_prior_projector[-1].bias, network.posterior.obs_rnn_to_post_projector[-1].bias
        moved[name] = [value.grad is not None and bool(value.grad.any()) for value in last]
    assert moved == {"dynamic": [True, False], "representation": [False, True]}
    # KL of Bernoulli(p) and Bernoulli(1 - p) is (2p - 1) ln(p / (1 - p)), 32 times; p has 1 % of chance mixed in
    p = 0.99 / (1 + math.exp(-2)) + 0.01 / 2
    found = losses(module, sequences(module))
    assert found["loss_model_dynamic"].item() == pytest.approx(32 * (2 * p - 1) * math.log(p / (1 - p)), rel=1e-4)
    assert found["loss_model_representation"].item() == pytest.approx(found["loss_model_dynamic"].item() / 10)


def test_one_percent_of_what_is_drawn_is_chance(module: DreamerModule) -> None:
    """The other of two classes: half of 1 %. Of 64,000 draws that is 320, give or take sqrt(320) = 18; ten of those."""
    posterior = module.network.posterior
    says(posterior, *[50.0, -50.0] * 32)
    _logits, state = posterior(torch.zeros(2000, module.network.belief_size), torch.zeros(2000, 32))
    assert 140 < state.view(-1, 2)[:, 1].sum().item() < 500


def test_the_model_of_ends_discounts(module: DreamerModule) -> None:
    """No step of the pendulum ends it, so it goes on by 1 - 1/333; who says so is left with that coin's entropy."""
    q = 1 - 1 / 333
    says(heads(module)["continue_pred"], math.log(q / (1 - q)))
    found = losses(module, sequences(module))["loss_model_continue"].item()
    assert found == pytest.approx(-q * math.log(q) - (1 - q) * math.log(1 - q), rel=1e-4)


def test_imagined_returns_are_discounted_by_ends_and_by_lambda(module: DreamerModule) -> None:
    """Every step pays r, goes on by 0.9, and the critic says v: worked backwards from the fifteenth step."""
    assert module.loss is not None
    values = bins()
    r, v = float(values[BINS // 2 + 5]), float(values[BINS // 2 + 9])
    says_bin(heads(module)["reward_logits"], BINS // 2 + 5)
    says(heads(module)["continue_pred"], math.log(0.9 / 0.1))
    says_bin(module.loss.actor_loss.value_model, BINS // 2 + 9)
    latent = TensorDict({"state": torch.zeros(3, module.network.state_size)}, [3])
    latent["belief"] = torch.zeros(3, module.network.belief_size)
    found, imagined = module.loss.actor_loss(latent)
    wanted = [v]
    for _ in range(HORIZON):
        wanted.insert(0, r + 0.9 * ((1 - TRACE) * v + TRACE * wanted[0]))
    assert imagined["lambda_target"][0].flatten().tolist() == pytest.approx(wanted[:-1], rel=1e-4)
    # a step counts as much as it is likely to be reached: 0.9 at the first, where the episode may be over
    assert imagined["discount_weight"][0].flatten().tolist() == pytest.approx([0.9 ** (k + 1) for k in range(HORIZON)])
    low, high = torch.quantile(torch.tensor(3 * wanted[:-1]), torch.tensor([0.05, 0.95])).tolist()
    assert (float(found["return_low"]), float(found["return_high"])) == pytest.approx((low / 100, high / 100), rel=1e-3)
    assert float(found["return_scale"]) == 1.0  # nothing small is blown up
    module.loss.actor_loss.retnorm.high.fill_(50.0)
    assert float(module.loss.actor_loss(latent)[0]["return_scale"]) == pytest.approx(50.0, rel=0.02)


def test_imagined_steps_follow_from_each_other(module: DreamerModule) -> None:
    """What comes after a step is where the next begins, is what the prior says, and pays what the reward head says."""
    assert module.loss is not None
    imagine = module.loss.actor_loss.model_based_env
    start = TensorDict({"state": torch.zeros(3, module.network.state_size)}, [3])
    start["belief"] = torch.randn(3, module.network.belief_size)
    rows = imagine.rollout(4, start)
    assert rows.shape == (3, 4)
    assert torch.equal(rows["belief"][:, 0], start["belief"])
    for name in ("state", "belief"):
        assert torch.equal(rows[:, 1:][name], rows[:, :-1][keys.NEXT, name])
    followed = module.network.prior(*(rows[name] for name in ("state", "belief", keys.ACTION)))[2]
    assert torch.allclose(followed, rows[keys.NEXT, "belief"], atol=1e-5)
    assert not rows[keys.NEXT, "belief"].requires_grad


def test_the_slow_critic_follows_by_a_fiftieth(module: DreamerModule, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update takes the critic from 0 to 1; the slow one, at 0, is at 0.02 then."""
    assert module.loss is not None
    fast, slow = (
        list(getattr(module.loss.value_loss, f"{name}value_model_params").values(True, True))
        for name in ("", "target_")
    )

    def step(*_: Any) -> None:
        for value in fast:
            value.data.fill_(1.0)

    for value in (*fast, *slow):
        value.data.zero_()
    module.learning = DreamerConfig(units=32, batch_size=2, length=4, train_ratio=1.0, learning_starts=8)
    monkeypatch.setattr(module, "step", step)
    monkeypatch.setattr(module.data().replay, "extend", lambda _: None)
    module.learn(TensorDict({}, [2, 4]))  # 8 steps at ratio 1 are one update of 2 x 4
    assert all(value.allclose(torch.full_like(value, 0.02)) for value in slow)


def test_the_learning_rate_rises_as_told(module: DreamerModule) -> None:
    """Over seven updates the first does nothing, and the fourth goes 3/7 of the rate."""
    optimizer = module.configure_optimizers()
    parameter = module.network.head.model[0].bias
    moved = []
    for _ in range(9):
        before = parameter.detach().clone()
        optimizer.zero_grad()
        parameter.sum().backward()  # a constant gradient: normalised it is 1
        optimizer.step()
        moved.append(float((before - parameter.detach()).mean()) / 4e-5)
    assert moved == pytest.approx([0, 1 / 7, 2 / 7, 3 / 7, 4 / 7, 5 / 7, 6 / 7, 1, 1], abs=0.02)


def test_every_weight_is_learned_once(module: DreamerModule) -> None:
    (group,) = module.configure_optimizers().param_groups
    assert len({id(value) for value in group["params"]}) == len(group["params"])
    assert {id(value) for value in module.network.parameters()} <= {id(value) for value in group["params"]}
