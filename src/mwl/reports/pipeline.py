"""What a pipeline left, stage by stage, as `report.html` in its folder and on its run in MLflow."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

import yaml

from mwl._extensions import import_files
from mwl._places import find
from mwl.core.errors import MissingFile, MwlError
from mwl.core.files import entries, read_text, shown, write_text
from mwl.core.terminal import tell
from mwl.evaluation import run, table
from mwl.evaluation.compare import (
    PLOT_FILE,
    PROFILE_FILE,
    TABLE_FILE,
    Comparison,
    compared,
    if_measured,
    write_comparison,
)
from mwl.evaluation.record import Record
from mwl.experiments import tracking
from mwl.instructions import follow
from mwl.pipeline import worker
from mwl.pipeline.config import KINDS, EvaluateStage, Pipeline, Stage, load, plan_of
from mwl.pipeline.runner import PARENT, STATE
from mwl.reports.page import Fact, Film, Page, commit
from mwl.reports.page import Stage as Shown
from mwl.training.callbacks import CONFIG
from mwl.training.stage_cli import WORK, work_folder

if TYPE_CHECKING:
    from mlflow.entities import Run

FILE = "report.html"
FILMS = {follow.VIDEO: follow.SCENE, run.VIDEO: run.SCENE}
_NAME = re.compile(r"[^\w\-. :/]")  # what MLflow allows no metric to be called


class Left(NamedTuple):
    """What a pipeline has left so far."""

    pipeline: Pipeline
    path: Path
    stages: dict[str, Stage]
    states: dict[str, tuple[str, str]]
    """Of each stage `finished`, `failed`, `unfinished` or `not run`, and what there is to say of it."""
    comparison: Comparison
    runs: "dict[str, Run]"
    """The newest run of each stage in MLflow."""
    parent: str | None
    trouble: str | None
    """Why MLflow can't be asked."""


def write_report(path: Path, overrides: Sequence[str] = (), failure: str | None = None) -> Path:
    """Write `report.html` of a pipeline, from what its stages left so far, and describe its run in MLflow.

    Args:
        path: pipeline YAML.
        overrides: `a.b=value` assignments, those of the run.
        failure: why the run ended early.

    Raises:
        MissingFile: nothing was run yet.
        ConfigError: the pipeline is misconfigured.
        CorruptFile: what a stage left is damaged.
    """
    left = _left(path, overrides)
    file = left.pipeline.folder / FILE
    write_text(file, _page(left, failure).html())
    if left.parent is not None:
        try:
            _describe(left, left.parent, file, failure)
        except MwlError as error:
            tell(f"{error}; the run in MLflow is without its description, the report lies in {file}")
    return file


def _left(path: Path, overrides: Sequence[str]) -> Left:
    pipeline, stages = load(path, overrides)
    import_files(pipeline.imports)
    folder = pipeline.folder
    if not (folder / WORK).is_dir():
        raise MissingFile(f"{shown(folder)}: nothing there to report; `mwl run {path}` carries the pipeline out")
    states = {name: _state(folder, name) for name in stages}
    looks = [name for name, stage in stages.items() if isinstance(stage, EvaluateStage)]
    records = [Record.read(folder / name) for name in looks if states[name][0] == "finished"]
    grids, trouble = plan_of(stages), tracking.trouble()
    parent = folder / WORK / PARENT
    known = tracking.known_run(read_text(parent).strip()) if trouble is None and parent.is_file() else None
    return Left(
        pipeline=pipeline,
        path=path,
        stages=stages,
        states=states,
        comparison=compared(records, if_measured(grids.against, records), grids.cells, curves=trouble is None),
        runs={} if known is None else _runs(pipeline.experiment or pipeline.name, known),
        parent=known,
        trouble=trouble,
    )


def _state(folder: Path, name: str) -> tuple[str, str]:
    """How far a stage is, by what the runner wrote down."""
    work = work_folder(folder / name)
    state = entries(work / STATE)
    if "digest" in state and (folder / name).is_dir():
        return "finished", ""
    if (work / worker.ERROR).is_file():
        return "failed", read_text(work / worker.ERROR)
    if "key" in state:
        share = entries(work / worker.PROGRESS).get("fraction")
        return "unfinished", f"at {share:.0%}" if isinstance(share, float) else ""
    return "not run", ""


def _runs(experiment: str, parent: str) -> "dict[str, Run]":
    children = tracking.find_runs(experiment, f"tags.`{tracking.PARENT_TAG}` = '{parent}'")  # the newest first
    found: dict[str, Run] = {}
    for child in children:
        if tracking.SUPERSEDED_TAG not in child.data.tags:
            found.setdefault(child.data.tags.get(tracking.STAGE_TAG, ""), child)
    return found


def _page(left: Left, failure: str | None) -> Page:
    facts = [Fact("stages", _counted(left))]
    if left.parent is not None:
        facts.append(Fact("MLflow", "this pipeline's run", tracking.run_link(left.parent)))
        facts.append(Fact("its links open while this runs:", tracking.ui_command()))
    elif left.trouble is not None:
        facts.append(Fact("MLflow", f"not asked: {left.trouble}"))
    return Page(
        title=f"Pipeline {left.pipeline.name}",
        comparison=left.comparison,
        intro=[_purpose(left.path)],
        facts=facts,
        failure=failure,
        films=_films(left.pipeline.folder, left.stages),
        stages=[_shown(left, name) for name in left.stages],
        links=left.trouble is None,
    )


def _counted(left: Left) -> str:
    """How many stages are in which state."""
    states = [state for state, _ in left.states.values()]
    counts = [(states.count(state), state) for state in ("finished", "failed", "unfinished", "not run")]
    return ", ".join(f"{count} {state}" for count, state in counts if count)


def _purpose(path: Path) -> str:
    """What the file of the pipeline says of itself at its beginning."""
    said = []
    for line in read_text(find(path)).splitlines():
        if not line.startswith("#"):
            break
        said.append(line.removeprefix("#").strip())
    return " ".join(said)


def _shown(left: Left, name: str) -> Shown:
    folder, stage = left.pipeline.folder, left.stages[name]
    work = work_folder(folder / name)
    state, why = left.states[name]
    done = left.runs.get(name)
    written = {key: value for key, value in asdict(stage).items() if value is not None}
    configuration = [("as written", yaml.safe_dump(written, sort_keys=False, allow_unicode=True))]
    if (work / CONFIG).is_file():
        configuration.append(("complete", read_text(work / CONFIG)))
    return Shown(
        name=name,
        kind=_kind(stage),
        state=state,
        why=why,
        configuration=configuration,
        time="-" if done is None or done.info.end_time is None else _time(done.info.end_time - done.info.start_time),
        run=None if done is None else tracking.run_link(done.info.run_id),
        log=quote(f"{WORK}/{name}/{worker.LOG}") if (work / worker.LOG).is_file() else None,
    )


def _kind(stage: Stage) -> str:
    return next(kind for kind, cls in KINDS.items() if type(stage) is cls)


def _time(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.0f} s" if milliseconds < 120_000 else f"{milliseconds / 60_000:.0f} min"


def _films(folder: Path, stages: dict[str, Stage]) -> list[Film]:
    """Films with their scenes, then plots, of every stage, by their place beside the page."""
    films, plots = [], []
    for name in stages:
        for file, scene in FILMS.items():
            looked = quote(f"{name}/{scene}") if (folder / name / scene).is_file() else None
            if (folder / name / file).is_file():
                films.append(Film(name, "film", quote(f"{name}/{file}"), looked))
            elif looked is not None:
                films.append(Film(name, "scene", scene=looked))
        for file in (PLOT_FILE, PROFILE_FILE):
            if (folder / name / file).is_file():
                plots.append(Film(f"{name}: {file}", "picture", quote(f"{name}/{file}")))
    return films + plots


def _describe(left: Left, parent: str, file: Path, failure: str | None) -> None:
    """Put page, tables, plots, a film, the figures and a description on the pipeline's run."""
    store = tracking.client()
    figures: list[tuple[str, float, int]] = []
    for row in left.comparison.rows:
        if row.return_iqm is not None:
            name = _NAME.sub("_", f"return/{row.task}/{row.label}")
            low, high = row.return_ci95 or (None, None)
            ends = {"": row.return_iqm, "/low": low, "/high": high}
            figures += [(f"{name}{end}", value, 0) for end, value in ends.items() if value is not None]
    films = [film.link for film in _films(left.pipeline.folder, left.stages) if film.kind == "film" and film.link]
    films = sorted(films, key=lambda link: not link.endswith(follow.VIDEO))  # that of an instruction, if there is one
    with tracking.telling(), tempfile.TemporaryDirectory() as scratch:
        linked = {"the report": FILE}
        store.log_artifact(parent, str(file))
        if left.comparison.records:
            write_comparison(left.comparison, Path(scratch))
            store.log_artifacts(parent, scratch, "comparison")
            linked |= {"the plots": f"comparison/{PLOT_FILE}", "the table": f"comparison/{TABLE_FILE}"}
        if films:
            film = left.pipeline.folder / unquote(films[0])
            store.log_artifact(parent, str(film), "videos")
            linked["a film"] = f"videos/{film.name}"
        tracking.log_figures(parent, figures)
        shown_at = store.get_run(parent)
        links = ", ".join(f"[{name}]({tracking.page_of(shown_at, artifact)})" for name, artifact in linked.items())
        tracking.described(parent, _description(left, links, failure))


def _description(left: Left, links: str, failure: str | None) -> str:
    """What the pipeline does, what came out and how far each stage is, in Markdown."""
    at = commit()
    lines = [tracking.in_markdown(_purpose(left.path)), ""]
    if failure is not None:
        lines += [f"**Not finished.** {tracking.in_markdown(failure)}", ""]
    made = [f"Stages: {_counted(left)}", *([f"commit {at}"] if at else []), links]
    lines += [f"{'; '.join(made)}.", ""]
    if left.comparison.records:
        cells = [table.cells(row) for row in left.comparison.rows if row.status == "measured"]
        lines += [table.lines(table.HEADER, [[tracking.in_markdown(cell) for cell in line] for line in cells])]
    lines += ["**Stages**", "", "| stage | kind | state |", "| --- | --- | --- |"]
    for name, stage in left.stages.items():
        named = tracking.link_to(left.runs[name]) if name in left.runs else tracking.in_markdown(name)
        lines.append(f"| {named} | {_kind(stage)} | {left.states[name][0]} |")
    return "\n".join(lines) + "\n"
