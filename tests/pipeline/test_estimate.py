"""Estimates: what stages alike took, what is known to be unknown, and a dry run that leaves nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mwl.app.cli import main
from mwl.pipeline.estimate import STAGE, Estimate, Work, duration
from mwl.pipeline.runner import estimate, planned, run_pipeline
from mwl.pipeline.worker import PROGRESS


def fit(task: str, steps: int, seed: int = 0, lr: float = 0.1) -> dict[str, Any]:
    return {
        "seed_everything": seed,
        "model": {"init_args": {"lr": lr}},
        "data": {"init_args": {"task": task, "env_steps": steps, "seed": seed}},
    }


def ran(folder: Path, config: dict[str, Any], seconds: float, memory: float, *, share: tuple[float, float]) -> None:
    """What a stage leaves that was measured from one share of its work to another."""
    folder.mkdir(parents=True)
    (folder / STAGE).write_text(json.dumps({"kind": "fit", "config": config}))
    progress = {"fraction": share[1], "from": share[0], "seconds": seconds, "memory": memory}
    (folder / PROGRESS).write_text(json.dumps(progress))


def test_time_follows_from_what_stages_alike_took(tmp_path: Path) -> None:
    """Half of 1000 steps in 50 s are 0.1 s a step; on another task 0.3 s; other settings say nothing."""
    ran(tmp_path / "old/_work/one", fit("a", 1000), 50.0, 2e9, share=(0.25, 0.75))
    ran(tmp_path / "old/_work/other", fit("b", 100), 30.0, 1e9, share=(0.0, 1.0))
    works = {
        "x_a_s1": Work("fit", fit("a", 4000, seed=1), set()),  # 400 s
        "x_a_s2": Work("fit", fit("a", 4000, seed=2), set(), share=0.5),  # 200 s
        "x_b_s1": Work("fit", fit("b", 1000, seed=1), {"x_a_s1"}),  # 300 s, once the first is done
        "y_a_s1": Work("fit", fit("a", 4000, lr=0.5), set()),
        "z_a_s1": Work("fit", fit("a", 4000, lr=0.7), set(), share=1.0),
    }
    found = Estimate.of(works, tmp_path / "new", slots=2)
    lines = {line.stages: line for line in found.lines}
    assert (lines["x_a"].count, lines["x_a"].left) == (2, 1.5)
    assert lines["x_a"].seconds == pytest.approx(600.0)
    assert lines["x_b"].seconds == pytest.approx(300.0)
    assert lines["x_a"].rests_on == "50% of old/one"
    assert lines["y_a"].seconds is None
    assert found.seconds == pytest.approx(700.0)
    assert found.memory == pytest.approx(4e9)  # two of the largest at a time
    assert "unknown: y_a: none alike" in found.text
    assert "z_a" not in found.text
    alone = Estimate.of(works, tmp_path / "new", slots=1)
    assert alone.seconds == pytest.approx(900.0)


def test_a_task_without_a_rate_of_its_own_takes_that_of_others(tmp_path: Path) -> None:
    ran(tmp_path / "old/_work/one", fit("a", 100), 10.0, 1e9, share=(0.0, 1.0))
    ran(tmp_path / "old/_work/two", fit("b", 100), 30.0, 1e9, share=(0.0, 1.0))
    ran(tmp_path / "old/_work/begun", fit("c", 100), 0.0, 1e9, share=(0.0, 0.0))
    found = Estimate.of({"x": Work("fit", fit("c", 1000), set())}, tmp_path / "new", slots=1)
    assert found.seconds == pytest.approx(200.0)  # the mean of 0.1 and 0.3 s a step
    assert found.lines[0].rests_on.endswith("and 1 more")


def test_durations_are_said_as_people_do() -> None:
    assert [duration(seconds) for seconds in (59, 180, 7200, 180_000)] == ["59 s", "3.0 min", "2.0 h", "2.1 days"]


@pytest.mark.long
def test_a_dry_run_starts_nothing_and_later_knows_what_was_done(
    stage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stage.parent / "toy.yaml"
    seeded = {"kind": "fit", "config": "stage.yaml", "seeds": [0, 1], "overrides": {"seed_everything": "${seed}"}}
    path.write_text(yaml.safe_dump({"name": "toy", "max_parallel": 1, "stages": {"line": seeded}}))
    assert main(["run", "toy.yaml", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "2 of 2" in said
    assert "unknown: line" in said
    assert not Path("runs").exists()
    assert not Path("mlflow.db").exists()
    run_pipeline(path)
    pipeline, _, plans = planned(path, [])
    assert estimate(pipeline, plans).text == "2 stages, all done"
    assert json.loads((Path("runs/toy/_work/line_s0") / STAGE).read_text())["kind"] == "fit"
    took = json.loads((Path("runs/toy/_work/line_s0") / PROGRESS).read_text())
    assert took["memory"] > 50e6, "Python with torch takes more"
    assert 0 <= took["from"] <= took["fraction"] <= 1


def test_the_shipped_grid_says_what_it_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Cells of five agents on five tasks, and the best expert on each; one seed here, as each is checked in full."""
    assert main(["run", "conf/pipelines/grid.yaml", "--dry-run", "--set", "stages.comparison.seeds=1"]) == 0
    said = capsys.readouterr().out
    for agent in ("guided", "tdmpc2", "dreamer_v3", "sac", "ppo"):
        for task in ("stand", "walk", "reach", "maze", "pole"):
            assert f"{agent}_h1-{task} " in said
            assert f"look_{agent}_h1-{task} " in said
    assert "look_best_expert_h1-maze" in said
