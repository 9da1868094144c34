"""`make results` in a small form, and that no table of the documents was typed by hand."""

import importlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mwl.core.artifact import read_manifest
from mwl.evaluation import results
from mwl.evaluation.compare import Row, to_json
from mwl.evaluation.record import Record
from mwl.evaluation.results import CONFIG, Results, Table, main, render, write_tables
from mwl.rollouts import definitions

definitions_module = importlib.import_module("mwl.rollouts.definitions")
ROOT = Path(__file__).parents[2]
DOCUMENT = "# Title\n\n<!-- results:small -->\nwhat was here before\n<!-- /results -->\n\nText.\n"
SMALL = {
    "folder": "data/results",
    "documents": ["page.md"],
    "experts": {"episodes": 2, "folders": ["data/experts/stand"]},
    "evaluations": {"stand": {"task": "h1-stand", "agent": "data/experts/stand", "episodes": 2, "seed": 10_000}},
    "tables": {
        "small": {
            "head": ["expert", "return", "95 % CI", "falls", "jerk", "measured: return"],
            "cells": ["{label}", "{it.mean}", "{it.ci}", "{it.falls}", "{it.jerk:.3f}", "{measured.mean}"],
            "figures": ["it", "measured"],
            "rows": [{"label": "stand", "it": "stand", "measured": "data/experts/stand"}],
        }
    },
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "data/experts/stand", tmp_path / "data/experts/stand")
    (tmp_path / "page.md").write_text(DOCUMENT)
    (tmp_path / "results.yaml").write_text(yaml.safe_dump(SMALL))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_command_measures_writes_the_tables_and_goes_on_where_it_stopped(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["results.yaml"]) == 0
    record = Record.read(place / "data/results/stand.json")
    metrics = read_manifest(place / "data/experts/stand")["metrics"]
    assert (metrics["episodes"], metrics["return_mean"]) == (2, record.return_mean), "the same starts, the same figures"
    low, high = record.return_ci95 or (0, 0)
    row = f"| stand | {record.return_mean:.1f} | {low:.1f} to {high:.1f} | 0 of 2 | {record.jerk:.3f} |"
    written = (place / "page.md").read_text()
    assert f"{row} {record.return_mean:.1f} |\n<!-- /results -->\n\nText.\n" in written
    assert "before" not in written
    assert capsys.readouterr().out == "page.md\n"

    def refuse(*_: object) -> None:
        raise AssertionError("measured again what is there")

    monkeypatch.setattr(results, "measure", refuse)
    monkeypatch.setattr(results, "evaluate", refuse)
    assert main(["results.yaml"]) == 0
    assert capsys.readouterr().out == "", "nothing changed"
    monkeypatch.setattr(results, "definitions", lambda task: f"{task} defined anew")
    with pytest.raises(AssertionError, match="measured again"):
        main(["results.yaml"])


def test_bad_input_is_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "page.md").write_text(DOCUMENT.replace("results:small", "results:large"))
    assert main(["results.yaml", "--tables"]) == 2
    assert "no table 'large'" in capsys.readouterr().err
    (place / "page.md").write_text(DOCUMENT)
    assert main(["results.yaml", "--tables"]) == 2
    assert "stand.json" in capsys.readouterr().err, "what was not measured is named"
    (place / "results.yaml").write_text("folder: data/results\n")
    assert main(["results.yaml"]) == 2


def test_rows_show_plain_entries_and_patterns(place: Path) -> None:
    configured = Results.read(place / "results.yaml")
    table = Table(["a", "b"], ["{a}", "{b}"], [{"a": 7, "b": "{a} of 8"}], [])
    assert render(table, configured) == "| a | b |\n| --- | --- |\n| 7 | 7 of 8 |\n"


def test_the_tables_of_the_documents_are_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured = Results.read(ROOT / CONFIG)
    for name in (*configured.documents, "data/results", "data/experts", "data/transitions"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert write_tables(configured) == [], "run `make results`"
    text = "".join(Path(name).read_text() for name in configured.documents)
    shown = {match["name"] for match in results._BLOCK.finditer(text)}
    assert shown == {*configured.tables, *configured.comparisons}, "every table stands somewhere"


def test_stored_records_are_of_what_ships() -> None:
    configured = Results.read(ROOT / CONFIG)
    for name, entries in configured.evaluations.items():
        record = Record.read(ROOT / configured.record(name))
        asked = (entries["task"], entries["agent"], entries["episodes"], entries.get("seed", 0))
        assert (record.task, record.address, record.episodes, record.seed) == asked
        kind, _, which = entries["agent"].partition(":")
        shipped = json.loads((ROOT / "data" / f"{kind}s" / which / "manifest.json").read_text())
        assert record.agent_sha256 == shipped["files"]["model.ckpt"]
        if entries.get("keep"):
            assert shipped["evaluation"]["returns"] == record.returns


def test_lists_of_tasks_and_agents_are_all_pairs_and_a_star_the_best_of_them(place: Path) -> None:
    pairs = {"task": ["h1-maze", "h1-pole"], "agent": ["expert:stand", "expert:walk"], "episodes": 2}
    (place / "results.yaml").write_text(yaml.safe_dump({**SMALL, "evaluations": {"fixed": pairs}}))
    configured = Results.read(place / "results.yaml")
    assert list(configured.evaluations) == [
        f"fixed-h1-{task}-{agent}" for task in ("maze", "pole") for agent in ("stand", "walk")
    ]
    record = Record.read(ROOT / "data/results/expert-stand.json")
    for name, value in (("stand", 5.0), ("walk", 7.0)):
        configured.record(f"fixed-h1-maze-{name}").parent.mkdir(parents=True, exist_ok=True)
        made = replace(record, agent=f"expert:{name}", return_mean=value)
        configured.record(f"fixed-h1-maze-{name}").write_text(made.to_json())
    table = Table(
        head=["task", "best", "return", "100k", "1M"],
        cells=["{task}", "{it.agent}", "{it.mean}", "{best_100k}", "{best_1m}"],
        rows=[{"task": "h1-maze", "it": "fixed-h1-maze-*"}],
        figures=["it"],
    )
    assert render(table, configured).endswith("| h1-maze | expert:walk | 7.0 | 247 (FlashSAC) | 358 (FlashSAC) |\n")


def test_figures_are_measured_again_when_their_own_scene_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {task: definitions(task) for task in ("h1-walk", "h1-maze")}
    shutil.copytree(definitions_module.ASSETS, tmp_path / "assets")
    (tmp_path / "assets" / "maze.xml").write_text("<mujoco/>")
    monkeypatch.setattr(definitions_module, "ASSETS", tmp_path / "assets")
    definitions.cache_clear()
    try:
        assert definitions("h1-walk") == before["h1-walk"]
        assert definitions("h1-maze") != before["h1-maze"]
    finally:
        definitions.cache_clear()


def test_a_comparison_of_a_pipeline_is_a_table(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row("h1-walk", "guided", "measured", return_iqm=937.6, return_ci95=[937.0, 938.0], seeds=1)]
    (place / "ran").mkdir()
    (place / "ran" / "comparison.json").write_text(json.dumps(to_json(rows, [])))
    (place / "results.yaml").write_text(yaml.safe_dump({**SMALL, "comparisons": ["small"]}))
    assert main(["results.yaml", "--tables", "--take", "small=ran"]) == 0
    assert "| h1-walk | guided | 937.6 | 937 to 938 |" in (place / "page.md").read_text()
    assert main(["results.yaml", "--tables", "--take", "other=ran"]) == 2
    assert "there are small" in capsys.readouterr().err
    assert main(["results.yaml", "--tables", "--take", "small=nowhere"]) == 2
