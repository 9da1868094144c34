"""Search while acting: what windows score, what falls cost, and that a race keeps what earns most over many steps."""

from pathlib import Path

import pytest
import torch

from mwl.adaptation.race import Race
from mwl.adaptation.search import CorrectionSearch, SearchConfig, make_search
from mwl.core.errors import BadInput
from mwl.experts.library import ExpertLibrary
from mwl.rollouts.experience import EnvSpec
from mwl.selection import ActionCorrection, Guidance
from mwl.simulation import get_task

N, WINDOW, WINDOWS = 4, 5, 7
DATA = Path(__file__).parents[2] / "data"


def make() -> CorrectionSearch:
    torch.manual_seed(0)
    correction = ActionCorrection(torch.tensor([True]), torch.ones(2))
    return CorrectionSearch(correction, N, 100, steps=WINDOWS * WINDOW, window=WINDOW, step_size=0.5, race_steps=3)


def play(search: CorrectionSearch, reward: torch.Tensor, fell: torch.Tensor | None = None, first: int = 0) -> None:
    none = torch.zeros(N, dtype=torch.bool)
    for t in range(WINDOW):
        ended = none if fell is None or t != 1 else fell
        search.observe(reward, torch.full((N,), first + t), ended, torch.full((N, 1, 2), 0.5))


def test_first_window_measures_the_experts_and_centres_on_them() -> None:
    search = make()
    play(search, torch.full((N,), 0.8))
    assert search.profile.expectation(torch.tensor([0, 50])).tolist() == pytest.approx([0.8, 0.8])
    assert search.correction.mean_action.tolist() == [[0.5, 0.5]]
    assert not torch.equal(search.candidates, torch.zeros_like(search.candidates))


def test_search_moves_towards_what_earned_more_and_away_from_falls() -> None:
    search = make()
    play(search, torch.full((N,), 0.8))
    drawn = search.candidates.clone()
    fell = torch.tensor([False, True, False, False])
    # 1 earns most until it falls at the window's second step; from then on it counts as earning nothing
    play(search, torch.tensor([0.9, 1.0, 0.8, 0.7]), fell, first=WINDOW)
    ahead = search.evolution.mean @ drawn.T
    assert ahead[0] > ahead[1]
    assert ahead[0] > ahead[3]


def test_stages_of_the_search_enter_the_race_beside_the_experts_as_they_are() -> None:
    search = make()
    means = []
    for window in range(WINDOWS):
        play(search, torch.linspace(0.7, 0.9, N), first=WINDOW * window)
        means.append(search.evolution.mean.clone())
    # after the window of the experts six generations follow; a third ends with the second, fourth and sixth
    assert torch.equal(search.race.corrections, torch.stack([torch.zeros(8), means[2], means[4], means[6]]))
    search.begin_race()
    assert torch.equal(search.candidates, search.race.corrections)  # four environments, four that race


def make_start_phase(windows: int) -> CorrectionSearch:
    """Three windows of 12 steps for the start phase, the first of them the experts', then `windows` of the other."""
    torch.manual_seed(0)
    correction, steps = ActionCorrection(torch.tensor([True]), torch.ones(2), start_phase=10), 36 + windows * WINDOW
    return CorrectionSearch(
        correction, N, 100, steps=steps, window=WINDOW, step_size=0.5, race_steps=3, start_search_steps=36
    )


def step(search: CorrectionSearch, reward: torch.Tensor, at: int) -> None:
    never = torch.zeros(N, dtype=torch.bool)
    search.observe(reward, torch.full((N,), at), never, torch.full((N, 1, 2), 0.5))


def test_the_start_phase_is_searched_first_from_new_episodes_and_with_every_step() -> None:
    search, own = make_start_phase(4), 8  # coefficients of each part
    for at in range(12):
        assert not search.candidates.any()  # the experts as they are
        step(search, torch.full((N,), 0.8), at)
    for _ in range(2):
        assert search.waits
        assert not search.candidates[:, :own].any()  # of the main phase nothing is tried yet
        assert search.candidates[:, own:].any(dim=1).all()
        step(search, torch.tensor([9.0, 0.0, 0.0, 0.0]), 50)  # what is left of the old episode doesn't count
        assert search.begin_start_phase() == [0] * N
        drawn = search.candidates[:, own:].clone()
        for at in range(12):
            # the second gains in the very first step, which a window of the main phase would take for settling
            step(search, torch.tensor([0.8, 1.8 if at == 0 else 0.8, 0.8, 0.8]), at)
    assert (search.start_phase.mean @ drawn.T).argmax() == 1


def test_the_main_phase_is_searched_with_what_was_found_for_the_start_which_also_races_alone() -> None:
    search, own = make_start_phase(4), 8
    for _ in range(3):
        search.begin_start_phase()
        for at in range(12):
            step(search, torch.linspace(0.7, 0.9, N), at)
    found, means = search.start_phase.mean.clone(), []
    assert found.any()
    for window in range(4):
        assert not search.waits
        assert torch.equal(search.candidates[:, own:], found.expand(N, own))
        play(search, torch.linspace(0.7, 0.9, N), first=12 + WINDOW * window)
        means.append(search.evolution.mean.clone())
    assert torch.equal(search.start_phase.mean, found)
    main = torch.stack([torch.zeros(own), torch.zeros(own), means[1], means[3]])  # after half of it, and at the end
    assert torch.equal(search.race.corrections[:, :own], main)
    assert torch.equal(search.race.corrections[:, own:], torch.stack([torch.zeros(own), found, found, found]))


@pytest.mark.parametrize(
    ("steps", "start_search_steps", "told"),
    [(46, 23, r"start_steps gives each of 4 environments 23 steps; at least 24 are"), (45, 36, "least 46")],
)
def test_too_few_steps_for_the_start_phase_are_refused(steps: int, start_search_steps: int, told: str) -> None:
    correction = ActionCorrection(torch.tensor([True]), torch.ones(2), start_phase=10)
    with pytest.raises(BadInput, match=told):
        CorrectionSearch(
            correction,
            N,
            100,
            steps=steps,
            window=WINDOW,
            step_size=0.5,
            race_steps=3,
            start_search_steps=start_search_steps,
        )


@pytest.mark.parametrize(("tuned", "winner"), [([0.79, 0.9, 0.85], 2), ([0.7, 0.79, 0.75], 0)])
def test_only_a_correction_that_earned_more_is_kept(tuned: list[float], winner: int) -> None:
    search = make()
    play(search, torch.full((N,), 0.8))
    search.race.corrections.copy_(torch.arange(4.0).unsqueeze(1).expand(4, 8))
    search.begin_race()
    reward = torch.tensor([0.8, *tuned])
    for step in range(3):
        search.race.observe(reward, torch.full((N,), step), torch.zeros(N, dtype=torch.bool))
    profile = search.decide()
    assert search.correction.coefficients.tolist() == [float(winner)] * 8
    assert profile.expectation(torch.tensor([0])).item() == pytest.approx(float(reward[winner]))


def run_race(steps: int, fall_at: int | None = None) -> torch.Tensor:
    """The second of two earns 0.9 against 0.8 per step; environments stand at different steps of their episodes."""
    race = Race(torch.zeros(2, 3), 4, steps, 100)
    for t in range(steps):
        # a start-up earns 0.3 less, whoever acts; 0 and 1 begin an episode, 2 and 3 are in the midst of one
        at = torch.tensor([t, t, t + 5, t + 5])
        reward = torch.tensor([0.8, 0.9, 0.8, 0.9]) - 0.3 * (at < 5)
        race.observe(reward, at, torch.tensor([False, fall_at == t, False, False]))
    return race.gains()[0]


def test_race_compares_at_the_same_step_of_an_episode() -> None:
    assert run_race(10).tolist() == pytest.approx([0.0, 0.1], abs=1e-6)


def test_fall_forfeits_the_rest_of_a_race() -> None:
    # of ten steps, one environment of two earns nothing in the last six: it misses 0.9 each
    assert run_race(10, fall_at=3)[1].item() == pytest.approx(0.1 - 6 * 0.9 / 20, abs=0.05)


@pytest.mark.parametrize(("luck", "winner"), [(0.01, 1), (1.0, 0)])
def test_gain_that_may_be_chance_is_not_kept(luck: float, winner: int) -> None:
    # a gain of 0.1 in the mean; where heats differ in it by +-0.01 the standard error is 0.01, by +-1 it is 1
    race = Race(torch.zeros(2, 3), 4, 5, 100)
    for t in range(5):
        reward = torch.tensor([0.8, 0.9 - luck, 0.8, 0.9 + luck])
        race.observe(reward, torch.full((4,), t), torch.zeros(4, dtype=torch.bool))
    assert race.winner() == winner


def test_luck_of_the_start_is_shared_within_a_heat() -> None:
    # draws differ by +-1 between the heats, the gain of 0.1 does not; unpaired, its standard error would be 1.4
    race = Race(torch.zeros(2, 3), 4, 5, 100)
    assert race.draws == [0, 0, 2, 2]
    for t in range(5):
        race.observe(torch.tensor([-0.2, -0.1, 1.8, 1.9]), torch.full((4,), t), torch.zeros(4, dtype=torch.bool))
    gain, error = race.gains()
    assert gain.tolist() == pytest.approx([0.0, 0.1], abs=1e-6)
    assert error.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert race.winner() == 1


def test_heat_that_lacks_corrections_still_has_the_experts() -> None:
    race = Race(torch.zeros(3, 2), 5, 4, 100)  # the second heat lacks the third correction
    for t in range(4):
        reward = torch.tensor([0.5, 0.6, 0.7, 0.9, 1.0])
        race.observe(reward, torch.full((5,), t), torch.zeros(5, dtype=torch.bool))
    assert race.gains()[0].tolist() == pytest.approx([0.0, 0.1, 0.2], abs=1e-6)


def test_race_goes_on_where_it_was_saved() -> None:
    race = Race(torch.rand(2, 3), 4, 6, 100)
    race.observe(torch.rand(4), torch.arange(4), torch.zeros(4, dtype=torch.bool))
    resumed = Race(torch.zeros(2, 3), 4, 6, 100)
    resumed.load_state_dict(race.state_dict())
    for one in (race, resumed):
        one.observe(torch.linspace(0, 1, 4), torch.arange(4) + 1, torch.zeros(4, dtype=torch.bool))
    assert torch.equal(race.gains()[0], resumed.gains()[0])
    assert torch.equal(race.candidates, resumed.candidates)


@pytest.mark.parametrize(
    ("envs", "steps", "told"),
    [(2, 100, r"data.num_envs of at least 4, not 2"), (4, 15, r"15 steps; at least 20 are needed")],
)
def test_too_few_environments_or_steps_are_refused(envs: int, steps: int, told: str) -> None:
    correction = ActionCorrection(torch.tensor([True]), torch.ones(2))
    with pytest.raises(BadInput, match=told):
        CorrectionSearch(correction, envs, 100, steps=steps, window=WINDOW, step_size=0.5, race_steps=5)


def test_charges_decide_the_race_but_not_what_plans_are_compared_with() -> None:
    # the second earns 0.1 more and is charged 0.2 more, the third earns 0.05 more and is charged nothing
    race = Race(torch.zeros(3, 3), 6, 5, 100)
    for t in range(5):
        reward, charge = torch.tensor([0.8, 0.9, 0.85]).repeat(2), torch.tensor([0.0, 0.2, 0.0]).repeat(2)
        race.observe(reward, torch.full((6,), t), torch.zeros(6, dtype=torch.bool), charge)
    assert race.winner() == 2
    assert race.profile(1).expectation(torch.tensor([0])).item() == pytest.approx(0.9)


def test_search_moves_away_from_rough_motion() -> None:
    torch.manual_seed(0)
    correction = ActionCorrection(torch.tensor([True]), torch.ones(2))
    search = CorrectionSearch(
        correction,
        N,
        100,
        steps=WINDOWS * WINDOW,
        window=WINDOW,
        step_size=0.5,
        race_steps=3,
        jerk_weight=0.1,
        joints=2,
    )
    # every joint shakes alike while the experts act as they are; then the first candidate shakes half as much
    for window, size in enumerate((torch.ones(N), torch.tensor([0.5, 1.0, 1.0, 1.0]))):
        drawn = search.candidates.clone()
        for t in range(WINDOW):
            at = WINDOW * window + t
            shaking = (size * (-1) ** at).unsqueeze(1).expand(N, 2)
            none = torch.zeros(N, dtype=torch.bool)
            search.observe(torch.full((N,), 0.8), torch.full((N,), at), none, torch.zeros(N, 1, 2), shaking)
    assert (search.evolution.mean @ drawn.T).argmax() == 0


@pytest.mark.parametrize(("mirrored", "count"), [(True, 40), (False, 76)])
def test_left_and_right_share_their_numbers_unless_told_not_to(mirrored: bool, count: int) -> None:
    """Of the 19 joints 18 are pairs: four coefficients for each of 10, or of 19."""
    guidance = Guidance(ExpertLibrary.load(DATA / "experts/stand"), semantic_weights={"stand": 1.0})
    config = SearchConfig(window=5, mirrored=mirrored)
    layout = dict(get_task("h1-stand").layout.sizes)
    spec = EnvSpec("h1-stand", sum(layout.values()), 19, 1000, layout, (1.0,) * 19)
    assert len(make_search(guidance, config, N, spec, 800, 80)[1].correction.coefficients) == count
