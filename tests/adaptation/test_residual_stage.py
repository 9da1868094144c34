"""The stage that learns a residual: what it finds out, going on after a stop, and what it hands over."""

from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import pytest
import quiet_trainer
import torch
from lightning.pytorch import Callback
from point_mass import StopAfter

from mwl.adaptation.residual import module as stage
from mwl.adaptation.residual.data import ActWithNoise, ResidualData
from mwl.adaptation.residual.module import ResidualModule
from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.selection.config import SelectionConfig
from mwl.selection.guidance import Guidance
from mwl.training.callbacks import RandomState

WALK = SelectionConfig(experts="data/experts/walk", semantic_weights={"walk": 1.0})


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few updates: enough to tell a delay, which shows in how every joint moves, and too few for more."""
    monkeypatch.setattr(stage, "_NOMINAL_UPDATES", 300)
    monkeypatch.setattr(stage, "_UPDATES", 5)
    monkeypatch.setattr(stage, "_COMPARING", 20)


def fit(
    shift: str | None = None,
    callbacks: list[Callback] | None = None,
    checkpoint: Path | None = None,
    guidance: SelectionConfig = WALK,
) -> ResidualModule:
    module = ResidualModule(guidance)
    data = ResidualData("h1-walk", shift, learning_steps=960, num_envs=6, seed=3, num_threads=1)
    quiet_trainer.fit(module, data, callbacks=[RandomState(), *(callbacks or [])], checkpoint=checkpoint)
    return module


def test_it_finds_out_how_late_observations_come() -> None:
    pl.seed_everything(1)
    module = fit("delay=0.04")
    assert int(module.delay) == 2
    assert module.errors[2] < 0.8 * module.errors[[0, 1, 3]].min()  # seen: 0.60 beside 0.96 and more


def test_a_resumed_fit_ends_as_the_uninterrupted_one(tmp_path: Path) -> None:
    """Rounds of 40 steps by 6 environments: 4 of learning, 3 of the race; the delay is settled after the first."""
    pl.seed_everything(1)
    whole = fit("motors=0.6")
    for stop_after in (2, 5):
        pl.seed_everything(1)
        last = tmp_path / f"{stop_after}.ckpt"
        with pytest.raises(InterruptedError):
            fit("motors=0.6", [StopAfter(stop_after, last)])
        pl.seed_everything(77)
        resumed = fit("motors=0.6", checkpoint=last)
        for name, value in whole.state_dict().items():
            assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_fit_under_other_settings_does_not_go_on(tmp_path: Path) -> None:
    with pytest.raises(InterruptedError):
        fit("motors=0.6", [StopAfter(1, tmp_path / "last.ckpt")])
    with pytest.raises(BadInput, match=r"model.guidance.mode is"):
        fit("motors=0.6", checkpoint=tmp_path / "last.ckpt", guidance=replace(WALK, mode="top1"))
    with pytest.raises(BadInput, match=r"data.shift"):
        fit("motors=0.7", checkpoint=tmp_path / "last.ckpt")


def test_where_nothing_is_won_experts_stay_as_they_are() -> None:
    pl.seed_everything(1)
    module = fit()
    told = module.artifact()  # after so few updates a residual is no use in a world that didn't change
    assert told["metrics"]["residual"]["kept"] == "experts as they are"
    assert Guidance.from_plain(told["checkpoint"]["guidance"]).residual is None


def test_noise_is_remembered_as_carried_out() -> None:
    module = fit("motors=0.6")
    policy = ActWithNoise(module.guidance, torch.full((6, 19), 0.1))
    env = module._data().env
    assert env is not None
    now = policy(env.reset())
    assert policy.state is not None
    assert torch.equal(policy.state.memory[:, :19], now[keys.ACTION])
