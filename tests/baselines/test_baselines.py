"""Baselines: what an update changes, resuming, hand-over, evaluation, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import quiet_trainer
import torch
from lightning.pytorch import Callback
from tensordict import TensorDict

from mwl.baselines import DreamerConfig, OffPolicyConfig, PPOConfig, load_agent
from mwl.baselines.data import BaselineData
from mwl.baselines.dreamer import DreamerAgent, DreamerModule, DreamerNetwork
from mwl.baselines.module import BaselineModule, OffPolicyModule
from mwl.baselines.ppo import PPOModule
from mwl.core import keys
from mwl.core.artifact import MODEL, write_artifact
from mwl.core.errors import BadInput, ConfigError, CorruptFile, NonFiniteLoss, SpecMismatch
from mwl.evaluation.agents import resolve
from mwl.evaluation.config import EvaluationConfig
from mwl.evaluation.run import evaluate
from mwl.rollouts.episodes import run_episodes
from mwl.rollouts.external import ExternalEnv
from mwl.training.callbacks import RandomState
from mwl.training.stage_cli import resolved_config
from mwl.world_model.observation import Observer

PENDULUM = "gym:Pendulum-v1"
_SMALL: dict[str, Any] = {"hidden": (16, 16), "batch_size": 8}


def off_policy(algorithm: Any) -> OffPolicyModule:
    critics = 3 if algorithm == "tqc" else 2
    return OffPolicyModule(
        algorithm, OffPolicyConfig(**_SMALL, learning_starts=8, critics=critics, updates_per_step=0.6)
    )


MAKE: dict[str, Callable[[], BaselineModule]] = {
    "sac": lambda: off_policy("sac"),
    "tqc": lambda: off_policy("tqc"),
    "ppo": lambda: PPOModule(PPOConfig(**_SMALL, epochs=2)),
    "dreamer_v3": lambda: DreamerModule(
        DreamerConfig(units=32, batch_size=2, length=4, train_ratio=1.0, lr=1e-3, learning_starts=8)
    ),
}


class StopAfter(Callback):
    """Saves after a number of rounds and ends the process of learning there, as a kill would."""

    def __init__(self, rounds: int, path: Path) -> None:
        self.rounds, self.path = rounds, path

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.datamodule.rounds == self.rounds:  # type: ignore[attr-defined]
            trainer.save_checkpoint(self.path)
            raise InterruptedError


def fit(
    module: BaselineModule,
    steps: int = 40,
    callbacks: tuple[Callback, ...] = (),
    checkpoint: str | None = None,
    **data: Any,
) -> BaselineData:
    collected = BaselineData(
        **{"task": PENDULUM, "num_envs": 2, "steps_per_round": 4, "seed": 3, **data}, env_steps=steps
    )
    quiet_trainer.fit(module, collected, callbacks=[RandomState(), *callbacks], checkpoint=checkpoint)
    module.to(module.place)  # Lightning leaves it on the CPU
    return collected


def weights(module: BaselineModule) -> torch.Tensor:
    return torch.cat([value.detach().cpu().flatten().double() for value in module.state_dict().values()])


@pytest.mark.parametrize("name", MAKE)
def test_a_resumed_training_ends_as_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    whole, first, resumed = (MAKE[name]() for _ in range(3))
    pl.seed_everything(1)
    fit(whole)
    pl.seed_everything(1)
    with pytest.raises(InterruptedError):
        fit(first, callbacks=(StopAfter(3, tmp_path / "last.ckpt"),))
    pl.seed_everything(77)  # the generators come from the checkpoint, not from the new process
    assert fit(resumed, checkpoint=str(tmp_path / "last.ckpt")).rounds == 5
    assert torch.equal(weights(resumed), weights(whole))
    assert not torch.equal(weights(resumed), weights(first))


@pytest.mark.parametrize("name", MAKE)
def test_who_acts_is_who_learns(name: str) -> None:
    """The actor that acts is the one that the loss improves, wherever Lightning moved both."""
    pl.seed_everything(1)
    module = MAKE[name]()
    fit(module, 8)
    before = {key: value.clone() for key, value in module.agent.actor.state_dict().items()}
    again = MAKE[name]()
    pl.seed_everything(1)
    fit(again, 24)
    after = again.agent.actor.state_dict()
    learned = [key for key in before if key.startswith("head") and not torch.equal(before[key].cpu(), after[key].cpu())]
    assert learned == [key for key in before if key.startswith("head")]
    stepped = {id(value) for group in again.optimizers().param_groups for value in group["params"]}  # type: ignore[union-attr]
    assert {id(value) for value in again.agent.actor.head.parameters()} <= stepped


def test_no_loss_moves_the_weights_of_another() -> None:
    """Why one optimiser does for all three: what each loss has a gradient for."""
    module = off_policy("sac")
    data = fit(module, 16)
    assert data.replay is not None
    assert module.loss is not None
    moved = {}
    for part in ("loss_actor", "loss_qvalue", "loss_alpha"):
        module.zero_grad(set_to_none=True)
        module.loss(module.as_seen(data.replay.sample()[0]))[part].backward()
        moved[part] = {name.split(".")[0] for name, value in module.loss.named_parameters() if value.grad is not None}
    assert moved == {
        "loss_actor": {"actor_network_params"}, "loss_qvalue": {"qvalue_network_params"}, "loss_alpha": {"log_alpha"},
    }  # fmt: skip


def test_target_critics_follow_by_their_rate() -> None:
    """A target at 0 that follows a critic at 1 by 0.005 is at 0.005."""
    module = off_policy("sac")
    fit(module, 8)
    assert module.loss is not None
    for value in module.loss.qvalue_network_params.values(True, True):
        value.data.fill_(1.0)
    for value in module.loss.target_qvalue_network_params.values(True, True):
        value.data.fill_(0.0)
    module.follow(module.loss, "qvalue_network", 0.005)
    assert all(
        value.allclose(torch.full_like(value, 0.005))
        for value in module.loss.target_qvalue_network_params.values(True, True)
    )


def test_critics_begin_apart() -> None:
    module = off_policy("tqc")
    fit(module, 8)
    assert module.loss is not None
    assert all(len(value.unique(dim=0)) == 3 for value in module.loss.qvalue_network_params.values(True, True))


def test_a_time_limit_is_bootstrapped_and_an_end_is_not() -> None:
    """Critics say 10 everywhere, without entropy: a target is 1 + 0.99 * 10 = 10.9, or 1 where the episode ended."""
    module = off_policy("sac")
    data = fit(module, 16)
    assert data.replay is not None
    assert module.loss is not None
    rows = module.as_seen(data.replay.sample()[0])
    rows[keys.NEXT, keys.REWARD] = torch.ones_like(rows[keys.NEXT, keys.REWARD])
    ended = torch.arange(8).remainder(2).bool().unsqueeze(-1).to(rows.device or module.device)
    rows[keys.NEXT, keys.TERMINATED] = ended
    rows[keys.NEXT, keys.DONE] = torch.ones_like(ended)  # the others by the limit
    for value in module.loss.target_qvalue_network_params.values(True, True):
        value.data.fill_(0.0)
    module.loss.target_qvalue_network_params["module", "4", "bias"].data.fill_(10.0)
    module.loss.log_alpha.data.fill_(-100.0)
    target = module.loss._compute_target_v2(rows)
    assert target.cpu().tolist() == pytest.approx([10.9, 1.0] * 4)


def test_tqc_leaves_the_highest_quantiles_out_of_its_targets() -> None:
    """Three critics say 0, 1, ..., 24 each; without the 3 x 2 highest the rest means 11, a target 1 + 0.99 * 11."""
    module = off_policy("tqc")
    data = fit(module, 16)
    assert data.replay is not None
    assert module.loss is not None
    rows = module.as_seen(data.replay.sample()[0])
    rows[keys.NEXT, keys.REWARD] = torch.ones_like(rows[keys.NEXT, keys.REWARD])
    for value in module.loss.target_qvalue_network_params.values(True, True):
        value.data.fill_(0.0)
    module.loss.target_qvalue_network_params["module", "4", "bias"].data.copy_(torch.arange(25.0))
    module.loss.log_alpha.data.fill_(-100.0)
    target = module.loss.compute_target(rows)
    assert target.shape == (8, 3 * 25 - 3 * 2)
    assert target.mean(dim=-1).cpu().tolist() == pytest.approx([1 + 0.99 * 11] * 8)


def test_ppo_learns_rewards_of_one_size() -> None:
    """A thousandfold reward is divided by a thousandfold spread."""
    plain, large = (PPOModule(PPOConfig(**_SMALL, epochs=1)) for _ in range(2))
    frames = []
    for module in (plain, large):
        pl.seed_everything(1)
        data = fit(module, 8)
        frames.append(data.env.rollout(30, break_when_any_done=False))  # type: ignore[union-attr]
        module.spread, module._sum = type(module.spread)(1).to(module.place), None
    thousandfold = frames[0].clone()
    thousandfold[keys.NEXT, keys.REWARD] = thousandfold[keys.NEXT, keys.REWARD] * 1000
    assert float(large._spread(thousandfold)) == pytest.approx(1000 * float(plain._spread(frames[0])), rel=1e-4)


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("task", [PENDULUM, "h1-stand"])
def test_what_is_handed_over_acts_as_what_learned(name: str, task: str, tmp_path: Path) -> None:
    module = MAKE[name]()
    data = fit(module, 16, task=task)
    write_artifact(tmp_path / name, **module.artifact())
    agent = load_agent(tmp_path / name)
    module.agent.explore = False
    seen = data.env.rollout(3)[keys.OBSERVATION]  # type: ignore[union-attr]
    actions = []
    for each in (agent, module.agent):
        torch.manual_seed(0)  # a latent is drawn
        each.reset()
        actions.append([each.act(seen[:, t]) for t in range(3)])
    assert torch.allclose(*(torch.stack(each) for each in actions), atol=1e-5)
    assert actions[0][0].shape == (2, data.spec.action_size)
    assert agent.act(seen[0, 0]).shape == (data.spec.action_size,)
    record = evaluate(EvaluationConfig(task, str(tmp_path / name), episodes=1))
    assert (record.agent, record.env_steps, record.task) == (name, 16, task)


@pytest.fixture
def handed_over(tmp_path: Path) -> Path:
    module = off_policy("sac")
    fit(module, 16)
    return write_artifact(tmp_path / "sac", **module.artifact())


def test_it_is_refused_where_it_was_not_made_for(handed_over: Path) -> None:
    with pytest.raises(SpecMismatch, match=f"made for {PENDULUM}"):
        evaluate(EvaluationConfig("h1-walk", str(handed_over), episodes=1))
    with pytest.raises(BadInput, match="a baseline has one way of acting"):
        resolve(str(handed_over), act="mean")
    with pytest.raises(BadInput, match="a baseline has no plan"):
        resolve(str(handed_over), without="plan")
    with pytest.raises(BadInput, match="cannot be told"):
        resolve(str(handed_over), instruction="walk")


def test_weights_of_another_size_are_refused(handed_over: Path) -> None:
    checkpoint = torch.load(handed_over / MODEL, weights_only=True)
    checkpoint["hyper_parameters"]["actor"]["hidden"] = [8, 8]
    write_artifact(handed_over, stage="baseline", name="sac", checkpoint=checkpoint, task=PENDULUM)
    with pytest.raises(SpecMismatch, match="weights"):
        load_agent(handed_over)
    del checkpoint["hyper_parameters"]["sizes"]
    write_artifact(handed_over, stage="baseline", name="sac", checkpoint=checkpoint, task=PENDULUM)
    with pytest.raises(CorruptFile, match="sizes"):
        load_agent(handed_over)


def test_other_environments_and_networks_are_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(InterruptedError):
        fit(off_policy("sac"), callbacks=(StopAfter(3, tmp_path / "last.ckpt"),))
    with pytest.raises(BadInput, match=r"data\.task"):
        fit(off_policy("sac"), checkpoint=str(tmp_path / "last.ckpt"), task="gym:MountainCarContinuous-v0")
    wider = OffPolicyModule("sac", OffPolicyConfig(hidden=(32,), learning_starts=8, batch_size=8))
    for other, changed in (
        (off_policy("tqc"), "model.algorithm is 'tqc'"),
        (wider, r"model.learning.hidden is \[32\]"),
    ):
        with pytest.raises(BadInput, match=changed):
            fit(other, checkpoint=str(tmp_path / "last.ckpt"))


def test_a_broken_loss_stops_before_it_spoils_the_weights() -> None:
    module = off_policy("sac")
    fit(module, 16)
    before = weights(module)
    with pytest.raises(NonFiniteLoss, match=r"learning\.lr"):
        module.step(torch.tensor(float("nan")), last=True)
    assert torch.equal(before, weights(module))


def dreamer(explore: bool = False) -> DreamerAgent:
    torch.manual_seed(5)
    return DreamerAgent(DreamerNetwork(3, 1, 32), Observer(None), explore)


def test_dreamer_remembers_its_episode_and_forgets_where_a_new_one_begins() -> None:
    """Three alike steps of an episode give other actions; where it begins anew, the first one again."""
    agent = dreamer()
    for parameter in agent.actor.head.parameters():
        torch.nn.init.normal_(parameter)  # it begins nearly without an opinion
    agent.actor.posterior.unimix, seen = 0.0, torch.tensor([[0.3, -0.5, 1.0]] * 2)
    for parameter in agent.actor.posterior.parameters():
        parameter.data *= 50  # as good as certain: what is drawn is the same every time
    first, second = agent.act(seen), agent.act(seen)
    assert not torch.allclose(first, second)
    agent.reset(torch.tensor([True, False]))
    third = agent.act(seen)
    assert torch.allclose(third[0], first[0])
    assert not torch.allclose(third[1], first[1])


def test_dreamers_memory_is_carried() -> None:
    agent, other, seen = dreamer(), dreamer(), torch.randn(2, 3)
    agent.act(seen)
    other.load_state_dict(agent.state_dict())
    torch.manual_seed(0)
    ahead = agent.act(seen)
    torch.manual_seed(0)
    assert torch.equal(ahead, other.act(seen))


def test_dreamers_actions_are_as_uncertain_as_the_authors_let_them_be() -> None:
    network = dreamer().actor
    for parameter in network.head.parameters():
        torch.nn.init.normal_(parameter, std=100.0)
    mean, std = network.distribution(torch.randn(50, network.state_size), torch.randn(50, network.belief_size))
    assert mean.abs().max() <= 1
    assert (std.min().item(), std.max().item()) == pytest.approx((0.1, 1.0), abs=1e-3)


def test_a_sequence_begins_as_an_episode_does() -> None:
    """The first latent comes of the first observation alone; each row then holds what was acted and what it led to."""
    module = MAKE["dreamer_v3"]()
    data = fit(module, 24)
    assert data.replay is not None
    rows = data.replay.sample()
    sequences = module._sequences(rows)  # type: ignore[attr-defined]
    assert torch.equal(sequences[keys.ACTION].cpu(), rows[keys.ACTION].transpose(0, 1))
    assert torch.equal(sequences[keys.NEXT, keys.OBSERVATION].cpu(), rows[keys.NEXT, keys.OBSERVATION].transpose(0, 1))
    assert not sequences["is_init"].any()
    belief = module.agent.actor.seen(rows[keys.OBSERVATION][0].to(module.place))["belief"]
    assert torch.allclose(sequences["belief"][:, 0], belief, atol=1e-6)


def test_imagined_actions_are_clipped_as_an_environment_clips_them(monkeypatch: pytest.MonkeyPatch) -> None:
    module = MAKE["dreamer_v3"]()
    fit(module, 8)
    network = module.agent.actor
    latent = TensorDict(
        {"state": torch.zeros(1, network.state_size), "belief": torch.zeros(1, network.belief_size)}, [1]
    )
    beliefs = []
    for action in (5.0, 1.0, 0.5):
        acted = torch.full((1, 1), action, device=module.place)
        monkeypatch.setattr(network, "distribution", lambda *_, acted=acted: (acted, torch.zeros_like(acted)))
        imagined = module.loss.actor_loss.model_based_env.rollout(1, latent.to(module.place))  # type: ignore[union-attr]
        beliefs.append(imagined[keys.NEXT, "belief"])
    assert torch.equal(beliefs[0], beliefs[1])
    assert not torch.equal(beliefs[1], beliefs[2])


def test_sequences_that_no_episode_holds_are_refused() -> None:
    with pytest.raises(BadInput, match="an episode has 200"):
        fit(DreamerModule(DreamerConfig(units=32, length=300)), 1000)
    with pytest.raises(BadInput, match="multiple of 16"):
        DreamerConfig(units=20)


def test_more_quantiles_are_not_dropped_than_there_are() -> None:
    tqc = {"algorithm": "tqc", "learning": {"dropped": 25}}
    with pytest.raises(ConfigError, match="dropped is 25; it is no setting any more, but fixed"):
        resolved_config({"model": {"class_path": "mwl.baselines.module.OffPolicyModule", "init_args": tqc}})


# (module, environment steps, steps per round of four environments)
LEARNERS: dict[str, tuple[Callable[[], BaselineModule], int, int]] = {
    name: (
        lambda name=name, critics=critics: OffPolicyModule(  # type: ignore[misc]
            name,
            OffPolicyConfig(
                hidden=(32, 32), critics=critics, lr=3e-3, batch_size=64, updates_per_step=0.5, learning_starts=100,
                discount=0.9,
            ),
        ),
        800,
        4,
    )
    for name, critics in (("sac", 2), ("tqc", 3))
}  # fmt: skip
LEARNERS["ppo"] = lambda: PPOModule(PPOConfig(hidden=(32, 32), lr=3e-3, discount=0.9)), 3072, 128
LEARNERS["dreamer_v3"] = (
    lambda: DreamerModule(
        DreamerConfig(units=32, batch_size=16, length=8, train_ratio=128, lr=3e-3, learning_starts=200, warmup=100)
    ),
    1000,
    4,
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "dreamer_v3" else ()) for name in LEARNERS]
)
def test_it_learns_where_to_set_a_dial(name: str) -> None:
    """Doing nothing pays 0.5 a step, acting at random 1 - 0.625 = 0.375: 5 and 3.75 in ten; the best is 10."""
    make, steps, per_round = LEARNERS[name]
    pl.seed_everything(0)
    module = make()
    fit(module, steps, task="class:dial.Dial", num_envs=4, steps_per_round=per_round)
    module.agent.explore = False
    assert run_episodes(ExternalEnv("class:dial.Dial", 20, seed=9), module.agent).returns.mean() > 8
