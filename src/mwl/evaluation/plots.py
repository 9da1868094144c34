"""The one figure of a comparison: learning curves above, final returns below, one column per task."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt  # after the backend is chosen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mwl.evaluation.compare import Curves
    from mwl.evaluation.record import Record

_COLOURS = plt.rcParams["axes.prop_cycle"].by_key()["color"]


def plot_comparison(records: "Sequence[Record]", curves: "Curves", path: Path) -> None:
    """Write the figure as PNG."""
    tasks = sorted({record.task for record in records})
    agents = sorted({record.agent for record in records})
    colour = {agent: _COLOURS[i % len(_COLOURS)] for i, agent in enumerate(agents)}
    figure, axes = plt.subplots(2, len(tasks), figsize=(5 * len(tasks), 7), squeeze=False, layout="constrained")
    for column, task in enumerate(tasks):
        _curves(axes[0, column], task, curves, colour)
        _returns(axes[1, column], [record for record in records if record.task == task], colour)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _curves(axis: "Axes", task: str, curves: "Curves", colour: dict[str, str]) -> None:
    axis.set_title(task)
    axis.set_xlabel("environment steps")
    axis.set_ylabel("reward per step in training")
    for (owner, agent), lines in sorted(curves.items()):
        if owner != task:
            continue
        for i, points in enumerate(lines):
            steps, values = zip(*points, strict=True)
            axis.plot(steps, values, color=colour.get(agent), alpha=0.8, label=agent if i == 0 else None)
    if axis.lines:
        axis.legend(loc="best")
        axis.grid(alpha=0.3)
    else:  # nothing was trained online on this task
        axis.axis("off")
        axis.set_title(task)


def _returns(axis: "Axes", records: "Sequence[Record]", colour: dict[str, str]) -> None:
    for place, record in enumerate(sorted(records, key=lambda record: record.agent)):
        axis.bar(place, record.return_mean, color=colour[record.agent], alpha=0.6)
        if record.return_ci95:
            low, high = record.return_ci95
            middle = (low + high) / 2
            axis.errorbar(place, middle, yerr=(high - low) / 2, color="black", capsize=4, linewidth=1)
        axis.plot([place] * len(record.returns), record.returns, ".", color="black", alpha=0.4, markersize=4)
    axis.set_xticks(range(len(records)), [record.agent for record in sorted(records, key=lambda record: record.agent)])
    axis.tick_params(axis="x", rotation=20)
    axis.set_ylabel("return (mean, 95 % CI, episodes)")
    axis.grid(alpha=0.3, axis="y")
