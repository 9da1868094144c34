"""The trust region: experts' rewards as the measure, growth, loss, and falls."""

import pytest
import torch

from mwl.world_model.learning.trust_region import TrustRegion

T, N = 10, 2


def region(num_envs: int = N, **options) -> TrustRegion:
    settings = {"initial": 0.1, "largest": 1.0, "growth": 1.5, "window": 2, "tolerance": 0.1, **options}
    trust = TrustRegion(T, num_envs, **settings)
    for step in range(5):  # the experts earn 1, 2, 3, 4, 5 at steps 0 to 4
        trust.reference.record(torch.full((N,), float(step + 1)), torch.full((N,), step))
    return trust


def test_expectation_is_the_mean_per_step_and_beyond_that_of_the_later_half() -> None:
    profile = region().reference  # of steps 0 to 4 the later half is 2 to 4
    assert profile.expectation(torch.tensor([0, 4, 9])).tolist() == [1.0, 5.0, 4.0]


@pytest.mark.parametrize(("reward", "radius"), [(2.75, 0.15), (2.6, 0.05)])
def test_radius_grows_within_the_tolerance_and_halves_beyond(reward: float, radius: float) -> None:
    trust = region()
    for _ in range(2):  # 3 is expected at step 2; a tenth less is still fine, 2.7
        trust.observe(torch.full((N,), reward), torch.full((N,), 2), torch.zeros(N, dtype=torch.bool))
    assert trust.radius.item() == pytest.approx(radius)
    assert trust.steps == 0


def test_a_fall_costs_what_the_experts_would_still_have_earned() -> None:
    trust = region()
    fallen = torch.tensor([True, False])
    for _ in range(2):
        trust.observe(torch.full((N,), 3.3), torch.full((N,), 2), fallen)
    assert trust.radius.item() == pytest.approx(0.05)


def test_radius_stays_within_its_bounds() -> None:
    trust, alive = region(window=1), torch.zeros(N, dtype=torch.bool)
    for _ in range(20):
        trust.observe(torch.full((N,), 9.0), torch.zeros(N, dtype=torch.int64), alive)
    assert trust.radius == 1.0
    for _ in range(20):
        trust.observe(torch.zeros(N), torch.zeros(N, dtype=torch.int64), alive)
    assert trust.radius.item() == pytest.approx(0.01)


@pytest.mark.parametrize(("controls_earn", "radius"), [(8.0, 0.15), (12.0, 0.05)])
def test_plans_are_compared_with_controls_where_the_warm_start_never_was(controls_earn: float, radius: float) -> None:
    """At steps 6 and 7 the profile would expect 4, the mean of its later half; plans earn 10 there."""
    trust, control = region(), torch.tensor([False, True])
    for step in (6, 7):
        reward = torch.tensor([10.0, controls_earn])
        trust.observe(reward, torch.full((N,), step), torch.zeros(N, dtype=torch.bool), control)
    assert trust.radius.item() == pytest.approx(radius)


@pytest.mark.parametrize(("luck", "radius"), [(0.5, 0.15), (1.5, 0.05)])
def test_a_lead_over_controls_that_may_be_luck_earns_no_trust(luck: float, radius: float) -> None:
    """Two plans earn 11 +- luck per step and two controls 10 +- luck, in a window of two steps.

    In the window the lead is 2, the slack 0.1 * 20, and the variance of each group (2 luck)^2 * 2, so that two standard
    errors, 2 * sqrt(8 / 2 + 8 / 2) * luck, exceed lead and slack where luck exceeds 0.71.
    """
    trust, control = region(num_envs=4), torch.tensor([False, False, True, True])
    reward = torch.tensor([11.0, 11.0, 10.0, 10.0]) + luck * torch.tensor([1.0, -1.0, 1.0, -1.0])
    for step in (6, 7):
        trust.observe(reward, torch.full((4,), step), torch.zeros(4, dtype=torch.bool), control)
    assert trust.radius.item() == pytest.approx(radius)


def test_a_fall_of_the_controls_speaks_for_the_plans() -> None:
    trust, control = region(tolerance=0.0), torch.tensor([False, True])
    for fallen in (False, True):  # 2.9 is below what the experts earn at step 2; one of them falls there
        trust.observe(torch.tensor([2.9, 3.0]), torch.full((N,), 2), control & fallen, control)
    assert trust.radius.item() == pytest.approx(0.15)
