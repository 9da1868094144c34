"""Learning curves: against steps and wall time, several training seeds as one, and when a curve has converged."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from mwl.evaluation.record import RowKey
from mwl.experiments import tracking
from mwl.rollouts.statistics import ci95, iqm  # noqa: F401  # both were had from here before

REWARD, RETURN = "train/reward", "train/return"
MEASURES = {RETURN: "return of episodes in training", REWARD: "reward per step in training"}
AXES = {"steps": "environment steps", "minutes": "minutes of training"}
_PAUSE_S, _PAUSE = 60.0, 10.0  # two points apart by more, and by more than so many times the usual, have a stop between
_FEWEST = 3  # different values that make a curve: episodes may be too few in a short training


class Point(NamedTuple):
    """A value of a learning curve, where it was measured."""

    steps: int
    minutes: float
    """Of wall time since the training began, stops left out."""
    value: float


Histories = Mapping[RowKey, Sequence[Mapping[str, Sequence[Point]]]]
"""By row, of each fitted agent the points of each of `MEASURES` that its training logged."""
Band = tuple[np.ndarray, ...]


def history(run_id: str) -> dict[str, list[Point]]:
    """What a training logged.

    Raises:
        StoreFailed: no such run, or the store can't be read.
    """
    found = {}
    for measure in MEASURES:
        points = tracking.timed_history(run_id, measure)
        seconds = _without_stops([point[2] for point in points])
        if points:
            found[measure] = [Point(p[0], at / 60, p[1]) for p, at in zip(points, seconds, strict=True)]
    return found


def _without_stops(seconds: Sequence[float]) -> list[float]:
    """The times, those after a stop moved up to where they were without."""
    apart = np.diff(seconds)
    usual = float(np.median(apart)) if len(apart) else 0.0
    apart[(apart > max(_PAUSE_S, _PAUSE * usual)) | (apart < 0)] = usual
    return [*seconds[:1], *(seconds[0] + np.cumsum(apart)).tolist()] if len(seconds) else []


def measure_of(task: str, histories: Histories) -> str:
    """What the curves of a task show: returns, or reward per step where an agent ended too few episodes."""
    of_task = [each for row, found in histories.items() if row.task == task for each in found]
    enough = all(len({point.value for point in each.get(RETURN, ())}) >= _FEWEST for each in of_task)
    return RETURN if enough else REWARD


def bands(task: str, histories: Histories, measure: str, axis: str) -> dict[str, Band]:
    """The curves of a task, by the label of the row, as `band`.

    Args:
        measure: of `MEASURES`.
        axis: of `AXES`.
    """
    found = {}
    for row in sorted(histories, key=lambda row: row.order):
        seeds = [each[measure] for each in histories[row] if len(each.get(measure, ())) > 1]
        if row.task == task and seeds:
            found[row.label] = band([[(getattr(point, axis), point.value) for point in seed] for seed in seeds])
    return found


def band(curves: Sequence[Sequence[tuple[float, float]]], points: int = 100) -> Band:
    """Learning curves of several seeds as one: steps, interquartile mean, and its 95 % interval (`ci95`), each `[T]`.

    Args:
        curves: (environment steps or minutes, value) in order, one sequence per seed; where they overlap is where the
            band lies.
        points: T at most.

    Returns:
        Steps, middle, low, high; low and high are the middle where there is only one seed.
    """
    begin, end = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    steps = np.linspace(begin, max(begin, end), points)
    values = np.stack([np.interp(steps, *np.array(curve, dtype=float).T) for curve in curves])
    middle = np.asarray(stats.trim_mean(values, 0.25, axis=0))
    intervals = [ci95(column.tolist(), "iqm") for column in values.T]
    low, high = np.array([(at, at) if known is None else known for at, known in zip(middle, intervals, strict=True)]).T
    return steps, middle, low, high


def reach_step(points: Sequence[Point], target: float, window: int = 5) -> int | None:
    """Environment steps after which a curve of returns first reaches a target, on the mean of some episodes in a row.

    Args:
        points: of `RETURN`, in order; a value that is logged again while no episode ended counts once.
        target: return to reach.
        window: episodes averaged, as one alone may be luck.

    Returns:
        None where it never does, or fewer episodes ended.
    """
    ended = [point for index, point in enumerate(points) if index == 0 or point.value != points[index - 1].value]
    if len(ended) < window:
        return None
    smooth = np.convolve([point.value for point in ended], np.ones(window) / window, mode="valid")
    first = np.flatnonzero(smooth >= target)
    return ended[int(first[0]) + window - 1].steps if first.size else None


def convergence_step(points: Sequence[tuple[int, float]], share: float = 0.95, window: int = 5) -> int | None:
    """Environment steps after which a learning curve stays within `share` of its final level.

    Args:
        points: (environment steps, reward per step), in order.
        share: fraction of the final level that counts as converged.
        window: points averaged, as single rounds scatter.

    Returns:
        None for a curve of fewer than `window` points or one that ends at or below zero.
    """
    if len(points) < window:
        return None
    values = np.array([value for _, value in points], dtype=float)
    smooth = np.convolve(values, np.ones(window) / window, mode="valid")
    if smooth[-1] <= 0.0:
        return None
    below = np.flatnonzero(smooth < share * smooth[-1])
    first = 0 if below.size == 0 else int(below[-1]) + 1
    return int(points[first + window - 1][0])
