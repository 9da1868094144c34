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
