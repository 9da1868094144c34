"""Figures of others to read beside our own: `data/published`, whose README says where each is from."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mwl._places import find
from mwl.core.errors import MissingFile
from mwl.core.files import read_text

FOLDER = Path("data/published")


@dataclass(frozen=True)
class Published:
    """Return of a method on a task of HumanoidBench, H1 without hands, or elsewhere, as its public files say."""

    task: str
    method: str
    steps: int
    """Environment steps."""
    mean: float
    sd: float
    """Over training seeds; on the pendulum over the episodes of one."""
    seeds: int
    source: str

    @property
    def label(self) -> str:
        """As tables name it."""
        return f"{self.method} (published)"


@dataclass(frozen=True)
class Printed:
    """One cell of Table 1 of the MetaWorld paper (arXiv 2601.17507)."""

    episode_return: float
    convergence_steps: int


@cache
def published(file: str = "humanoidbench.csv") -> tuple[Published, ...]:
    """All returns of a file of the folder; none where that is not."""
    return tuple(
        Published(
            task=row["task"],
            method=row["method"],
            steps=int(row["steps"]),
            mean=float(row["mean"]),
            sd=float(row["sd"]),
            seeds=int(row["seeds"]),
            source=row["source"],
        )
        for row in _rows(FOLDER / file)
    )


def best(task: str, steps: int) -> Published | None:
    """The highest mean return on a task after so many steps; None where nobody published one."""
    found = (entry for entry in published() if (entry.task, entry.steps) == (task, steps))
    return max(found, key=lambda entry: entry.mean, default=None)


def beside(task: str) -> list[Published]:
    """What a table of a task shows: the best method at 100k and at 1M steps, and TD-MPC2 at 1M."""
    own = [e for e in published() if (e.task, e.method, e.steps) == (task, "TD-MPC2", 10**6)]
    return list(dict.fromkeys(e for e in (best(task, 10**5), best(task, 10**6), *own) if e is not None))


def learned(task: str) -> dict[str, list[Published]]:
    """What methods returned after how many steps, of those that `beside` names; the order is theirs there."""
    methods = list(dict.fromkeys(entry.method for entry in beside(task)))
    of_task = sorted((entry for entry in published() if entry.task == task), key=lambda entry: entry.steps)
    return {method: [entry for entry in of_task if entry.method == method] for method in methods}


@cache
def printed() -> dict[tuple[str, str], Printed]:
    """The paper's figures by task and agent; none where the folder is not."""
    return {
        (row["task"], row["agent"]): Printed(float(row["episode_return"]), int(row["convergence_steps"]))
        for row in _rows(FOLDER / "metaworld.csv")
    }


def _rows(file: Path) -> Iterator[dict[str, str]]:
    try:
        text = read_text(find(file))
    except MissingFile:
        return
    yield from csv.DictReader(text.splitlines())
