"""The report of a pipeline, from what its stages left: what is done, what failed, films, links; its run in MLflow."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from records import RECORD

from mwl.app.cli import main
from mwl.core.errors import MissingFile
from mwl.core.files import write_json
from mwl.evaluation.record import FILE as RECORD_FILE
from mwl.experiments import tracking
from mwl.pipeline.runner import PARENT, STATE
from mwl.pipeline.worker import ERROR, LOG
from mwl.reports.pipeline import FILE, write_report

STAGES = {
    "walk": {"kind": "fit", "config": "conf/world_model.yaml", "overrides": {"seed_everything": 77}},
    "look": {"kind": "evaluate", "task": "h1-walk", "agent": "${walk}"},
    "broken": {"kind": "evaluate", "task": "h1-stand", "agent": "${walk}"},
    "table": {"kind": "compare", "evaluations": ["${look}", "${broken}"]},
}


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline of which one stage was fitted and evaluated, and another failed, without any training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    path = tmp_path / "mine.yaml"
    path.write_text("# Walks, and tells.\n" + yaml.safe_dump({"name": "mine", "stages": STAGES}, sort_keys=False))
    return path


def left(folder: Path = Path("runs/mine")) -> tuple[str, str, str]:
    """Lay out what the stages leave; gives the runs of pipeline, fit and evaluation."""
    parent = tracking.open_run("mine", "mine", tags={tracking.KIND_TAG: "pipeline"})
    fit, look = (
        tracking.open_run("mine", name, parent=parent, tags={tracking.STAGE_TAG: name}) for name in ("walk", "look")
    )
    for run in (fit, look):
        tracking.client().set_terminated(run)
    for name in ("walk", "look"):
        (folder / name).mkdir(parents=True)
        write_json(folder / "_work" / name / STATE, {"key": "k", "digest": "d"})
    (folder / "_work" / PARENT).write_text(parent)
    record = replace(RECORD, run_id=look, agent_run_id=fit)
    (folder / "look" / RECORD_FILE).write_text(record.to_json())
    (folder / "look" / "episode.mp4").write_bytes(b"film")
    (folder / "look" / "episode.html").write_text("scene")
    write_json(folder / "_work" / "broken" / STATE, {"key": "k"})
    (folder / "_work" / "broken" / ERROR).write_text("no legs <left>")
    (folder / "_work" / "broken" / LOG).write_text("...")
    (folder / "_work" / "walk" / "config.yaml").write_text("complete: yes")
    return parent, fit, look


def test_the_report_tells_what_every_stage_left(pipeline: Path) -> None:
    parent, fit, look = left()
    text = write_report(pipeline).read_text(encoding="utf-8")
    assert "Walks, and tells." in text
    assert "2 finished, 1 failed, 1 not run" in text
    assert "no legs &lt;left&gt;" in text
    assert '<video controls preload="metadata" src="look/episode.mp4">' in text
    assert 'href="look/episode.html"' in text
    assert 'href="_work/broken/log.txt"' in text
    for run in (parent, fit, look):
        assert f"/runs/{run}?" in text
    assert "seed_everything: 77" in text, "the configuration as it was written"
    assert "complete: yes" in text
    assert "Not finished" not in text, "this run did not fail, as far as it was told"


def test_the_run_in_mlflow_holds_report_table_plot_film_figures_and_a_description(pipeline: Path) -> None:
    parent, fit, _ = left()
    write_report(pipeline, failure="stage 'broken' failed: no legs")
    run = tracking.client().get_run(parent)
    listed = (tracking.client().list_artifacts(parent, name) for name in (None, "comparison", "videos"))
    files = {file.path for files in listed for file in files}
    assert {FILE, "comparison/table.md", "comparison/comparison.png", "videos/episode.mp4"} <= files
    # one seed of two episodes, 840 and 860: the mean, and an interval around it
    figures = run.data.metrics
    assert figures["return/h1-walk/guided"] == 850.0
    assert figures["return/h1-walk/guided/low"] < 840.0 < 860.0 < figures["return/h1-walk/guided/high"]
    note = run.data.tags[tracking.NOTE_TAG]
    assert note.startswith("Walks, and tells.")
    assert "stage 'broken' failed" in note
    assert f"[walk](#/experiments/{run.info.experiment_id}/runs/{fit}" in note
    assert f"runs/{parent}/artifacts/{FILE}" in note
    assert "| broken | evaluate | failed |" in note
    assert "| table | compare | not run |" in note


def test_a_store_that_is_gone_costs_links_and_curves_alone(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    text = write_report(pipeline).read_text(encoding="utf-8")
    assert "850.0" in text
    assert "not asked" in text
    assert "/runs/" not in text.replace("runs/mine", "")


def test_the_command_writes_it_again_and_needs_something_to_report(
    pipeline: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MissingFile, match="mwl run"):
        write_report(pipeline)
    assert main(["report", "mine.yaml"]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert main(["report", "mien.yaml"]) == 2
    left()
    assert main(["report", "mine.yaml", "--set", "stages.table.evaluations=[]"]) == 0
    assert (Path("runs/mine") / FILE).is_file()


def test_the_command_compares_to_a_page(pipeline: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with tracking.run("mine", "look", tags={tracking.KIND_TAG: "evaluation"}) as run_id:
        tracking.client().log_text(run_id, replace(RECORD, run_id=run_id).to_json(), RECORD_FILE)
    assert main(["compare", "--html", "page.html", "--json"]) == 0
    assert f"/runs/{run_id}?" in Path("page.html").read_text(encoding="utf-8")
    capfd.readouterr()
    for wrong in ("page.html", "page.txt"):
        assert main(["compare", "--html", wrong]) == 2
        assert capfd.readouterr().err.count("\n") == 1
