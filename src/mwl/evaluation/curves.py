"""Learning curves: several training seeds as one, and when a curve has converged."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from mwl.rollouts.statistics import ci95, iqm  # noqa: F401  # both were had from here before


def band(curves: Sequence[Sequence[tuple[int, float]]], points: int = 100) -> tuple[np.ndarray, ...]:
    """Learning curves of several seeds as one: steps, interquartile mean, and its 95 % interval (`ci95`), each `[T]`.

    Args:
        curves: (environment steps, value) in order, one sequence per seed; where they overlap is where the band lies.
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
