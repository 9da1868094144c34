"""The MLflow store: made on first use, nested runs, superseded ones, and artifacts fetched back."""

from pathlib import Path

import pytest
import torch

from mwl.core.artifact import write_artifact
from mwl.core.errors import MissingFile, StoreFailed, UnknownAgent
from mwl.evaluation.agents import find_expert, resolve
from mwl.experiments import tracking


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for the module: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/sub/mlflow.db"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    return tmp_path


def test_store_and_artifacts_lie_together(store: str, place: Path) -> None:
    with tracking.run("together", "one") as run_id:
        tracking.client().log_text(run_id, "hello", "note.txt")
    folder = Path(store.removeprefix("sqlite:///")).parent
    assert (folder / "mlflow.db").is_file()
    assert list((folder / "artifacts").rglob("note.txt"))
    assert not list(place.iterdir()), "no mlruns folder where the command happens to run"


def test_default_store_is_in_the_mlflow_folder_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    Path("mlflow").mkdir()  # as the repository has one
    assert tracking.tracking_uri() == "sqlite:///mlflow/mlflow.db"
    assert tracking.ui_command() == "mlflow ui --backend-store-uri sqlite:///mlflow/mlflow.db"


def test_a_run_has_a_link_at_the_server_or_at_that_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    with tracking.run("linked", "one") as run_id:
        pass
    where = f"/#/experiments/{tracking.experiment_id('linked')}/runs/{run_id}?workflowType=machine_learning"
    assert tracking.run_link(run_id) == f"http://127.0.0.1:5000{where}"
    with pytest.raises(StoreFailed):
        tracking.run_link("0" * 32)
    opened = tracking.client()
    monkeypatch.setattr(tracking, "client", lambda: opened)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://runs.example/")
    assert tracking.run_link(run_id) == f"https://runs.example{where}"


def test_a_run_that_breaks_is_marked_failed() -> None:
    with pytest.raises(RuntimeError), tracking.run("breaks", "one"):
        raise RuntimeError
    assert tracking.find_runs("breaks")[0].info.status == "FAILED"


def test_supersede_marks_only_the_same_stage_of_the_same_parent() -> None:
    parent = tracking.open_run("nest", "pipeline")
    runs = {
        name: tracking.open_run("nest", name, parent=above, tags={tracking.STAGE_TAG: name})
        for name, above in (("walk", parent), ("stand", parent), ("other", None))
    }
    tracking.supersede("nest", parent, "walk")
    marked = {run.info.run_id for run in tracking.find_runs("nest") if tracking.SUPERSEDED_TAG in run.data.tags}
    assert marked == {runs["walk"]}


def test_history_counts_points_repeated_by_a_resume_once() -> None:
    run_id = tracking.open_run("history", "one")
    for step, value in ((0, 1.0), (10, 2.0), (10, 2.0), (20, 3.0)):
        tracking.client().log_metric(run_id, "train/return", value, step=step)
    assert tracking.history(run_id, "train/return") == [(0, 1.0), (10, 2.0), (20, 3.0)]


def artifact(folder: Path, stage: str, name: str = "walk") -> Path:
    checkpoint = {"hyper_parameters": {}, "state_dict": {"w": torch.zeros(1)}}
    return write_artifact(folder, stage=stage, name=name, checkpoint=checkpoint, robot="unitree_h1")


def test_agent_by_run_comes_from_the_stored_folder(place: Path) -> None:
    folder = artifact(place / "gate", "gate")
    run_id = tracking.open_run("stored", "gate")
    tracking.client().log_artifacts(run_id, str(folder), tracking.ARTIFACT)
    # found, fetched and verified; refused only because a gate is no agent
    with pytest.raises(UnknownAgent, match="gate"):
        resolve(f"run:{run_id}")


def test_an_artifact_at_its_former_place_is_fetched(place: Path) -> None:
    folder = artifact(place / "gate", "gate")
    run_id = tracking.open_run("former", "gate")
    tracking.client().log_artifacts(run_id, str(folder), "handoff")
    assert tracking.download_artifact(run_id, place / "fetched").name == "handoff"


def test_run_without_artifact_is_told() -> None:
    run_id = tracking.open_run("stored", "nothing")
    with pytest.raises(MissingFile, match="holds no artifact"):
        resolve(f"run:{run_id}")


def test_shipped_experts_come_before_fitted_ones(place: Path) -> None:
    fitted = artifact(place / "runs" / "demo" / "expert_walk", "expert")
    assert find_expert("walk") == fitted.relative_to(place)
    shipped = artifact(place / "data" / "experts" / "walk", "expert")
    assert find_expert("walk") == shipped.relative_to(place)
    with pytest.raises(UnknownAgent, match=r"known experts: .*walk"):
        find_expert("fly")


def note(run_id: str) -> str:
    return tracking.client().get_run(run_id).data.tags.get(tracking.NOTE_TAG, "")


def test_a_fit_and_its_evaluations_name_each_other() -> None:
    fit = tracking.open_run("linked both ways", "walk_guided")
    looks = [tracking.open_run("linked both ways", name) for name in ("look", "look_policy")]
    tracking.link(fit, looks[0], "guided on h1-walk, return 900.0")
    tracking.link(fit, looks[1], "guided, by policy, return 800.0")
    where = f"#/experiments/{tracking.experiment_id('linked both ways')}/runs"
    assert f"[walk\\_guided]({where}/{fit}?" in note(looks[0])
    assert tracking.client().get_run(looks[1]).data.tags[tracking.FIT_TAG] == fit
    for run, name, value in ((looks[0], "look", "900.0"), (looks[1], "look\\_policy", "800.0")):
        assert f"[{name}]({where}/{run}?" in note(fit)
        assert value in note(fit)
    tracking.client().set_tag(looks[0], tracking.SUPERSEDED_TAG, "true")
    tracking.link(fit, looks[1], "guided, by policy, return 810.0")
    assert "900.0" not in note(fit), "a former evaluation is no result any more"
    assert "810.0" in note(fit)


def test_an_agent_of_another_store_is_not_linked() -> None:
    look = tracking.open_run("unlinked", "look")
    tracking.link("0" * 32, look, "nothing")
    assert note(look) == ""


def test_a_description_too_long_ends_after_a_line() -> None:
    run_id = tracking.open_run("long", "one")
    tracking.described(run_id, "twenty letters a line\n" * 1000)
    assert len(note(run_id)) < 8000
    assert set(note(run_id).splitlines()) == {"twenty letters a line", "…"}
