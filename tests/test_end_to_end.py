"""The whole way at a tiny size: from demonstrations to the film of an instruction, every stage for real."""

import json
from pathlib import Path

import pytest

from mwl.app.report import print_report
from mwl.core.artifact import read_manifest
from mwl.evaluation.record import Record
from mwl.experiments import tracking
from mwl.pipeline.config import load
from mwl.pipeline.runner import run_pipeline
from mwl.reports.pipeline import write_report

ROOT = Path(__file__).parents[1]
TINY = Path("conf/pipelines/tiny.yaml")


@pytest.mark.long
def test_tiny_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    output = tmp_path / "tiny"
    result = run_pipeline(TINY, [f"output={output}"])
    _, stages = load(TINY)
    assert set(result.ran) == set(stages)

    walk = read_manifest(output / "walk_guided", stage="world_model", robot="unitree_h1")
    unguided = read_manifest(output / "walk_tdmpc2", stage="world_model")
    assert walk["metrics"]["env_steps"] == unguided["metrics"]["env_steps"], "compared at equal steps"
    assert walk["provenance"]["guided"]
    assert not unguided["provenance"]["guided"]

    record = Record.read(output / "look_walk_guided")
    assert record.agent == "guided"
    assert record.expert_steps > 0, "what the experts cost is counted"
    assert len(record.returns) == record.episodes

    rows = json.loads((output / "comparison" / "comparison.json").read_text())["rows"]
    measured = {(row["task"], row["agent"]) for row in rows if row["status"] == "measured"}
    agents = {(f"h1-{task}", agent) for task in ("stand", "walk") for agent in (f"expert:{task}", "guided", "tdmpc2")}
    others = {("h1-reach", "expert:approach"), ("h1-reach", "guided"), ("h1-run", "expert:run")}
    assert measured == agents | others

    followed = json.loads((output / "instruction" / "follow.json").read_text())
    assert [step["skill"] for step in followed["plan"]] == ["stand", "walk"]
    for film in ("instruction/instruction.mp4", "look_walk_tdmpc2/episode.mp4"):
        assert (output / film).stat().st_size > 1000
    assert (output / "comparison" / "comparison.png").is_file()

    runs = tracking.find_runs("tiny")
    parents = [run for run in runs if run.data.tags.get(tracking.KIND_TAG) == "pipeline"]
    children = [run for run in runs if run.data.tags.get(tracking.PARENT_TAG) == parents[0].info.run_id]
    assert len(parents) == 1
    assert len(children) == len(stages)
    assert all(run.info.status == "FINISHED" for run in runs)

    report = write_report(TINY, [f"output={output}"]).read_text(encoding="utf-8")
    assert f"{len(stages)} finished" in report
    for film in ("instruction/instruction.mp4", "look_walk_tdmpc2/episode.mp4"):
        assert f'src="{film}"' in report
    assert report.count("environment steps") >= 2, "the agents' curves are on it"
    note = tracking.client().get_run(parents[0].info.run_id).data.tags[tracking.NOTE_TAG]
    assert all(f"/runs/{child.info.run_id}" in note for child in children)
    guided = next(run for run in children if run.data.tags[tracking.STAGE_TAG] == "walk_guided")
    assert "look\\_walk\\_guided" in guided.data.tags[tracking.NOTE_TAG], "a fit names its evaluations"

    again = run_pipeline(TINY, [f"output={output}"])
    assert again.ran == []
    print_report(again)
    assert "guided" in capsys.readouterr().out
