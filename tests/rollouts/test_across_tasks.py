"""Figures over several tasks at values worked out by hand, and how often their intervals hold the truth."""

import numpy as np
import pytest

from mwl.rollouts import across_tasks
from mwl.rollouts.across_tasks import difference, improvement, mean_score, optimality_gap, profile


def test_the_mean_score_drops_the_outer_quarters_of_all_runs() -> None:
    # of eight runs the two lowest (0, 0.1) and the two highest (2, 3) go: (0.4 + 0.5 + 0.6 + 0.7) / 4
    scores = {"a": [0.0, 0.4, 0.5, 3.0], "b": [0.1, 0.6, 0.7, 2.0]}
    assert mean_score(scores).value == pytest.approx(0.55)


def test_the_gap_counts_what_is_missing_and_nothing_beyond() -> None:
    # 1 - 0.5, 1 - 1 (of 1.5), 1 - (-0.5), 1 - 1: (0.5 + 0 + 1.5 + 0) / 4
    assert optimality_gap({"a": [0.5, 1.5], "b": [-0.5, 1.0]}).value == pytest.approx(0.5)


def test_improvement_is_the_share_of_pairs_won() -> None:
    # task a: 3 beats 1 and 2, 2 beats 1 and ties with 2: (1 + 1 + 1 + 0.5) / 4; task b: never. c is not common
    ours, others = {"a": [3.0, 2.0], "b": [0.0, 0.0], "c": [9.0]}, {"a": [1.0, 2.0], "b": [1.0, 1.0]}
    found = improvement(ours, others)
    assert found is not None
    assert found.value == pytest.approx((3.5 / 4 + 0) / 2)
    assert found.ci95 is not None
    assert 0.0 <= found.ci95[0] <= found.value <= found.ci95[1] <= 1.0
    assert improvement({"a": [1.0]}, {"b": [1.0]}) is None


def test_a_profile_falls_from_one_to_none() -> None:
    # of task a half reach 0.5, of b all; 1 is reached by none of a and half of b
    shares = profile({"a": [0.2, 0.6], "b": [0.9, 1.0]}, [0.0, 0.5, 1.0, 1.1])
    np.testing.assert_allclose(shares, [1.0, 0.75, 0.25, 0.0])


def test_one_run_of_a_task_leaves_the_interval_unknown() -> None:
    assert mean_score({"a": [0.5, 0.6], "b": [0.4]}).ci95 is None


@pytest.mark.parametrize("figure", [mean_score, optimality_gap])
def test_intervals_of_three_seeds_on_three_tasks_cover_the_truth(figure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores around 0.5 with standard deviation 0.1, so that none reaches 1: both truths are 0.5.

    Of 600 simulations 95 % are 570, with a standard deviation of 5.3: 0.9 %; three of them either side.
    """
    monkeypatch.setattr(across_tasks, "RESAMPLES", 200)
    generator = np.random.default_rng(5)
    hits = 0
    for _ in range(600):
        runs = generator.normal(0.5, 0.1, (3, 3))
        low, high = figure(dict(zip("abc", runs.tolist(), strict=True))).ci95
        hits += low <= 0.5 <= high
    assert 0.92 <= hits / 600 <= 0.98


def test_the_same_starts_take_out_what_they_share() -> None:
    """Starts scatter by 100, the gain is 5 +- 1: unpaired nothing could be said, paired it is certain."""
    generator = np.random.default_rng(3)
    starts = generator.normal(500, 100, (3, 10))
    gained = starts + 5 + generator.normal(0, 1, (3, 10))
    found = difference(gained.tolist(), starts.tolist())
    assert found.value == pytest.approx(5, abs=1)
    assert found.ci95 is not None
    assert 3 < found.ci95[0] < found.ci95[1] < 7
    with pytest.raises(ValueError, match="shorter"):
        difference([[1.0, 2.0]], [[1.0]])
