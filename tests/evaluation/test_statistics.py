"""Statistics at values worked out by hand."""

import numpy as np
import pytest

from mwl.evaluation.statistics import ci95, convergence_step, iqm


def test_iqm_drops_the_outer_quarters() -> None:
    # eight values: the two lowest and the two highest go, the mean of 3, 4, 5, 6 stays
    assert iqm([1000, 1, 2, 3, 4, 5, 6, -1000]) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert iqm([7.0]) == 7.0


def test_ci95_covers_the_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = ci95(generator.normal(10, 2, size=30).tolist()) or (0, 0)
        hits += low <= 10 <= high
    # percentile bootstrap of 30 samples covers a little less than 95 %: expect about 187 of 200
    assert 175 <= hits <= 198


def test_ci95_is_the_same_at_every_call_and_unknown_for_one_value() -> None:
    assert ci95([1.0, 2.0, 5.0]) == ci95([1.0, 2.0, 5.0])
    assert ci95([1.0]) is None
    assert ci95([3.0, 3.0, 3.0]) == (3.0, 3.0)


def test_convergence_step_is_where_the_smoothed_curve_stays_up() -> None:
    # rises by 100 per point to 900, then stays: the mean over 5 points first exceeds 0.95 * 900 = 855 when it holds
    # 700 800 900 900 900 (840, no) ... 800 900 900 900 900 (880, yes), which ends at point 12
    curve = [(1000 * i, min(900.0, 100.0 * i)) for i in range(30)]
    assert convergence_step(curve) == 12_000


def test_convergence_step_of_hopeless_curves_is_none() -> None:
    assert convergence_step([(0, 1.0), (1, 2.0)]) is None
    assert convergence_step([(i, -5.0) for i in range(20)]) is None
