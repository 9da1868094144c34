"""The stage that tunes experts: rounds, going on after a stop, and what it hands over."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import quiet_trainer
import torch
from lightning.pytorch import Callback
from point_mass import EPISODE_STEPS, PacingGuidance, PacingLibrary, PointMass, StopAfter
from torchrl.envs import EnvBase

from mwl.adaptation.data import AdaptationData, TryCandidates
from mwl.adaptation.module import AdaptationModule
from mwl.adaptation.search import SearchConfig
from mwl.core.artifact import read_checkpoint, read_manifest
from mwl.core.errors import BadInput, ConfigError
from mwl.evaluation.agents import resolve
from mwl.rollouts.experience import EnvSpec
from mwl.selection import ExpertAgent
from mwl.selection.config import SelectionConfig, make_guidance, tuned_at
from mwl.selection.guidance import Guidance
from mwl.simulation import get_task
from mwl.training.callbacks import RandomState
from mwl.training.fit import fit as fit_stage
from mwl.training.stage_cli import resolved_config

DATA = Path(__file__).parents[2] / "data"
ENVS, SEARCH_STEPS, RACE_STEPS = 6, 144, 72
SEARCH = {"window": 5}
START_PHASE = {**SEARCH, "start_phase": 5, "start_steps": 72}  # windows of 6 steps


class ToyData(AdaptationData):
    def make_env(self) -> tuple[EnvBase, EnvSpec]:
        return PointMass(self.num_envs, self.seed), EnvSpec("point-mass", 4, 2, EPISODE_STEPS, None, (1.0, 1.0))


class ToyModule(AdaptationModule):
    """With one expert that counts its own steps, or several that lead alike."""

    gate: Any = None
    weights: Any = torch.ones(1)

    def load_guidance(self) -> Guidance:
        return PacingGuidance(PacingLibrary(), self.gate, self.weights)  # type: ignore[arg-type]


def fit(module: ToyModule, callbacks: list[Callback] | None = None, checkpoint: Path | None = None) -> ToyData:
    data = ToyData("point-mass", SEARCH_STEPS, RACE_STEPS, ENVS, seed=3)
    quiet_trainer.fit(module, data, callbacks=[RandomState(), *(callbacks or [])], checkpoint=checkpoint)
    return data


@pytest.mark.parametrize(
    ("search", "stop_after"),
    [(SEARCH, 7), (START_PHASE, 2), (START_PHASE, 3)],
    ids=["race", "before a window of the start phase", "within one"],
)
def test_a_resumed_search_ends_as_the_uninterrupted_one(search: dict, stop_after: int, tmp_path: Path) -> None:
    """Rounds of 4 steps by 6 environments: 6 of search, 3 of race."""
    pl.seed_everything(1)
    whole = ToyModule(search=SearchConfig(**search))
    assert fit(whole).rounds == 9
    pl.seed_everything(1)
    with pytest.raises(InterruptedError):
        fit(ToyModule(search=SearchConfig(**search)), [StopAfter(stop_after, tmp_path / "last.ckpt")])
    pl.seed_everything(77)
    resumed = ToyModule(search=SearchConfig(**search))
    fit(resumed, checkpoint=tmp_path / "last.ckpt")
    assert whole.search.race.age == RACE_STEPS // ENVS
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert whole.search.race.corrections[1:].any()


def test_a_search_under_other_settings_does_not_go_on(tmp_path: Path) -> None:
    with pytest.raises(InterruptedError):
        fit(ToyModule(search=SearchConfig(**SEARCH)), [StopAfter(2, tmp_path / "last.ckpt")])
    with pytest.raises(BadInput, match=r"model.search.step_size is 0.3, but the checkpoint was made with 0.5"):
        fit(ToyModule(search=SearchConfig(**SEARCH, step_size=0.3)), checkpoint=tmp_path / "last.ckpt")


def test_the_gate_has_no_say_while_an_expert_is_tuned_alone() -> None:
    module = ToyModule(search=SearchConfig(**SEARCH, alone=True))
    module.gate = SimpleNamespace(embeddings_of=lambda names: torch.zeros(len(names), 2))
    policy = fit(module).policy
    assert isinstance(policy, TryCandidates)
    assert policy.guidance.gate is None
    assert module.guidance.gate is module.gate  # it comes back for what is handed over


def test_none_is_tuned_alone_where_several_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PacingLibrary, "names", ["good", "bad"])
    monkeypatch.setattr(PacingLibrary, "num_experts", 2)
    module = ToyModule(search=SearchConfig(**SEARCH, alone=True))
    module.weights = torch.ones(2)
    with pytest.raises(BadInput, match="2 of the experts good, bad weigh the same"):
        fit(module)


def test_jerk_is_not_charged_where_no_joints_are_seen() -> None:
    with pytest.raises(BadInput, match="jerk_weight needs a task with a robot's joints"):
        fit(ToyModule(search=SearchConfig(**SEARCH, jerk_weight=0.1)))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two experts of which walking is tuned: 4 environments, 20 steps of search and 12 of race each."""
    folder = tmp_path_factory.mktemp("tuned") / "walk"
    arguments = {
        "search_steps": 80,
        "race_steps": 48,
        "num_envs": 4,
        "num_threads": 1,
    }
    options = [f"--data.init_args.{name}={value}" for name, value in arguments.items()]
    experts = f"[{DATA / 'experts/stand'}, {DATA / 'experts/walk'}]"
    options += ["--model.init_args.search.window=5", f"--model.init_args.guidance.experts={experts}"]
    config = str(DATA.parent / "conf/adaptation.yaml")
    fit_stage(["--config", config, "--output", str(folder), "--trainer.logger=false", *options])
    return folder


def test_tuned_experts_are_handed_over_with_whom_they_follow(tuned: Path) -> None:
    manifest, found = read_manifest(tuned), tuned_at(str(tuned))
    assert manifest["stage"] == "adaptation"
    assert manifest["provenance"]["env_steps"] == found.env_steps == 128
    assert found.guidance.library.names == ["stand", "walk"]
    assert found.guidance.correction.chosen.tolist() == [False, True]
    assert 0 < found.profile["count"].sum() <= 48  # steps of the race by those who followed the winner
    layout = get_task("h1-walk").layout
    seen = torch.randn(2, layout.size, generator=torch.Generator().manual_seed(0))
    taken = make_guidance(SelectionConfig(str(tuned)), layout, found)
    assert (taken.mode, taken.alpha) == ("top1", 0.8)
    told = make_guidance(SelectionConfig(str(tuned), semantic_weights={"stand": 1.0}), layout, found)
    assert torch.equal(told.semantic_weights, torch.tensor([1.0, 0.0]))
    assert told.correction is found.guidance.correction
    agent = resolve(str(tuned))
    assert agent.name == "tuned"
    assert isinstance(agent.agent, ExpertAgent)
    assert torch.equal(agent.agent.act(seen), taken.step(seen)[0]["reference_action"])
    assert read_checkpoint(tuned)["guidance"]["correction"] is not None


def test_the_world_model_plans_around_tuned_experts_and_counts_their_steps(tuned: Path, tmp_path: Path) -> None:
    steps = {"env_steps": 96, "num_envs": 4, "num_threads": 1}
    options = [f"--data.init_args.{name}={value}" for name, value in steps.items()]
    learning = {"seed_steps": 48, "learning_starts": 32, "batch_size": 4}
    options += [f"--model.init_args.learning.{name}={value}" for name, value in learning.items()]
    config = str(DATA.parent / "conf/world_model.yaml#tuned")
    guided = f"--model.init_args.guidance.experts={tuned}"
    folder = fit_stage(
        ["--config", config, "--output", str(tmp_path / "agent"), "--trainer.logger=false", guided, *options]
    )
    assert folder is not None
    manifest = read_manifest(folder)
    assert manifest["provenance"]["env_steps"] == 128 + 96
    named, before = resolve(str(folder)), tuned_at(str(tuned))
    assert named.env_steps == 224
    correction = named.agent.guidance.correction  # type: ignore[attr-defined]
    assert torch.equal(correction.coefficients, before.guidance.correction.coefficients)  # type: ignore[union-attr]


@pytest.mark.parametrize("key", ["search_steps", "jerk_weight", "tune_steps"])
def test_a_search_within_the_world_model_is_refused_with_the_stage_that_does_it_now(key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"conf/adaptation.yaml, whose folder guidance.experts takes"):
        resolved_config(["--config", str(DATA.parent / "conf/world_model.yaml"), f"--model.init_args.guidance.{key}=9"])
