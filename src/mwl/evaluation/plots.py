"""The figures of a comparison: curves and returns by task, with what others published; agents over tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

mpl.use("agg")
import matplotlib.pyplot as plt  # after the backend is chosen

from mwl.evaluation.curves import AXES, MEASURES, RETURN, bands, measure_of
from mwl.evaluation.published import beside, learned
from mwl.evaluation.table import short
from mwl.rollouts.across_tasks import Scores, profile
from mwl.rollouts.statistics import ci95

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType

    from mwl.evaluation.curves import Histories
    from mwl.evaluation.record import Record

_FEW = 10  # agents that the default colours tell apart
_BAR = 0.28  # inches of height per agent


def plot_comparison(records: "Sequence[Record]", histories: "Histories", path: Path) -> None:
    """Write the figure as PNG; the seeds of an agent are one curve with a band, and one bar."""
    tasks = sorted({record.task for record in records})
    agents = sorted({record.row.label for record in records})
    colours = plt.get_cmap("tab10").colors if len(agents) <= _FEW else plt.get_cmap("tab20").colors  # type: ignore[attr-defined]
    colour = {agent: colours[i % len(colours)] for i, agent in enumerate(agents)}
    bars = 1 + _BAR * max(len({r.row for r in records if r.task == task}) for task in tasks)
    figure, axes = plt.subplots(
        3,
        len(tasks),
        figsize=(5.5 * len(tasks), 8 + bars),
        height_ratios=[4, 4, bars],
        squeeze=False,
        layout="constrained",
    )
    for column, task in enumerate(tasks):
        for line, against in enumerate(AXES):
            _curves(axes[line, column], task, histories, against, colour)
        axes[0, column].set_title(task)
        _returns(axes[2, column], [record for record in records if record.task == task], colour)
        _others(axes[2, column], task)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _curves(axis: "Axes", task: str, histories: "Histories", against: str, colour: "dict[str, ColorType]") -> None:
    measure = measure_of(task, histories)
    found = bands(task, histories, measure, against)
    if not found:  # nothing was trained online on this task
        axis.axis("off")
        return
    for agent, (places, middle, low, high) in found.items():
        axis.plot(places, middle, color=colour[agent], label=agent)
        axis.fill_between(places, low, high, color=colour[agent], alpha=0.2, linewidth=0)
    if measure == RETURN and against == "steps":
        _learned_by_others(axis, task)
    axis.set_xlabel(AXES[against])
    axis.set_ylabel(f"{MEASURES[measure]}\n(IQM of the seeds, 95 % CI)")
    axis.locator_params(axis="x", nbins=5)
    axis.grid(alpha=0.3)
    if len(axis.lines) <= _FEW:  # the bars below name the colours too
        axis.legend(loc="best", fontsize="small")


def _learned_by_others(axis: "Axes", task: str) -> None:
    """Published returns behind the curves, up to the first of them beyond our steps."""
    ours = axis.get_xlim()[1]
    for style, (method, entries) in zip(("--", ":", "-."), learned(task).items(), strict=False):
        count = 1 + sum(entry.steps < ours for entry in entries)
        steps, means, sds = np.array([(entry.steps, entry.mean, entry.sd) for entry in entries[:count]]).T
        axis.errorbar(
            steps,
            means,
            sds,
            color="grey",
            linestyle=style,
            marker=".",
            alpha=0.6,
            label=f"{method} (published)",
            zorder=1,
        )


def _returns(axis: "Axes", records: "Sequence[Record]", colour: "dict[str, ColorType]") -> None:
    agents = sorted({record.row.label for record in records}, reverse=True)
    for place, agent in enumerate(agents):
        seeds = [record.returns for record in records if record.row.label == agent]
        returns = [value for seed in seeds for value in seed]
        mean = sum(returns) / len(returns)
        axis.barh(place, mean, color=colour[agent], alpha=0.6)
        if interval := ci95(seeds):
            axis.hlines(place, *interval, color="black", linewidth=2)
        axis.plot(returns, [place] * len(returns), ".", color="black", alpha=0.4, markersize=4)
    axis.set_yticks(range(len(agents)), agents, fontsize="small")
    axis.set_xlabel("return (mean and its 95 % CI, over seeds; dots: episodes)")
    axis.grid(alpha=0.3, axis="x")


def _others(axis: "Axes", task: str) -> None:
    """Dotted lines where what others published stands, with their standard deviation over seeds."""
    for entry in beside(task):
        axis.axvline(entry.mean, color="grey", linestyle=":", linewidth=1)
        axis.axvspan(entry.mean - entry.sd, entry.mean + entry.sd, color="grey", alpha=0.08, linewidth=0)
        label = f"{entry.method} at {short(entry.steps)}"
        axis.text(
            entry.mean,
            0.98,
            label,
            rotation=90,
            fontsize=6,
            color="0.2",
            va="top",
            transform=axis.get_xaxis_transform(),
        )


def plot_profile(scores: Mapping[str, Scores], path: Path) -> None:
    """Write the performance profile of agents over tasks as PNG: share of runs that reach a share of a success.

    Args:
        scores: of each agent, by task.
        path: of the file.
    """
    highest = max(1.2, *(max(runs) for agent in scores.values() for runs in agent.values()))
    levels = np.linspace(0.0, highest, 200)
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for agent in sorted(scores):
        count = len(scores[agent])
        label = f"{agent} ({count} task{'s' if count > 1 else ''})"
        axis.step(levels, profile(scores[agent], levels.tolist()), where="post", label=label)
    axis.axvline(1.0, color="black", linewidth=0.8)
    axis.set_xlabel("return / the task's return for a success")
    axis.set_ylabel("share of runs that reach it")
    axis.set_ylim(-0.02, 1.02)
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)
