"""Grids: what their cells become, what is refused, and one that is killed, shown half done, and goes on."""

import json
import re
import signal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from forked import in_child
from rich.console import Console

from mwl.app.cli import main
from mwl.core.errors import ConfigError
from mwl.evaluation.compare import compare_pipeline, read_comparison
from mwl.evaluation.table import comma_separated, comparison_table, wide_lines
from mwl.pipeline.config import EvaluateStage, FitStage, dependencies, load, plan_of
from mwl.pipeline.runner import run_pipeline

CONF = Path(__file__).parents[2] / "conf"
GRID: dict[str, Any] = {
    "kind": "grid",
    "tasks": ["h1-walk", "gym:Pendulum-v1"],
    "seeds": 2,
    "steps": 300,
    "config": str(CONF / "baselines/sac.yaml"),
    "overrides": {"model": {"init_args": {"learning": {"lr": 0.1}}}},
    "evaluate": {"episodes": 3},
    "agents": {
        "sac": {},
        "slow": {
            "seeds": [7],
            "steps": 40,
            "overrides": {"model": {"init_args": {"learning": {"lr": 0.2, "batch_size": 8}}}},
            "tasks": {
                "h1-walk": "it takes a night",
                "gym:Pendulum-v1": {"model": {"init_args": {"learning": {"lr": 0.3}}}},
            },
        },
        "twice": {"agent": "${sac}", "evaluate": {"seed": 5}},
        "expert": {"agent": "best expert"},
    },
}


def written(place: Path, **changes: Any) -> Path:
    path = place / "grid.yaml"
    path.write_text(
        yaml.safe_dump({"name": "grid", "max_parallel": 1, "stages": {"all": {**GRID, **changes}}}, sort_keys=False)
    )
    return path


def test_cells_become_stages_that_fit_evaluate_and_compare(tmp_path: Path) -> None:
    _, stages = load(written(tmp_path))
    assert set(stages) == {
        *(
            f"{look}sac_{task}_s{seed}"
            for look in ("", "look_")
            for task in ("h1-walk", "gym-Pendulum-v1")
            for seed in (0, 1)
        ),
        *("slow_gym-Pendulum-v1_s7", "look_slow_gym-Pendulum-v1_s7", "look_expert_h1-walk", "all"),
        *(f"look_twice_{task}_s{seed}" for task in ("h1-walk", "gym-Pendulum-v1") for seed in (0, 1)),
    }
    fit, slow = stages["sac_h1-walk_s1"], stages["slow_gym-Pendulum-v1_s7"]
    assert isinstance(fit, FitStage)
    assert isinstance(slow, FitStage)
    learning = {"learning": {"lr": 0.1}}
    seeded = {"seed_everything": 1, "data": {"init_args": {"seed": 1}}}
    assert fit.overrides == {"model": {"init_args": learning}, "env": "h1-walk", "steps": 300, **seeded}
    # the agent's own over those of the grid, those of its task over both
    assert slow.overrides["model"]["init_args"]["learning"] == {"lr": 0.3, "batch_size": 8}
    assert (slow.overrides["steps"], slow.overrides["seed_everything"]) == (40, 7)
    look, again = stages["look_sac_h1-walk_s1"], stages["look_twice_h1-walk_s1"]
    assert isinstance(look, EvaluateStage)
    assert isinstance(again, EvaluateStage)
    assert (look.task, look.name, look.episodes, look.video) == ("h1-walk", "sac", 3, False)
    assert dependencies(look) == dependencies(again) == {"sac_h1-walk_s1"}
    assert (again.name, again.seed, again.episodes) == ("twice", 5, 3)
    expert = stages["look_expert_h1-walk"]
    assert isinstance(expert, EvaluateStage)
    assert expert.agent == "expert:walk"  # of those in data/results
    plan = plan_of(stages)
    assert plan.against == "sac"
    assert plan.cells["sac"] == {"h1-walk": 2, "gym:Pendulum-v1": 2}
    assert plan.cells["slow"] == {"h1-walk": "it takes a night", "gym:Pendulum-v1": 1}
    assert "gym:Pendulum-v1" in str(plan.cells["expert"]["gym:Pendulum-v1"])


def test_an_agent_without_a_part_is_planned_by_the_name_that_its_evaluation_has(tmp_path: Path) -> None:
    agents = {"sac": {}, "bare": {"agent": "${sac}", "evaluate": {"without": "plan"}}}
    _, stages = load(written(tmp_path, agents=agents))
    assert plan_of(stages).cells["bare without plan"] == {"h1-walk": 2, "gym:Pendulum-v1": 2}
    assert "bare" not in plan_of(stages).cells


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tasks": []}, ["grid.yaml:", "'all'", "`tasks`"]),
        ({"agents": {}}, ["grid.yaml:", "'all'", "`agents`"]),
        ({"config": None}, ["grid.yaml:", "'sac'", "`config`"]),
        ({"seed": 3}, ["grid.yaml:", "'seed'", "'seeds'"]),
        ({"seeds": 0}, ["grid.yaml:", "'seeds'"]),
        ({"seeds": [1, 1]}, ["grid.yaml", "different whole numbers"]),
        ({"agents": {"sac": {"overides": {}}}}, ["grid.yaml:", "'overides'", "all: sac", "'overrides'"]),
        (
            {"agents": {"sac": {"tasks": {"h1-wlak": {}}}}},
            ["grid.yaml:", "'sac'", "'h1-wlak'", "did you mean 'h1-walk'"],
        ),
        ({"agents": {"sac": {"evaluate": {"act": "wildly"}}}}, ["'act'", "wildly"]),
        ({"agents": {"two words": {}}}, ["'two words_h1-walk", "letters"]),
    ],
)
def test_bad_grid_is_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, **changes))
    assert "\n" not in str(caught.value)
    for part in told:
        assert part in str(caught.value)


def test_a_stage_named_like_a_cell_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = yaml.safe_load(path.read_text())
    content["stages"]["look_expert_h1-walk"] = {"kind": "evaluate", "task": "h1-walk", "agent": "expert:walk"}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigError, match="'look_expert_h1-walk' names two stages"):
        load(path)


@pytest.mark.long
def test_a_killed_grid_shows_what_was_not_run_and_goes_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second cell kills the pipeline: the first is not fitted again, the second goes on from its checkpoint."""
    small = {"learning": {"batch_size": 16, "learning_starts": 20}}
    killing = {"callbacks": [{"class_path": "toy.KillsRun"}]}
    grid = {
        "kind": "grid",
        "tasks": ["gym:Pendulum-v1"],
        "seeds": 2,
        "steps": 60,
        "evaluate": {"episodes": 2},
        "agents": {
            "sac": {
                "config": str(CONF / "baselines/sac.yaml"),
                "overrides": {"model": {"init_args": small}, "checkpoint_every_s": 0, "trainer": killing},
            },
            "expert": {"agent": "best expert"},
        },
    }
    path = place / "grid.yaml"
    path.write_text(yaml.safe_dump({"name": "grid", "max_parallel": 1, "stages": {"all": grid}}, sort_keys=False))
    assert in_child(lambda: main(["run", "grid.yaml"]), place / "log") == -signal.SIGKILL
    assert Path("runs/grid/sac_gym-Pendulum-v1_s0").is_dir()

    rows = [row for row in compare_pipeline(Path("runs/grid")).rows if row.planned is not None]
    found = [(row.agent, row.status, row.seeds, row.planned) for row in rows]
    assert found == [("sac", "measured", 1, 2), ("expert", "not run", 0, 0)], "evaluated before the next fit begins"
    capsys.readouterr()
    assert main(["compare", "runs/grid", "--wide", "--format", "csv"]) == 0
    assert re.match(r"gym:Pendulum-v1,not run,-\d", capsys.readouterr().out.splitlines()[1])

    shown = StringIO()
    result = run_pipeline(path, console=Console(file=shown))
    assert "sac_gym-Pendulum-v1_s0: unchanged, skipped" in shown.getvalue()
    assert "sac_gym-Pendulum-v1_s1: goes on from its last checkpoint" in shown.getvalue()
    assert result.ran == ["sac_gym-Pendulum-v1_s1", "look_sac_gym-Pendulum-v1_s1", "all"]
    rows, _ = read_comparison(Path("runs/grid/all"))
    measured = next(row for row in rows if row.agent == "sac")
    assert (measured.status, measured.seeds, measured.planned, measured.episodes) == ("measured", 2, 2, 4)
    assert wide_lines(rows)[1][:2] == ("gym:Pendulum-v1", "not run")
    assert "gym:Pendulum-v1,expert,not run" in comma_separated(rows)
    told = StringIO()
    Console(file=told, width=200).print(comparison_table(rows))
    assert "not run: expert on gym:Pendulum-v1, as no expert" in told.getvalue()
    assert json.loads(Path("runs/grid/grid.json").read_text())["cells"]["sac"] == {"gym:Pendulum-v1": 2}
