"""The local MLflow store: where it is, how a run is opened under its parent, and what every run records."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mwl.errors import MissingFile

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DEFAULT_EXPERIMENT = "mwl"
PARENT_TAG = "mlflow.parentRunId"
STAGE_TAG = "mwl.stage"
KIND_TAG = "mwl.kind"
SUPERSEDED_TAG = "mwl.superseded"
HANDOFF_ARTIFACT = "handoff"
_STORE = Path("mlflow")


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI` where it is set, else the sqlite store `mlflow/mlflow.db` below the current folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_STORE / 'mlflow.db'}"


def ui_command() -> str:
    """The shell command that opens the runs in a browser."""
    return f"mlflow ui --backend-store-uri {tracking_uri()}"


def client() -> "MlflowClient":
    """Client of the store, whose folder and tables are created on first use."""
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow", "mlflow.store.db.utils"):  # after the import, which sets levels of its own
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = tracking_uri()
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=uri)


def experiment_id(name: str, *, create: bool = True) -> str | None:
    """Id of an experiment; None when it does not exist and `create` is false.

    Artifacts go beside the store, as MLflow's own default is a folder `mlruns` in whatever directory is current.
    """
    store = client()
    experiment = store.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    if not create:
        return None
    uri = tracking_uri()
    location = None
    if uri.startswith("sqlite:///"):
        location = (Path(uri.removeprefix("sqlite:///")).parent / "artifacts").resolve().as_uri()
    return str(store.create_experiment(name, artifact_location=location))


def open_run(experiment: str, name: str, *, parent: str | None = None, tags: dict[str, str] | None = None) -> str:
    """Create a run and return its id; with `parent` it is shown below that run."""
    run_tags = {**(tags or {}), **({PARENT_TAG: parent} if parent else {})}
    identifier = experiment_id(experiment)
    assert identifier is not None
    return str(client().create_run(identifier, run_name=name, tags=run_tags).info.run_id)


@contextmanager
def run(experiment: str, name: str, *, parent: str | None = None, tags: dict[str, str] | None = None) -> Iterator[str]:
    """Open a run, yield its id and close it as finished, or as failed when the block raises."""
    run_id = open_run(experiment, name, parent=parent, tags=tags)
    try:
        yield run_id
    except BaseException:
        client().set_terminated(run_id, "FAILED")
        raise
    client().set_terminated(run_id, "FINISHED")


def find_runs(experiment: str, filter_string: str = "") -> "list[Run]":
    """Runs of an experiment that match an MLflow filter, newest first; none when the experiment does not exist."""
    identifier = experiment_id(experiment, create=False)
    if identifier is None:
        return []
    return list(client().search_runs([identifier], filter_string, max_results=5000))


def supersede(experiment: str, parent: str, stage: str) -> None:
    """Mark the earlier runs of a stage, so that a comparison counts only the newest."""
    store = client()
    for old in find_runs(experiment, f"tags.`{PARENT_TAG}` = '{parent}' and tags.`{STAGE_TAG}` = '{stage}'"):
        store.set_tag(old.info.run_id, SUPERSEDED_TAG, "true")


def history(run_id: str, metric: str) -> list[tuple[int, float]]:
    """All (environment steps, value) points of a metric, in order; a resumed run's repeated points count once."""
    points = {int(point.step): float(point.value) for point in client().get_metric_history(run_id, metric)}
    return sorted(points.items())


def download_handoff(run_id: str, target: Path) -> Path:
    """Fetch the hand-over folder that a stage's run holds.

    Raises:
        MissingFile: no such run, or it holds no hand-over folder.
    """
    from mlflow.exceptions import MlflowException

    store = client()
    try:
        store.get_run(run_id)
        if not store.list_artifacts(run_id, HANDOFF_ARTIFACT):
            raise MissingFile(f"run {run_id} in {tracking_uri()} holds no hand-over folder; did its stage finish?")
        return Path(store.download_artifacts(run_id, HANDOFF_ARTIFACT, str(target)))
    except MlflowException as error:
        reason = str(error).splitlines()[0]
        raise MissingFile(f"run {run_id!r} cannot be read from {tracking_uri()}: {reason}") from error


def log_parameters(run_id: str, parameters: dict[str, Any]) -> None:
    """Record plain values as the run's parameters, cut to the 250 characters that every MLflow server takes."""
    store = client()
    for key, value in parameters.items():
        store.log_param(run_id, key, str(value)[:250])
