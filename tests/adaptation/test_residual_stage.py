"""The stage that learns a residual: what it finds out, going on after a stop, and what it hands over."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import quiet_trainer
import torch
from lightning.pytorch import Callback
from point_mass import StopAfter

from mwl.adaptation.data import AdaptationData
from mwl.adaptation.module import AdaptationModule
from mwl.adaptation.residual import module as stage
from mwl.adaptation.residual.data import ActWithNoise, ResidualData
from mwl.adaptation.residual.module import ResidualModule
from mwl.core import keys
from mwl.core.artifact import write_artifact
from mwl.core.errors import BadInput
from mwl.evaluation.agents import resolve
from mwl.selection.config import SelectionConfig
from mwl.selection.guidance import Guidance
from mwl.training.callbacks import RandomState

WALK = SelectionConfig(experts="data/experts/walk", semantic_weights={"walk": 1.0})

FEW = {"_NOMINAL_UPDATES": 300, "_UPDATES": 5, "_COMPARING": 20}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few updates: enough to tell a delay, which shows in how every joint moves, and too few for more."""
    for name, value in FEW.items():
        monkeypatch.setattr(stage, name, value)


def fit(
    shift: str | None = None,
    callbacks: list[Callback] | None = None,
    checkpoint: Path | None = None,
    guidance: SelectionConfig = WALK,
) -> ResidualModule:
    module = ResidualModule(guidance)
    data = ResidualData("h1-walk", shift, learning_steps=480, num_envs=6, seed=3, num_threads=1)
    quiet_trainer.fit(module, data, callbacks=[RandomState(), *(callbacks or [])], checkpoint=checkpoint)
    return module


def test_it_finds_out_how_late_observations_come() -> None:
    pl.seed_everything(1)
    module = fit("delay=0.04")
    assert int(module.delay) == 2
    assert module.errors.argmin() == 2  # seen: 0.65 beside 0.74 and more


def test_a_resumed_fit_ends_as_the_uninterrupted_one(tmp_path: Path) -> None:
    """Rounds of 40 steps by 6 environments: 2 of learning, 2 of the race; the delay is settled after the first."""
    pl.seed_everything(1)
    whole = fit("motors=0.6")
    pl.seed_everything(1)
    last = tmp_path / "last.ckpt"
    with pytest.raises(InterruptedError):
        fit("motors=0.6", [StopAfter(1, last)])
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


@pytest.fixture(scope="module")
def unchanged() -> ResidualModule:
    """What was learned in a world that did not change."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in FEW.items():
            patch.setattr(stage, name, value)
        pl.seed_everything(1)
        return fit()


def test_where_nothing_is_won_experts_stay_as_they_are(unchanged: ResidualModule) -> None:
    told = unchanged.artifact()  # after so few updates a residual is no use
    assert told["metrics"]["residual"]["kept"] == "experts as they are"
    assert Guidance.from_plain(told["checkpoint"]["guidance"]).residual is None


def test_noise_is_remembered_as_carried_out(unchanged: ResidualModule) -> None:
    policy = ActWithNoise(unchanged.guidance, torch.full((6, 19), 0.1))
    env = unchanged._data().env
    assert env is not None
    now = policy(env.reset())
    assert policy.state is not None
    assert torch.equal(policy.state.memory[:, :19], now[keys.ACTION])


def test_a_search_goes_on_from_a_residual_and_from_no_correction(unchanged: ResidualModule, tmp_path: Path) -> None:
    told = unchanged.artifact()
    kept = replace(unchanged.guidance, residual=unchanged.residual).to_plain()  # whatever the race said
    told["checkpoint"]["guidance"] = kept
    write_artifact(tmp_path / "residual", **told)
    bare = resolve(str(tmp_path / "residual"), without="residual")
    assert bare.name == "tuned without residual"
    assert bare.agent.guidance.residual is None
    found = SelectionConfig(experts=str(tmp_path / "residual"))

    def search(folder: str) -> Guidance:
        searching = AdaptationModule(SelectionConfig(experts=str(tmp_path / folder)))
        data = AdaptationData("h1-walk", search_steps=9600, race_steps=640, num_threads=1)
        data.setup("fit")
        searching._trainer = SimpleNamespace(datamodule=data)  # type: ignore[assignment]
        searching.setup("fit")
        return searching.guidance

    guidance = search("residual")
    assert guidance.residual is not None
    assert guidance.correction is not None
    told["checkpoint"]["guidance"] = guidance.to_plain()
    write_artifact(tmp_path / "corrected", **told)
    with pytest.raises(BadInput, match="holds a correction"):
        search("corrected")
    with pytest.raises(BadInput, match="was adapted already"):
        fit("motors=0.6", guidance=found)
