"""What a pipeline says when it is done: the table, and where film, plot and MLflow are."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from mwl.core.errors import MwlError, StageFailed
from mwl.core.terminal import plain, tell
from mwl.evaluation import compare, run
from mwl.evaluation.compare import rows_of
from mwl.evaluation.table import comparison_table, drawn
from mwl.experiments import tracking
from mwl.instructions import follow
from mwl.pipeline import runner
from mwl.pipeline.config import plan_of
from mwl.pipeline.estimate import duration
from mwl.pipeline.runner import PARENT, Result
from mwl.reports.pipeline import FILE, write_report
from mwl.training.stage_cli import WORK


def run_and_report(pipeline: Path, assignments: Sequence[str], only: Sequence[str] = ()) -> Result:
    """Carry out a pipeline, and write its page if anything changed, also when a stage failed."""
    try:
        result = runner.run_pipeline(pipeline, assignments, only=only)
    except StageFailed as error:
        _write(pipeline, assignments, str(error))
        raise
    if result.ran or not (result.folder / FILE).is_file():
        _write(pipeline, assignments)
    return result


def print_estimate(pipeline: Path, assignments: Sequence[str], only: Sequence[str] = ()) -> None:
    """Print the stages of a pipeline, what is left of each and what that takes; nothing is started or written."""
    read, stages, plans = runner.planned(pipeline, assignments, only)
    found = runner.estimate(read, plans)
    rows = [
        (
            line.stages,
            f"{line.left:.3g} of {line.count}",
            "-" if line.seconds is None else duration(line.seconds),
            "-" if not line.memory else f"{line.memory / 1e9:.1f} GB",
            line.rests_on,
        )
        for line in found.lines
    ]
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(drawn([("stage", "left", "takes", "memory", "by"), *rows], found.text))
    for row in rows_of([], {}, cells=plan_of(stages).cells):
        if row.why:
            console.print(plain(f"not run: {row.agent} on {row.task}, as {row.why}"), highlight=False, soft_wrap=True)


def _write(pipeline: Path, assignments: Sequence[str], failure: str | None = None) -> None:
    try:
        write_report(pipeline, assignments, failure)
    except MwlError as error:  # the results are there, and what ended the run says more
        tell(f"{error}; the report is not written")


def print_report(result: Result, console: Console | None = None) -> None:
    """Print the comparison, where films, plot and the run in MLflow are, and the time taken."""
    console = console or Console(width=None if sys.stdout.isatty() else 120)
    folders = sorted(path for path in result.folder.iterdir() if path.is_dir() and path.name != WORK)
    for folder in folders:
        if (folder / compare.JSON_FILE).is_file():
            console.print(comparison_table(*compare.read_comparison(folder)))
    shown = {
        "plot": compare.PLOT_FILE,
        "film of the instruction": follow.VIDEO,
        "scene of the instruction": follow.SCENE,
        "film": run.VIDEO,
        "scene": run.SCENE,
    }
    for title, name in shown.items():
        for folder in folders:
            if (folder / name).is_file():
                console.print(plain(f"{title}: {folder / name}"), highlight=False, soft_wrap=True)
    if (result.folder / FILE).is_file():
        console.print(plain(f"report: {result.folder / FILE}"), highlight=False, soft_wrap=True)
    console.print(plain(f"MLflow: {tracking.ui_command()}"), highlight=False, soft_wrap=True)
    parent = result.folder / WORK / PARENT
    if parent.is_file():
        with suppress(MwlError):  # a store that is gone; the results lie in the folder
            link = tracking.run_link(parent.read_text(encoding="utf-8").strip())
            console.print(plain(f"this run: {link}"), highlight=False, soft_wrap=True)
    ran = f"{len(result.ran)} stages run, {len(result.skipped)} unchanged and skipped"
    console.print(f"{ran}, {result.seconds / 60:.1f} min", highlight=False)
