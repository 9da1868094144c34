"""The local MLflow store: where it is, how a run is opened under its parent, and what every run records."""

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mwl._renamed import FORMER_ARTIFACT
from mwl.core.errors import BadInput, MissingFile, MwlError, StoreFailed
from mwl.core.files import shown
from mwl.core.terminal import redacted
from mwl.experiments import store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DEFAULT_EXPERIMENT = "mwl"
PARENT_TAG = "mlflow.parentRunId"
STAGE_TAG = "mwl.stage"
KIND_TAG = "mwl.kind"
SUPERSEDED_TAG = "mwl.superseded"
NOTE_TAG = "mlflow.note.content"  # what MLflow shows as a run's description, in Markdown
FIT_TAG = "mwl.fit"  # of an evaluation: the run that fitted its agent
EVALUATION_TAG = "mwl.evaluation."  # of a fit, with the id of each evaluation: what came of it
ARTIFACT = "artifact"
_SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "databricks")
_STORE, _RUNS = Path("mlflow"), Path("runs/mlflow")
_LOCAL_S, _REMOTE_S = 60.0, 10.0  # a local store may have to be made first, under load
_RECORDING_S = 120.0
_HASTY = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}  # MLflow's own: minutes
_LOGGERS = ("alembic", "mlflow", "mlflow.store.db.utils", "urllib3.connectionpool")
_BATCH = 1000  # metrics, MLflow's own bound
_VIEW = "?workflowType=machine_learning"  # of training; without it MLflow may show a run as one of a language model
_LONGEST_NOTE = 7900  # characters, MLflow's own bound is 8000
T = TypeVar("T")


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, else a sqlite store: in `mlflow/`, or in `runs/mlflow/` where there is no such folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{store.SCHEME}{_STORE if _STORE.is_dir() else _RUNS}/mlflow.db"


def shown_uri() -> str:
    """The address as messages name it, without a password."""
    return redacted(tracking_uri())


def ui_command() -> str:
    """The shell command that opens the runs in a browser."""
    return f"mlflow ui --backend-store-uri {shown_uri()}"


def newest_pipeline() -> str | None:
    """The run of the pipeline that was begun last, in any experiment; None where there is none."""
    with telling():
        experiments = [experiment.experiment_id for experiment in client().search_experiments()]
        kind = f"tags.`{KIND_TAG}` = 'pipeline'"
        found = client().search_runs(experiments, kind, max_results=1, order_by=["attributes.start_time DESC"])
    return str(found[0].info.run_id) if found else None


def run_link(run_id: str, port: int = 5000) -> str:
    """Where a browser shows a run: at the server, or at that of `mlflow ui` on a port of this machine.

    Raises:
        StoreFailed: the store holds no such run, or can't be read.
    """
    uri = shown_uri()
    server = uri.rstrip("/") if uri.startswith("http") else f"http://127.0.0.1:{port}"
    with telling():
        return f"{server}/{page_of(client().get_run(run_id))}"


def page_of(run: "Run", artifact: str = "") -> str:
    """Where the server shows a run, or one of its artifacts, as links between its own pages say it."""
    within = f"/artifacts/{artifact}" if artifact else ""
    return f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}{within}{_VIEW}"


def described(run_id: str, text: str) -> None:
    """Give a run its description, in Markdown; cut after the last line that a server takes."""
    if len(text) > _LONGEST_NOTE:
        text = text[:_LONGEST_NOTE].rpartition("\n")[0] + "\n…\n"
    with telling():
        client().set_tag(run_id, NOTE_TAG, redacted(text))


def link(fit: str, evaluation: str, found: str) -> None:
    """Let an evaluation and the fit behind it name each other, in tags and in the descriptions that MLflow shows.

    Args:
        fit: run that fitted the agent; one of another store, or deleted, is not linked.
        evaluation: run that measured it.
        found: what came of it, one line.
    """
    if known_run(fit) is None or client().get_run(fit).info.lifecycle_stage != "active":
        return
    with telling():
        client().set_tag(evaluation, FIT_TAG, fit)
        client().set_tag(fit, f"{EVALUATION_TAG}{evaluation}", found)
        fitted = client().get_run(fit)
        described(evaluation, f"{in_markdown(found)}\n\nThe agent is of the run {link_to(fitted)}.\n")
        lines = None
        while lines != (lines := _evaluations(fit)):  # another process may link the same fit meanwhile
            described(fit, "Evaluated:\n\n" + "".join(lines))


def _evaluations(fit: str) -> list[str]:
    """A line for each evaluation of a fit that no later one replaced."""
    tags = client().get_run(fit).data.tags
    found = []
    for name, said in sorted(tags.items()):
        run_id = known_run(name.removeprefix(EVALUATION_TAG)) if name.startswith(EVALUATION_TAG) else None
        if run_id is not None and SUPERSEDED_TAG not in (run := client().get_run(run_id)).data.tags:
            found.append(f"* {link_to(run)}: {in_markdown(said)}\n")
    return found


def link_to(run: "Run") -> str:
    """A run's name in Markdown, with a link to it."""
    return f"[{in_markdown(run.info.run_name or run.info.run_id)}]({page_of(run)})"


def in_markdown(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", " ".join(text.split()))


def client() -> "MlflowClient":
    """Client of the store, which is made on first use.

    Raises:
        BadInput: the address is none.
        CorruptFile: the local store is broken or isn't MLflow's; the message says the remedy.
        StoreFailed: it can't be made.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # bars for files of a few bytes
    for name in _LOGGERS:  # after the import, which sets levels of its own; what fails is told by us
        logging.getLogger(name).setLevel(logging.CRITICAL)
    uri = tracking_uri()
    _check_address(uri)
    file = store.sqlite_file(uri)
    if file is not None:
        store.ensure(file)
    try:
        return MlflowClient(tracking_uri=uri)
    except MlflowException as error:
        raise StoreFailed(f"MLflow store {shown_uri()}: {_why(error)}") from error


def _check_address(uri: str) -> None:
    """Refuse an address that MLflow would take for a folder, or not take at all.

    Raises:
        BadInput: it is one.
    """
    scheme = uri.partition("://")[0].partition("+")[0]
    in_memory = scheme == "sqlite" and store.sqlite_file(uri) is None  # would be gone with this process
    if (scheme not in _SCHEMES or in_memory) and not os.environ.get("MLFLOW_ALLOW_FILE_STORE"):
        raise BadInput(
            f"MLFLOW_TRACKING_URI is {shown(redacted(uri))}: no address of a store; it may be "
            "sqlite:///<folder>/mlflow.db, http(s)://<server> or another database that MLflow takes"
        )


def check() -> None:
    """Try whether the store can take a run now; answers within seconds, where MLflow itself would try for minutes.

    Raises:
        BadInput: the address is none, or the local store is broken.
        StoreFailed: nobody answers there, or it is locked.
    """
    file = store.sqlite_file(tracking_uri())

    def answer() -> None:
        client().search_experiments(max_results=1)
        if file is not None and (why := store.find_lock(file)):
            raise StoreFailed(f"MLflow store {shown_uri()}: {why}")

    within(_REMOTE_S if file is None else _LOCAL_S, answer)


def trouble() -> str | None:
    """What `check` raises, as one line; None where it raises nothing."""
    try:
        check()
    except MwlError as error:
        return str(error)
    return None


def within(seconds: float, work: Callable[[], T]) -> T:
    """Do something with the store, but not for longer than so many seconds.

    Raises:
        StoreFailed: it takes longer, or the store fails.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True, name="store")
    with _hasty():
        thread.start()
        thread.join(seconds)
    if thread.is_alive():
        raise StoreFailed(f"MLflow store {shown_uri()}: no answer within {seconds:.0f} s")
    if failure:
        with telling():
            raise failure[0]
    return outcome[0]


@contextmanager
def _hasty() -> Iterator[None]:
    """Let MLflow give up on a server early, unless the user says when; it reads this at each request."""
    added = {name: value for name, value in _HASTY.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def telling() -> Iterator[None]:
    """Turn what MLflow and its database raise into a `StoreFailed` of one line."""
    try:
        yield
    except (MwlError, AssertionError):
        raise
    except Exception as error:
        raise StoreFailed(f"MLflow store {shown_uri()}: {_why(error)}") from error


def _why(error: Exception) -> str:
    if "Max retries exceeded" in str(error):  # the words of `requests`, about an address that nothing listens to
        return "no server answers there"
    return redacted(store.first_line(error))


def experiment_id(name: str, *, create: bool = True) -> str | None:
    """Id of an experiment; None when it does not exist and `create` is false.

    Artifacts go beside the store, as MLflow's own default is a folder `mlruns` in whatever directory is current.

    Raises:
        StoreFailed: the store can't be read or written; so does every function here that speaks to it.
    """
    from mlflow.exceptions import MlflowException

    with telling():
        opened = client()
        experiment = opened.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        if not create:
            return None
        file = store.sqlite_file(tracking_uri())
        location = None if file is None else (file.parent / store.ARTIFACTS).resolve().as_uri()
        try:
            return str(opened.create_experiment(name, artifact_location=location))
        except MlflowException:
            experiment = opened.get_experiment_by_name(name)  # another process may just have made it
            if experiment is None:
                raise
            return str(experiment.experiment_id)


def open_run(experiment: str, name: str, *, parent: str | None = None, tags: dict[str, str] | None = None) -> str:
    """Create a run and return its id; with `parent` it is shown below that run."""
    run_tags = {**(tags or {}), **({PARENT_TAG: parent} if parent else {})}
    identifier = experiment_id(experiment)
    assert identifier is not None
    with telling():
        return str(client().create_run(identifier, run_name=name, tags=run_tags).info.run_id)


@contextmanager
def run(experiment: str, name: str, *, parent: str | None = None, tags: dict[str, str] | None = None) -> Iterator[str]:
    """Open a run, yield its id and close it as finished, or as failed when the block raises."""
    run_id = open_run(experiment, name, parent=parent, tags=tags)
    try:
        yield run_id
    except BaseException:
        with suppress(Exception):  # what the block raised says more
            client().set_terminated(run_id, "FAILED")
        raise
    with telling():
        client().set_terminated(run_id, "FINISHED")


def record(
    experiment: str,
    name: str,
    log: Callable[[str], None],
    *,
    parent: str | None = None,
    tags: dict[str, str] | None = None,
) -> str:
    """Open a run, let `log(run_id)` fill it and close it; for results that are there already.

    Raises:
        MwlError: the store did not take it, or not in time. What was recorded is worth more than the store: keep it,
            say so, and go on.
    """

    def work() -> str:
        with run(experiment, name, parent=parent, tags=tags) as run_id, telling():
            log(run_id)
        return run_id

    return within(_RECORDING_S, work)


def known_run(run_id: str) -> str | None:
    """The id itself, where the store has such a run; None where it was made with another store."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client().get_run(run_id).info.run_id)
    except MlflowException:
        return None


def find_runs(experiment: str, filter_string: str = "") -> "list[Run]":
    """Runs of an experiment that match an MLflow filter, newest first; none when the experiment does not exist."""
    identifier = experiment_id(experiment, create=False)
    if identifier is None:
        return []
    with telling():
        return list(client().search_runs([identifier], filter_string, max_results=5000))


def supersede(experiment: str, parent: str, stage: str) -> None:
    """Mark the earlier runs of a stage, so that a comparison counts only the newest."""
    old_runs = find_runs(experiment, f"tags.`{PARENT_TAG}` = '{parent}' and tags.`{STAGE_TAG}` = '{stage}'")
    with telling():
        for old in old_runs:
            client().set_tag(old.info.run_id, SUPERSEDED_TAG, "true")


def history(run_id: str, metric: str) -> list[tuple[int, float]]:
    """All (environment steps, value) points of a metric, in order; a resumed run's repeated points count once."""
    with telling():
        found = client().get_metric_history(run_id, metric)
    return sorted({int(point.step): float(point.value) for point in found}.items())


def timed_history(run_id: str, metric: str) -> list[tuple[int, float, float]]:
    """As `history`, with the seconds from the beginning of the run to each point, pauses included."""
    with telling():
        began = client().get_run(run_id).info.start_time
        found = sorted(client().get_metric_history(run_id, metric), key=lambda point: point.timestamp)
    last = {int(point.step): (float(point.value), (point.timestamp - began) / 1000) for point in found}
    return [(step, *of_step) for step, of_step in sorted(last.items())]


def check_artifact(run_id: str) -> None:
    """Look whether a stage's run holds an artifact; answers within seconds.

    Raises:
        MissingFile: no such run, or it holds no artifact.
        StoreFailed: the store does not answer.
    """
    file = store.sqlite_file(tracking_uri())
    if file is not None and not file.exists():
        raise MissingFile(f"run {shown(run_id)}: there is no store {shown_uri()}")
    within(_REMOTE_S if file is None else _LOCAL_S, lambda: _artifact(run_id))


def download_artifact(run_id: str, target: Path) -> Path:
    """Fetch the artifact that a stage's run holds.

    Raises:
        MissingFile, StoreFailed: as `check_artifact`.
    """
    return within(_RECORDING_S, lambda: _artifact(run_id, target))


def _artifact(run_id: str, target: Path | None = None) -> Path:
    """Where a run's artifact is; fetched, where there is a target."""
    from mlflow.exceptions import MlflowException

    opened = client()
    try:
        opened.get_run(run_id)
        place = next((name for name in (ARTIFACT, FORMER_ARTIFACT) if opened.list_artifacts(run_id, name)), None)
        if place is None:
            raise MissingFile(f"run {shown(run_id)} in {shown_uri()} holds no artifact; did its stage finish?")
        if target is None:
            return Path(place)
        return Path(opened.download_artifacts(run_id, place, str(target)))
    except MlflowException as error:
        raise MissingFile(f"run {shown(run_id)} can't be read from {shown_uri()}: {_why(error)}") from error


def log_parameters(run_id: str, parameters: dict[str, Any]) -> None:
    """Record plain values as the run's parameters, cut to the 250 characters that every MLflow server takes."""
    from mlflow.entities import Param

    client().log_batch(run_id, params=[Param(key, redacted(str(value))[:250]) for key, value in parameters.items()])


def log_figures(run_id: str, points: Iterable[tuple[str, float, int]]) -> None:
    """Record figures as (name, value, step), in as few requests as a server takes."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, step) for name, value, step in points]
    for start in range(0, len(metrics), _BATCH):
        client().log_batch(run_id, metrics=metrics[start : start + _BATCH])
