"""`make results` in a small form, and that no table of the documents was typed by hand."""

import importlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mwl.core.artifact import read_manifest
from mwl.evaluation import results
from mwl.evaluation.agents import find_expert
from mwl.evaluation.compare import Row, to_json
from mwl.evaluation.record import Record
from mwl.evaluation.results import CONFIG, Results, Table, main, render, write_tables
from mwl.rollouts import definitions

definitions_module = importlib.import_module("mwl.rollouts.metrics")
ROOT = Path(__file__).parents[2]
WRITTEN = [ROOT / "README.md", *(ROOT / "docs" / "results").glob("*.md"), *(ROOT / "docs" / "log").glob("*.md")]
GUIDES = sorted((ROOT / "docs" / "guide").glob("*.md"))
NUMBER = re.compile(r"[\s*`+±~-]*\d")
MEASURED = re.compile(
    NUMBER.pattern + r"[\d,]*(\.\d| ?%| ?±| \+-| of \d| to \d| ?[(\[]\d)"
)  # a share, a spread, an interval
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
    for name in (
        *configured.documents,
        "data/results",
        "data/experts",
        "data/robust",
        "data/transitions",
        "data/agents",
        "data/semantics",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert write_tables(configured) == [], "run `make results`"
    text = "".join(Path(name).read_text() for name in configured.documents)
    shown = {match["name"] for match in results._BLOCK.finditer(text)}
    assert shown == {*configured.tables, *configured.comparisons, *configured.benchmarks}, (
        "every table stands somewhere"
    )


def typed(text: str, figure: re.Pattern[str]) -> list[str]:
    """First lines of the tables outside the marks that hold figures: three cells or more, beside the first column."""
    outside = re.sub(r"<!-- results:.*?<!-- /results -->", "", text, flags=re.DOTALL)
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", outside, flags=re.MULTILINE):
        rows = [line.strip(" |").split("|")[1:] for line in table.splitlines()[2:]]
        if sum(bool(figure.match(cell)) for row in rows for cell in row) >= 3:
            found.append(table.partition("\n")[0])
    return found


@pytest.mark.parametrize(
    ("pages", "figure"), [(WRITTEN, NUMBER), (GUIDES, MEASURED)], ids=["results and log", "guides"]
)
def test_no_table_of_figures_is_typed_by_hand(pages: list[Path], figure: re.Pattern[str]) -> None:
    """Where something was measured any number is a figure; guides list sizes and bounds, which have no spread."""
    assert len(pages) > 5
    assert {page.name: found for page in pages if (found := typed(page.read_text(encoding="utf-8"), figure))} == {}


def test_a_table_that_was_typed_is_found() -> None:
    rows = "| a | 0.5 | 3 of 8 |\n| b | **936.3** | 7 |\n"
    table = f"| which | return | falls |\n|---|---|---|\n{rows}"
    assert typed(f"Text.\n\n{table}\nText.\n", NUMBER) == typed(table, MEASURED) == ["| which | return | falls |"]
    assert typed(f"<!-- results:small -->\n{table}<!-- /results -->\n", NUMBER) == []
    assert typed("| id | size |\n|---|---|\n| h1 | 51 |\n| h2 | 151 |\n| h3 | 20,000 |\n", MEASURED) == []


def test_tables_of_benchmarks_are_of_the_configured_commands_and_of_what_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    configured = Results.read(CONFIG)
    assert configured.benchmarks
    for name, benchmark in configured.benchmarks.items():
        stored = configured.stored(name)
        assert (stored.command, stored.of) == (benchmark.identity["command"], benchmark.identity["of"]), name
        assert (ROOT / benchmark.run.split()[0]).is_file()
        assert all(len(row) == len(stored.head) for row in stored.rows)
        assert stored.machine


def test_a_benchmark_runs_once_and_again_when_it_is_another(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def configure(arguments: str, body: str) -> None:
        (place / "stub.py").write_text(f"import json, sys\nfrom pathlib import Path\n{body}\n")
        benchmarks = {"small": {"run": f"stub.py {arguments}".strip(), "of": ["data/experts/stand"]}}
        written = {**SMALL, "experts": {"episodes": 2, "folders": []}, "evaluations": {}, "tables": {}}
        (place / "results.yaml").write_text(yaml.safe_dump({**written, "benchmarks": benchmarks}))

    head, row = '["who", "jerk", "steps"]', "[sys.argv[1], 4268.34, 12800]"
    stored = "from mwl.evaluation.table import report\nreport({}, [{}], Path(sys.argv[-1]))"
    configure("walk", f"print('beside the table')\n{stored.format(head, row)}")
    assert main(["results.yaml"]) == 0
    assert capfd.readouterr().out == "page.md\n"
    page = (place / "page.md").read_text()
    assert "| who | jerk | steps |\n| --- | --- | --- |\n| walk | 4268 | 12800 |\n\n`python stub.py walk`, on " in page
    assert re.search(r", \d+ threads?\n<!-- /results -->", page)

    configure("walk", "sys.exit('it must not run')")
    assert main(["results.yaml"]) == 0, "what is stored is of this command"
    assert main(["results.yaml", "--again", "small"]) == 1
    assert "it must not run" in capfd.readouterr().err
    configure("run", "print('no such package here')")
    assert main(["results.yaml"]) == 0
    assert "small: left out; what is stored stays" in capfd.readouterr().err
    assert (place / "page.md").read_text() == page
    table = f'Path(sys.argv[-1]).write_text(json.dumps({{"head": {head}, "rows": [{row}], "machine": "A"}}))'
    configure("run", table)
    assert main(["results.yaml"]) == 0
    assert "| run | 4268 |" in (place / "page.md").read_text()
    kept = place / "data/results/benchmarks/small.json"
    kept.write_text(
        kept.read_text().replace(read_manifest(place / "data/experts/stand")["files"]["model.ckpt"], "0" * 64)
    )
    configure("run", table.replace("4268", "17"))
    assert main(["results.yaml"]) == 0, "it was of another checkpoint"
    assert "| run | 17.34 |" in (place / "page.md").read_text()
    assert main(["results.yaml", "--again", "large"]) == 2
    assert "--again large: no such figures; there are small" in capfd.readouterr().err


def test_stored_records_are_of_what_ships() -> None:
    configured = Results.read(ROOT / CONFIG)
    for name, entries in configured.evaluations.items():
        record = Record.read(ROOT / configured.record(name))
        asked = (entries["task"], entries["agent"], entries["episodes"], entries.get("seed", 0))
        assert (record.task, record.address, record.episodes, record.seed) == asked
        kind, _, which = entries["agent"].partition(":")
        folder = find_expert(which) if kind == "expert" else ROOT / "data/agents" / which
        shipped = json.loads((folder / "manifest.json").read_text())
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
