"""One expert, every command that measures, the same starts: the same figures to the digit."""

import shutil
from pathlib import Path

import pytest

from mwl.evaluation.run import EvaluationConfig, evaluate
from mwl.experts.library import Expert
from mwl.experts.measure import SEED, measure_expert
from mwl.experts.remeasure import measure
from mwl.handoff import read_manifest

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
    assert read_manifest(folder)["metrics"] == metrics
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
