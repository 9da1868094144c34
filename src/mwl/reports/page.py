"""A comparison as one static page: tables, curves to look into, links to the runs; nothing in it is fetched."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from mwl import __version__
from mwl._places import SHIPPED
from mwl.core.terminal import printable, redacted
from mwl.evaluation import table
from mwl.evaluation.compare import Comparison, scores_of
from mwl.evaluation.curves import AXES, MEASURES, RETURN, bands, measure_of
from mwl.evaluation.published import learned
from mwl.experiments import tracking
from mwl.rollouts.across_tasks import profile

_HERE = Path(__file__).parent
_COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f00", "#9467bd"]
_GREYS = ("#777777", "#999999", "#bbbbbb")
_LEVELS = 100


class Fact(NamedTuple):
    """What a reader is told below the title."""

    name: str
    text: str
    link: str | None = None


@dataclass(frozen=True)
class Table:
    """A table with a header, the first `names` columns of which say what a line is of."""

    title: str
    lines: Sequence[Sequence[str]]
    note: str
    names: int = 1


@dataclass(frozen=True)
class Film:
    """A film, a picture or a scene beside the page, with its address relative to it."""

    title: str
    kind: Literal["film", "picture", "scene"]
    link: str | None = None
    scene: str | None = None


@dataclass(frozen=True)
class Stage:
    """A stage of a pipeline, as the page shows it."""

    name: str
    kind: str
    state: str
    why: str
    configuration: list[tuple[str, str]]
    """Title and text of each form of it."""
    time: str = "-"
    run: str | None = None
    log: str | None = None


@dataclass(frozen=True)
class Page:
    """What stands on a page; sections without content are left out."""

    title: str
    comparison: Comparison | None
    intro: list[str] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    failure: str | None = None
    films: list[Film] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    links: bool = True
    """Whether the store can be asked where its runs are shown."""

    def html(self) -> str:
        """The page, without secrets and without what would act on a reader's screen."""
        compared = self.comparison if self.comparison is not None and self.comparison.records else None
        environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, trim_blocks=True)
        environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
        text = environment.get_template("page.html").render(
            title=self.title,
            intro=self.intro,
            facts=[*self.facts, *_made()],
            failure=self.failure,
            tables=[] if compared is None else _tables(compared),
            charts=[] if compared is None else charts(compared),
            evaluations=[] if compared is None else _evaluations(compared, self.links),
            films=self.films,
            stages=self.stages,
            script=Markup((_HERE / "charts.js").read_text(encoding="utf-8")),
        )
        return printable(redacted(text))


def _made() -> list[Fact]:
    """By which version the page was made, and when."""
    at = commit()
    version = f"{__version__}, commit {at}" if at else __version__
    return [Fact("mwl", version), Fact("written", f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}")]


@cache
def commit() -> str | None:
    """The commit of the sources, with a + where they differ from it; None where they are no checkout."""
    if not (SHIPPED / ".git").exists():
        return None
    asked = ["git", "-C", str(SHIPPED), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def _tables(comparison: Comparison) -> list[Table]:
    rows, against = comparison.rows, comparison.against
    found = [Table("Returns", table.wide_lines(rows), table.WIDE_NOTE)]
    if against is not None:
        found.append(Table(f"Against {against}", table.wide_lines(rows, against), table.AGAINST_NOTE))
    found.append(Table("Returns and steps", table.all_lines(rows), table.NOTE, 2))
    if over := table.over_tasks(comparison.agents):
        found.append(Table("Over tasks", over, table.OVER_TASKS_NOTE))
    return found


def _evaluations(comparison: Comparison, links: bool) -> list[dict[str, Any]]:
    """A line for each evaluation, with links to its run and to that of the fit."""

    def at(run_id: str | None) -> str | None:
        if run_id is None or not links or tracking.known_run(run_id) is None:
            return None
        return tracking.run_link(run_id)

    return [
        {
            "task": record.task,
            "agent": record.row.label,
            "episodes": record.episodes,
            "seed": record.seed,
            "found": f"{record.return_mean:.1f} ± {record.return_std:.1f}",
            "run": at(record.run_id),
            "fit": at(record.agent_run_id),
        }
        for record in sorted(comparison.records, key=lambda record: record.row.order)
    ]


def charts(comparison: Comparison) -> list[tuple[str, list[dict[str, Any]]]]:
    """Title and views of each chart: learning curves by task, in returns and rewards, against steps and minutes."""
    agents = sorted({record.row.label for record in comparison.records})
    colour = {agent: _COLOURS[i % len(_COLOURS)] for i, agent in enumerate(agents)}
    found = []
    for task in sorted({record.task for record in comparison.records}):
        first = measure_of(task, comparison.histories)
        measures = sorted(MEASURES, key=lambda measure: measure != first)
        views = [_view(task, comparison, measure, axis, colour) for measure in measures for axis in AXES]
        if views := [view for view in views if view is not None]:
            found.append((task, views))
    if any(len(agent.tasks) > 1 for agent in comparison.agents):
        found.append(("Performance profile over tasks", [_profile(comparison, colour)]))
    return found


def _view(task: str, comparison: Comparison, measure: str, axis: str, colour: dict[str, str]) -> dict[str, Any] | None:
    """One measure against one axis; None where nothing was logged."""
    curves = bands(task, comparison.histories, measure, axis)
    if not curves:
        return None
    series = [_series(agent, colour[agent], *band) for agent, band in curves.items()]
    until = None
    if measure == RETURN and axis == "steps":
        ours = max(line["x"][-1] for line in series)
        for grey, (method, entries) in zip(_GREYS, learned(task).items(), strict=False):
            steps, means, sds = np.array([(entry.steps, entry.mean, entry.sd) for entry in entries]).T
            line = _series(f"{method} (published)", grey, steps, means, means - sds, means + sds)
            series.insert(0, {**line, "dashed": True})
            beyond = [step for step in steps.tolist() if step >= ours]
            until = max(until or 0.0, beyond[0]) if beyond else until
    name = f"{MEASURES[measure]}, against {AXES[axis]}"
    return {"name": name, "x": AXES[axis], "y": MEASURES[measure], "until": until, "series": series}


def _profile(comparison: Comparison, colour: dict[str, str]) -> dict[str, Any]:
    scores = scores_of(comparison.records)
    highest = max(1.2, *(max(runs) for agent in scores.values() for runs in agent.values()))
    levels = np.linspace(0.0, highest, _LEVELS)
    series = [
        _series(agent, colour[agent], levels, profile(scores[agent], levels.tolist())) for agent in sorted(scores)
    ]
    titles = {"x": "return / the task's return for a success", "y": "share of runs that reach it"}
    return {"name": "profile", **titles, "until": None, "series": series}


def _series(name: str, colour: str, *lines: np.ndarray) -> dict[str, Any]:
    """A curve for the script: places, middle and, where known, low and high ends, to six digits."""
    named = zip(("x", "y", "low", "high"), lines, strict=False)
    return {"name": name, "colour": colour} | {key: [float(f"{v:.6g}") for v in line] for key, line in named}


def comparison_page(comparison: Comparison, experiment: str) -> str:
    """The page of an experiment's comparison."""
    return Page(f"Comparison: {experiment}", comparison, facts=[Fact("MLflow experiment", experiment)]).html()
