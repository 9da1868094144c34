"""Statistics over few episodes and seeds: bootstrap confidence interval and interquartile mean."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

_RESAMPLES = 5000
_MIN_SAMPLES = 2


def iqm(values: Sequence[float]) -> float:
    """Interquartile mean: the mean of what is left when the lowest and highest quarter are dropped."""
    return float(stats.trim_mean(np.asarray(values, dtype=float), 0.25))


def ci95(values: Sequence[float], statistic: str = "mean") -> tuple[float, float] | None:
    """Bootstrap 95 % confidence interval of the mean or the `iqm`, the same at every call.

    Returns:
        (low, high), or None for fewer than two values, of which no interval is known.
    """
    sample = np.asarray(values, dtype=float)
    if sample.size < _MIN_SAMPLES:
        return None
    if np.ptp(sample) == 0.0:
        return float(sample[0]), float(sample[0])

    def trimmed(data: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(stats.trim_mean(data, 0.25, axis=axis))

    interval = stats.bootstrap(
        (sample,),
        np.mean if statistic == "mean" else trimmed,
        n_resamples=_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def band(curves: Sequence[Sequence[tuple[int, float]]], points: int = 100) -> tuple[np.ndarray, ...]:
    """Learning curves of several seeds as one: steps, interquartile mean, and its bootstrap 95 % interval, each `[T]`.

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
    if len(values) < _MIN_SAMPLES:
        return steps, middle, middle, middle
    drawn = np.random.default_rng(0).integers(0, len(values), (1000, len(values)))
    low, high = np.percentile(stats.trim_mean(values[drawn], 0.25, axis=1), [2.5, 97.5], axis=0)
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
