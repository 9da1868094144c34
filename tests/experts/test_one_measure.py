"""One expert, every command that measures, the same starts: the same figures to the digit."""

import shutil
from pathlib import Path

import pytest
import torch

from mwl import make_env
from mwl.core.artifact import read_manifest
from mwl.evaluation.run import EvaluationConfig, evaluate
from mwl.experts.library import Expert
from mwl.experts.measure import SEED, Alone, measure_expert
from mwl.experts.remeasure import measure
from mwl.rollouts import rollout
from mwl.world_model import load_agent

FIGURES = (
    *("return_mean", "return_std", "return_ci95", "length_mean", "success_rate", "fall_rate", "down_rate"),
    *("action_rate", "jerk", "energy", "foot_skate"),
)


def figures(measured: dict) -> dict:
    return {name: measured[name] for name in FIGURES}


@pytest.mark.parametrize("name", ["stand", pytest.param("reach", marks=pytest.mark.slow)])
def test_every_command_measures_alike(name: str, data_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / name
    shutil.copytree(data_folder / "experts" / name, folder)
    metrics = measure(folder, episodes=2)  # `mwl experts measure`
    before, after = read_manifest(data_folder / "experts" / name), read_manifest(folder)
    assert after == {**before, "metrics": metrics}, "measuring again renews the metrics alone"
    assert metrics["episodes"] == 2
    if name == "stand":  # its feet rest but for the first second's rise, and its joints hardly move
        assert metrics["foot_skate"] < 0.01
        assert metrics["fall_rate"] == 0
    record = evaluate(EvaluationConfig(f"h1-{name}", str(folder), episodes=2, seed=SEED))  # `mwl evaluate`
    assert figures(vars(record)) == figures(metrics)


@pytest.mark.slow
def test_the_stage_s_own_metrics_are_those_of_the_commands(data_folder: Path, tmp_path: Path) -> None:
    expert = Expert.load(data_folder / "experts" / "walk")
    stage = measure_expert(expert.spec, expert.network, 3)  # what `mwl fit` writes at its end
    shutil.copytree(data_folder / "experts" / "walk", tmp_path / "walk")
    assert figures(stage) == figures(measure(tmp_path / "walk", episodes=3))
    record = evaluate(EvaluationConfig("h1-walk", str(tmp_path / "walk"), episodes=3, seed=SEED))
    assert figures(vars(record)) == figures(stage)


def test_an_expert_with_a_memory_acts_alone_as_it_is_evaluated(data_folder: Path) -> None:
    """To the last bit, and beginning anew where an episode does."""
    folder = data_folder / "experts" / "approach"
    alone, evaluated = Alone(Expert.load(folder)), load_agent(folder)
    done = torch.tensor([False, True, False])
    for agent_step, step in enumerate(rollout(make_env("h1-reach", 3, seed=2), alone, 30)):
        if agent_step == 20:
            evaluated.reset(done)
        assert torch.equal(step.action, evaluated.act(step.observation, step.index))
        if agent_step == 19:
            alone.reset(done)
