"""Agents over several tasks: scores, how far from a success, how often one beats another; and two on the same starts.

Definitions of Agarwal et al. 2021 (arXiv 2108.13264), with intervals for as few training seeds as robots allow. A score
is the mean return of one training seed on one task, divided by the task's return for a success; a run is one such seed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mwl.rollouts.statistics import ci95

Array = NDArray[np.float64]
Interval = tuple[float, float] | None
Scores = Mapping[str, Sequence[float]]
"""Scores of an agent's training seeds, by task."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % confidence interval; None where it is not known."""

    value: float
    ci95: Interval


def mean_score(scores: Scores) -> Estimate:
    """Interquartile mean of the scores of all runs."""
    return _estimate([scores], lambda drawn: stats.trim_mean(np.concatenate(drawn[0], axis=-1), 0.25, axis=-1))


def optimality_gap(scores: Scores) -> Estimate:
    """By how much the runs miss a success on average: mean of 1 - score, where a score above 1 counts as 1."""
    return _estimate([scores], lambda drawn: (1 - np.minimum(1, np.concatenate(drawn[0], axis=-1))).mean(axis=-1))


def improvement(ours: Scores, others: Scores) -> Estimate | None:
    """Probability that a run of ours beats one of the others on a task drawn at random; ties count half.

    Returns:
        None where no task is common to both.
    """
    common = [task for task in ours if task in others]
    if not common:
        return None
    both = [{task: agent[task] for task in common} for agent in (ours, others)]
    found = _estimate(both, lambda drawn: np.mean([_beats(*pair) for pair in zip(*drawn, strict=True)], axis=0))
    if found.ci95 is None:
        return found
    return Estimate(found.value, (max(0.0, found.ci95[0]), min(1.0, found.ci95[1])))


def profile(scores: Scores, levels: Sequence[float]) -> Array:
    """Performance profile: share of the runs that reach each level, `[len(levels)]`; every task counts alike."""
    reached = [(np.asarray(runs)[:, None] >= np.asarray(levels)).mean(axis=0) for runs in scores.values()]
    return np.asarray(np.mean(reached, axis=0))


def difference(ours: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> Estimate:
    """By how much our episodes return more than others that began in the same starts.

    Args:
        ours, others: returns of the episodes of each training seed, in the same order of starts.

    Raises:
        ValueError: they are not of the same numbers of seeds and episodes.
    """
    apart = [[mine - theirs for mine, theirs in zip(*pair, strict=True)] for pair in zip(ours, others, strict=True)]
    return Estimate(float(np.mean([value for seed in apart for value in seed])), ci95(apart))


def _beats(mine: Array, theirs: Array) -> Array:
    """Share `[B]` of the pairs of runs `[B, U]`, `[B, V]` that are won."""
    return np.asarray((np.sign(mine[:, :, None] - theirs[:, None]) / 2 + 0.5).mean(axis=(1, 2)))


def _estimate(agents: Sequence[Scores], statistic: Callable[[list[list[Array]]], Array]) -> Estimate:
    """A statistic `[B]` of agents' runs by task, each `[B, U]`, with its interval.

    Runs are drawn with replacement within every task (a stratified bootstrap). As percentiles of so few runs cover too
    little (`mwl.rollouts.statistics.ci95` says why), the interval is the estimate +- t sqrt(R / (R - T)) s, s the
    standard deviation over the draws, R runs in T strata (tasks of an agent), t Student's quantile for R - T degrees of
    freedom. It is not known where a task has one run alone.
    """
    groups = [[np.asarray(runs, dtype=float) for runs in scores.values()] for scores in agents]
    sizes = [runs.size for agent in groups for runs in agent]
    value = float(statistic([[runs[None] for runs in agent] for agent in groups])[0])
    if min(sizes) < 2:
        return Estimate(value, None)
    generator = np.random.default_rng(0)
    drawn = [[generator.choice(runs, (RESAMPLES, runs.size)) for runs in agent] for agent in groups]
    freedom = sum(sizes) - len(sizes)
    half = float(stats.t.ppf(0.975, freedom) * np.sqrt(sum(sizes) / freedom) * statistic(drawn).std())
    return Estimate(value, (value - half, value + half))
