"""Comparison: grouping, honesty about what was not run, and what the files hold."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from mwl.core.errors import CorruptFile, MissingFile
from mwl.evaluation.compare import (
    LEARNING_CURVE,
    compare_experiment,
    compare_to_folder,
    markdown,
    newest_experiment,
    read_rows,
    rows_of,
    to_json,
)
from mwl.evaluation.paper import PRINTED
from mwl.evaluation.record import FILE, Record
from mwl.evaluation.table import comparison_table, record_table
from mwl.experiments import tracking

RECORD = Record(
    task="h1-walk",
    suite="embedded",
    agent="guided",
    instruction=None,
    episodes=4,
    seed=0,
    return_mean=850.0,
    return_std=11.2,
    return_ci95=[840.0, 860.0],
    returns=[840.0, 850.0, 850.0, 860.0],
    lengths=[1000] * 4,
    length_mean=1000.0,
    success_rate=1.0,
    fall_rate=0.0,
    action_rate=0.02,
    jerk=300.0,
    energy=100.0,
    env_steps_per_s=500.0,
    address="runs/a",
    env_steps=20_000,
    expert_steps=5_000_000,
)
KEYS = {
    *("task", "suite", "agent", "instruction", "episodes", "seed", "return_mean", "return_std", "return_ci95"),
    *("returns", "length_mean", "success_rate", "fall_rate", "action_rate", "jerk", "energy", "env_steps_per_s"),
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return "walks"


def log(experiment: str, record: Record, **tags: str) -> str:
    with tracking.run(experiment, record.agent, tags={tracking.KIND_TAG: "evaluation", **tags}) as run_id:
        tracking.client().log_text(run_id, replace(record, run_id=run_id).to_json(), FILE)
    return run_id


def test_rows_group_by_task_and_agent_over_seeds() -> None:
    other = replace(RECORD, address="runs/b", returns=[600.0, 610.0, 610.0, 620.0], expert_steps=1)
    rows = rows_of([RECORD, other, replace(RECORD, agent="tdmpc2")], {})
    guided = next(row for row in rows if (row.task, row.agent) == ("h1-walk", "guided"))
    assert guided.seeds == 2
    # the middle four of the eight: 610 620 840 850
    assert guided.return_iqm == pytest.approx((610 + 620 + 840 + 850) / 4)
    assert guided.expert_steps == 5_000_000, "what the experts cost is stated, at its highest"


def test_other_suites_instructions_and_ways_of_acting_are_other_rows() -> None:
    others = [
        replace(RECORD, suite="humanoid_bench", returns=[100.0] * 4),
        replace(RECORD, instruction="stand still", returns=[500.0] * 4),
        replace(RECORD, act="policy", returns=[700.0] * 4),
    ]
    rows = [row for row in rows_of([RECORD, *others], {}) if row.status == "measured"]
    found = {(row.suite, row.instruction, row.act): row.return_iqm for row in rows}
    assert found == {
        ("embedded", None, None): 850.0,
        ("humanoid_bench", None, None): 100.0,
        ("embedded", "stand still", None): 500.0,
        ("embedded", None, "policy"): 700.0,
    }
    assert {row.seeds for row in rows} == {1}
    assert (rows[0].episodes, rows[0].label) == (4, "guided")
    assert len({row.label for row in rows}) == 4, "a reader of the table can tell them apart"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"address": "runs/a"}, {"address": "./runs/a"}),
        ({"address": "runs/a"}, {"address": "runs/../runs/a/"}),
        ({"address": "runs/a", "agent_sha256": "12ab"}, {"address": "copies/a", "agent_sha256": "12ab"}),
        ({"address": "runs/a", "agent_run_id": "7"}, {"address": "run:7", "agent_run_id": "7"}),
    ],
)
def test_one_agent_under_two_names_is_one_seed_and_its_newest_evaluation_counts(first: dict, second: dict) -> None:
    old, new = replace(RECORD, **first), replace(RECORD, returns=[900.0] * 4, **second)
    (row,) = [row for row in rows_of([old, new], {}) if row.status == "measured"]
    assert (row.seeds, row.return_iqm) == (1, 900.0)


def test_the_interval_of_several_seeds_is_over_seeds() -> None:
    # three seeds of means 600, 700, 800 that hardly scatter themselves: t(0.975, 2) * 100 / sqrt(3) = 248
    seeds = [replace(RECORD, address=f"runs/{i}", returns=[600.0 + 100 * i] * 4) for i in range(3)]
    (row,) = [row for row in rows_of(seeds, {}) if row.status == "measured"]
    assert row.return_ci95 is not None
    assert row.return_ci95[1] - row.return_ci95[0] > 2 * 200


def test_what_was_not_run_is_called_so() -> None:
    rows = rows_of([RECORD], {})
    missing = [row for row in rows if row.status == "not run"]
    assert {(row.task, row.agent) for row in missing} == set(PRINTED) - {("h1-walk", "guided")}
    assert all(row.return_iqm is None and row.run_ids == [] for row in missing)


def test_record_prints_exactly_the_public_keys() -> None:
    assert set(RECORD.printed()) == KEYS
    json.dumps(RECORD.printed(), allow_nan=False)


def test_record_survives_the_disk(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(RECORD.to_json())
    assert Record.read(tmp_path) == RECORD
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(CorruptFile):
        Record.read(tmp_path)
    with pytest.raises(MissingFile):
        Record.read(tmp_path / "nowhere")


def test_experiment_counts_only_the_newest_of_each(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    log(store, replace(RECORD, returns=[1.0, 1.0]), **{tracking.SUPERSEDED_TAG: "true"})
    kept = log(store, RECORD)
    rows = compare_experiment(store)
    assert next(row for row in rows if row.status == "measured").run_ids == [kept]
    log(store, replace(RECORD, suite="humanoid_bench", returns=[1.0] * 4))
    assert next(row for row in compare_experiment(store) if row.suite == "embedded").run_ids == [kept]
    newer = log(store, replace(RECORD, address="./runs/a"))
    assert next(row for row in compare_experiment(store) if row.suite == "embedded").run_ids == [newer]
    assert newest_experiment() == store
    assert capsys.readouterr().err == "", "no bars for files of a few bytes"
    with pytest.raises(MissingFile, match="no experiment"):
        compare_experiment("another")


def test_folder_holds_table_plot_and_json(store: str, tmp_path: Path) -> None:
    fit = tracking.open_run(store, "fit")
    for step in range(0, 20_000, 1000):
        tracking.client().log_metric(fit, LEARNING_CURVE, min(800.0, step / 10), step=step)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / FILE).write_text(replace(RECORD, agent_run_id=fit).to_json())
    rows = compare_to_folder([tmp_path / "one"], tmp_path / "out", store, None)
    measured = rows[0]
    assert measured.convergence_steps is not None
    assert 8000 <= measured.convergence_steps <= 12_000, "the curve reaches its level at 8000, five points are averaged"
    assert read_rows(tmp_path / "out") == rows
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 10_000
    assert "| h1-walk | guided | 850.0 |" in (tmp_path / "out" / "table.md").read_text()


def test_tables_can_be_printed() -> None:
    console = Console(record=True, width=200)
    rows = rows_of([RECORD, replace(RECORD, agent="expert:walk", episodes=1, return_ci95=None)], {})
    console.print(comparison_table(rows))
    console.print(record_table(RECORD))
    shown = console.export_text()
    assert "701.2 / 1.4M" in shown, "the paper's figure stands beside ours"
    assert "not run" in shown
    assert markdown(rows).count("\n") == len(rows) + 4
    assert {"rows", "paper"} == set(to_json(rows))
