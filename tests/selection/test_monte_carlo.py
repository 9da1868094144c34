"""Monte-Carlo roll-outs: the returns of experts from states that acting reaches, and a gate that learns from them."""

from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import pytest
import quiet_trainer
import torch
from tensordict import TensorDict
from torch.nn import functional as F

from mwl.app.cli import main
from mwl.core import keys
from mwl.core.artifact import write_artifact
from mwl.core.errors import BadInput
from mwl.experts import hand_over
from mwl.experts.library import Expert, ExpertLibrary
from mwl.selection import Guidance, load_gate
from mwl.selection import module as stage
from mwl.selection.context import CONTEXT_SIZE
from mwl.selection.module import GateModule, return_loss
from mwl.selection.monte_carlo import MonteCarlo, MonteCarloConfig, MonteCarloData
from mwl.simulation import make_env
from mwl.training.callbacks import RandomState

EXPERTS = Path(__file__).parents[2] / "data/experts"
FOLDERS = [str(EXPERTS / "stand"), str(EXPERTS / "walk")]
ROLLED_OUT = MonteCarloConfig(
    "h1-walk", {"stand": 1.0}, rounds=2, every_epochs=1, episodes=6, steps=40, states=30, rollout_steps=25, horizon=50,
    stride=5,
)  # fmt: skip


@pytest.fixture(autouse=True)
def cards_that_only_tell_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def embed(library: ExpertLibrary, semantic: str) -> torch.Tensor:
        return F.one_hot(torch.arange(library.num_experts), 8).float()

    monkeypatch.setattr(stage, "embed_cards", embed)


def twins() -> ExpertLibrary:
    """The expert for standing, twice."""
    stand = Expert.load(FOLDERS[0])
    other = Expert(replace(stand.spec, name="double"), stand.network, {**stand.manifest, "name": "double"})
    return ExpertLibrary([stand, other])


def test_an_expert_is_seen_to_earn_what_it_earns_when_tried() -> None:
    """The double never acts: its return is known from roll-outs alone, that of the other one from acting."""
    rollouts = MonteCarlo(replace(ROLLED_OUT, task="h1-stand"))
    steps = rollouts.collect(twins(), None)
    times = len(range(0, 40 - 25 + 1, 5))
    assert len(steps) == 6 * times
    assert steps[keys.EVALUATED][:, 0].all()
    both = steps[keys.EVALUATED].all(dim=-1)
    assert int(both.sum()) == 24  # all there are, fewer than the 30 that might be evaluated
    torch.testing.assert_close(
        steps[keys.EXPERT_RETURN][both, 1], steps[keys.EXPERT_RETURN][both, 0], atol=2e-3, rtol=0
    )
    assert rollouts.env_steps == 6 * 40 + 24 * 25


def test_return_is_the_mean_reward_with_the_last_half_second_going_on() -> None:
    rollouts = MonteCarlo(replace(ROLLED_OUT, rollout_steps=50, steps=60, horizon=100))
    falls = torch.cat([torch.ones(20), torch.zeros(30)])
    settles = torch.cat([torch.zeros(25), torch.full((25,), 0.8)])
    # 20 steps of 1 in 100; 25 steps of 0.8 and 50 more of them, in 100
    torch.testing.assert_close(rollouts._estimate(torch.stack([falls, settles], dim=-1)), torch.tensor([0.2, 0.6]))


def test_half_of_the_roll_outs_go_where_acting_earned_what_it_rarely_earns() -> None:
    rollouts = MonteCarlo(replace(ROLLED_OUT, states=200))
    earned = torch.cat([torch.full((9900,), 0.62), torch.full((100,), 0.12)])
    drawn = rollouts._drawn(earned, torch.Generator().manual_seed(0))
    assert len(drawn.unique()) == 200
    # (half evenly over two levels) a quarter of 200, 50 of the rare 100; evenly over all it would be 2
    assert 30 < int((drawn >= 9900).sum()) < 65


def test_loss_by_hand() -> None:
    predicted, returns = torch.tensor([[0.5, 0.1], [0.5, 0.3]]), torch.tensor([[0.4, 9.0], [0.2, 0.7]])
    evaluated = torch.tensor([[True, False], [True, True]])
    # the first expert (0.01 + 0.09) / 2, the second 0.16; half of each
    torch.testing.assert_close(return_loss(predicted, returns, evaluated), torch.tensor((0.05 + 0.16) / 2))
    never = torch.tensor([[True, False], [True, False]])
    torch.testing.assert_close(return_loss(predicted, returns, never), torch.tensor(0.05))


class SaveAfter(pl.Callback):
    """Saves a checkpoint after a number of updates."""

    def __init__(self, updates: int, path: Path) -> None:
        self.updates, self.path = updates, path

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == self.updates:
            trainer.save_checkpoint(self.path)


def fit(module: GateModule, data: MonteCarloData, epochs: int, checkpoint=None, callbacks=()) -> None:
    callbacks = [RandomState(), *callbacks]
    quiet_trainer.fit(module, data, epochs, callbacks, checkpoint, num_sanity_val_steps=0)


def contexts(seed: int, count: int) -> torch.Tensor:
    features = torch.randn(count, CONTEXT_SIZE, generator=torch.Generator().manual_seed(seed))
    features[:, 4:] = 0
    return features


class Told(MonteCarlo):
    """The first expert earns 0.6, but 0.1 where the first feature is above 1; the other 0.4."""

    def collect(self, library, gate) -> TensorDict:
        self.rounds += 1
        features = contexts(self.rounds, 4000)
        returns = torch.stack([torch.where(features[:, 0] > 1, 0.1, 0.6), torch.full((4000,), 0.4)], dim=-1)
        evaluated = torch.ones_like(returns, dtype=torch.bool)
        evaluated[100:, 1] = False  # rollouts are few
        episode = torch.arange(4000) % self.config.episodes
        entries = {
            keys.FEATURES: features,
            keys.EPISODE: episode,
            keys.EXPERT_RETURN: returns,
            keys.EVALUATED: evaluated,
        }
        return TensorDict(entries, batch_size=[4000])


def test_the_gate_hands_over_where_another_earns_more() -> None:
    pl.seed_everything(0)
    module, data = GateModule(FOLDERS), MonteCarloData(ROLLED_OUT, batches_per_epoch=300)
    data.rollouts = Told(ROLLED_OUT)
    fit(module, data, 2)
    features = contexts(9, 500)
    probs = module.gate(features, module.card_embeddings).detach()
    falls, stands = features[:, 0] > 1.3, features[:, 0] < 0.7
    assert (probs[falls, 1] > 0.5).float().mean() > 0.9
    assert (probs[stands, 0] > 0.5).float().mean() > 0.95
    # Boltzmann: 0.2 more at a temperature of 0.05 is a probability of 1 / (1 + e^-4)
    assert abs(float(probs[stands, 0].median()) - 0.982) < 0.015
    assert module.artifact()["metrics"]["return"] > 0.45  # of held-out states; 0.5 is the best there is


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_told_to_stand_where_walking_pays_it_learns_to_walk(alpha: float, tmp_path: Path) -> None:
    """The instruction is wrong for the task: the gate finds out by trying, and is followed where alpha lets it."""
    pl.seed_everything(0)
    module, data = (
        GateModule(FOLDERS),
        MonteCarloData(replace(ROLLED_OUT, episodes=12, rounds=1), batches_per_epoch=200),
    )
    fit(module, data, 1)
    gate = load_gate(write_artifact(tmp_path / "gate", **module.artifact()))
    library = ExpertLibrary.load(FOLDERS)
    env = make_env("h1-walk", num_envs=4, seed=5)
    guidance = Guidance(library, gate, {"stand": 1.0}, alpha, "top1", env.task.layout)
    chosen = guidance.reference(env.reset()[keys.OBSERVATION])[keys.FUSED_WEIGHTS].argmax(dim=-1)
    assert (chosen == (1 if alpha == 0.3 else 0)).all()


@pytest.mark.parametrize("updates", [3, 7])  # of 5 in an epoch: before the second round, and after it
def test_it_resumes_as_if_never_stopped(updates: int, tmp_path: Path) -> None:
    def start() -> tuple[GateModule, MonteCarloData]:
        pl.seed_everything(0)
        return GateModule(FOLDERS, hidden=16), MonteCarloData(ROLLED_OUT, batches_per_epoch=5, validation_share=0.2)

    whole = start()
    fit(*whole, 3, callbacks=[SaveAfter(updates, tmp_path / "some.ckpt")])
    resumed = start()
    fit(*resumed, 3, checkpoint=tmp_path / "some.ckpt")
    for name, value in whole[0].state_dict().items():
        torch.testing.assert_close(resumed[0].state_dict()[name], value, rtol=0, atol=0)
    assert whole[0].artifact()["provenance"] == resumed[0].artifact()["provenance"]
    assert whole[1].rollouts.rounds == 2
    assert torch.equal(whole[1].train[keys.EXPERT_RETURN], resumed[1].train[keys.EXPERT_RETURN])
    assert (whole[1].validation[keys.EPISODE] % 6 == 5).all()


def test_later_rounds_begin_in_part_close_to_states_that_were_tried() -> None:
    rollouts, library = MonteCarlo(ROLLED_OUT), ExpertLibrary.load(FOLDERS)
    rollouts.collect(library, None)
    env = make_env("h1-walk", num_envs=6, seed=3)
    guidance = Guidance(library, None, {"stand": 1.0}, layout=env.task.layout)
    rollouts._begin(env, guidance, torch.Generator().manual_seed(0))
    (qpos, qvel), (tried_qpos, tried_qvel, *_) = env.state, rollouts.rollout_starts
    near = (qpos.unsqueeze(1) - tried_qpos).abs().amax(dim=-1) <= 0.01 + 1e-9  # the noise of a reset
    same = (qvel.unsqueeze(1) == tried_qvel).all(dim=-1)
    assert (near & same).any(dim=1)[:3].all()
    assert (qvel[3:] == 0).all()


def test_episodes_begin_in_hand_over_states_from_the_first_round_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand_over, "_ROBOTS", 12)  # of 64; they show as much
    config = replace(
        ROLLED_OUT, episodes=40, steps=26, hand_over_from=[FOLDERS[1]], hand_over_share=0.5, restart_share=0.25
    )
    rollouts, env = MonteCarlo(config), make_env("h1-walk", num_envs=40)
    guidance = Guidance(ExpertLibrary.load(FOLDERS), None, {"stand": 1.0}, 1.0, "top1", env.task.layout)
    _, state = rollouts._begin(env, guidance, torch.Generator().manual_seed(0))
    walking = env.state[1][:, 0] > 0.5  # m/s; the walker goes at 1.1
    assert walking[:20].all()
    assert not walking[20:].any()
    assert rollouts.env_steps == 12 * 250
    rollouts.rounds, rollouts.rollout_starts = (
        1,
        tuple(part[20:24] for part in (*env.state, torch.zeros(40, 0), state.memory)),
    )
    rollouts._begin(env, guidance, torch.Generator().manual_seed(1))
    walking = env.state[1][:, 0] > 0.5
    assert not walking[:10].any()  # those of the round before come first
    assert walking[10:30].all()
    assert not walking[30:].any()
    assert rollouts.env_steps == 12 * 250  # counted once


def test_what_cannot_be_tried_is_refused() -> None:
    with pytest.raises(BadInput, match="rollout_steps is 50"):
        replace(ROLLED_OUT, rollout_steps=50)
    with pytest.raises(BadInput, match="at least 1"):
        replace(ROLLED_OUT, states=0)
    with pytest.raises(BadInput, match="restart_share"):
        replace(ROLLED_OUT, restart_share=1.5)
    with pytest.raises(BadInput, match="hand_over_share"):
        replace(ROLLED_OUT, restart_share=0.6, hand_over_share=0.5, hand_over_from=[FOLDERS[1]])
    with pytest.raises(BadInput, match="needs both"):
        replace(ROLLED_OUT, hand_over_share=0.3)
    with pytest.raises(BadInput, match="needs both"):
        replace(ROLLED_OUT, hand_over_from=[FOLDERS[1]])
    with pytest.raises(BadInput, match="stages"):
        MonteCarlo(replace(ROLLED_OUT, task="h1-maze")).collect(ExpertLibrary.load(FOLDERS), None)


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--data.init_args.rollouts.task", "h1-fly", "h1-fly"),
        ("--data.init_args.rollouts.semantic_weights", "{fly: 1.0}", "fly"),
        ("--data.init_args.rollouts.stride", "0", "stride"),
        ("--model.init_args.temperature", "0", "temperature"),
    ],
)
def test_a_mistake_is_one_line_for_the_user(flag, value, words, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    args = ["fit", "--config", "conf/gate.yaml#transition", flag, value, "--output", str(tmp_path / "out")]
    assert main(args) == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()
