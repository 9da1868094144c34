"""Tuning while acting: what windows score, what falls cost, and that a race keeps what earns most over many steps."""

from pathlib import Path

import pytest
import torch

from mwl.core.errors import BadInput
from mwl.experts.library import ExpertLibrary
from mwl.selection import Guidance, Tuning
from mwl.simulation import get_task
from mwl.world_model.adaptation.race import Race
from mwl.world_model.adaptation.tuner import Tuner, make_tuner
from mwl.world_model.config import GuidanceConfig
from mwl.world_model.data import EnvSpec

N, WINDOW, WINDOWS = 4, 5, 7
DATA = Path(__file__).parents[2] / "data"


def make() -> Tuner:
    torch.manual_seed(0)
    tuning = Tuning(torch.tensor([True]), torch.ones(2))
    return Tuner(tuning, N, 100, steps=WINDOWS * WINDOW, window=WINDOW, step_size=0.5, race_steps=3)


def play(tuner: Tuner, reward: torch.Tensor, fell: torch.Tensor | None = None, first: int = 0) -> None:
    none = torch.zeros(N, dtype=torch.bool)
    for t in range(WINDOW):
        ended = none if fell is None or t != 1 else fell
        tuner.observe(reward, torch.full((N,), first + t), ended, torch.full((N, 1, 2), 0.5))


def test_first_window_measures_the_experts_and_centres_on_them() -> None:
    tuner = make()
    play(tuner, torch.full((N,), 0.8))
    assert tuner.profile.expectation(torch.tensor([0, 50])).tolist() == pytest.approx([0.8, 0.8])
    assert tuner.tuning.centre.tolist() == [[0.5, 0.5]]
    assert not torch.equal(tuner.variants, torch.zeros_like(tuner.variants))


def test_search_moves_towards_what_earned_more_and_away_from_falls() -> None:
    tuner = make()
    play(tuner, torch.full((N,), 0.8))
    drawn = tuner.variants.clone()
    fell = torch.tensor([False, True, False, False])
    # 1 earns most until it falls at the window's second step; from then on it counts as earning nothing
    play(tuner, torch.tensor([0.9, 1.0, 0.8, 0.7]), fell, first=WINDOW)
    ahead = tuner.evolution.mean @ drawn.T
    assert ahead[0] > ahead[1]
    assert ahead[0] > ahead[3]


def test_stages_of_the_search_enter_the_race_beside_the_experts_as_they_are() -> None:
    tuner = make()
    means = []
    for window in range(WINDOWS):
        play(tuner, torch.linspace(0.7, 0.9, N), first=WINDOW * window)
        means.append(tuner.evolution.mean.clone())
    # after the window of the experts six generations follow; a third ends with the second, fourth and sixth
    assert torch.equal(tuner.race.tunings, torch.stack([torch.zeros(8), means[2], means[4], means[6]]))
    tuner.begin_race()
    assert torch.equal(tuner.variants, tuner.race.tunings)  # four environments, four that race


def make_setting_off(windows: int) -> Tuner:
    """Three windows of 12 steps for setting off, the first of which the experts have, then `windows` of going on."""
    torch.manual_seed(0)
    tuning, steps = Tuning(torch.tensor([True]), torch.ones(2), setting_off=10), 36 + windows * WINDOW
    return Tuner(tuning, N, 100, steps=steps, window=WINDOW, step_size=0.5, race_steps=3, setting_off_steps=36)


def step(tuner: Tuner, reward: torch.Tensor, at: int) -> None:
    never = torch.zeros(N, dtype=torch.bool)
    tuner.observe(reward, torch.full((N,), at), never, torch.full((N, 1, 2), 0.5))


def test_setting_off_is_searched_first_from_new_episodes_and_with_every_step() -> None:
    tuner, own = make_setting_off(4), 8  # numbers of each part
    for at in range(12):
        assert not tuner.variants.any()  # the experts as they are
        step(tuner, torch.full((N,), 0.8), at)
    for _ in range(2):
        assert tuner.waits
        assert not tuner.variants[:, :own].any()  # of going on nothing is tried yet
        assert tuner.variants[:, own:].any(dim=1).all()
        step(tuner, torch.tensor([9.0, 0.0, 0.0, 0.0]), 50)  # what is left of the old episode doesn't count
        assert tuner.set_off() == [0] * N
        drawn = tuner.variants[:, own:].clone()
        for at in range(12):
            # the second gains in the very first step, which a window of going on would take for settling
            step(tuner, torch.tensor([0.8, 1.8 if at == 0 else 0.8, 0.8, 0.8]), at)
    assert (tuner.setting_off.mean @ drawn.T).argmax() == 1


def test_going_on_is_searched_with_what_was_found_for_setting_off_which_also_races_alone() -> None:
    tuner, own = make_setting_off(4), 8
    for _ in range(3):
        tuner.set_off()
        for at in range(12):
            step(tuner, torch.linspace(0.7, 0.9, N), at)
    found, means = tuner.setting_off.mean.clone(), []
    assert found.any()
    for window in range(4):
        assert not tuner.waits
        assert torch.equal(tuner.variants[:, own:], found.expand(N, own))
        play(tuner, torch.linspace(0.7, 0.9, N), first=12 + WINDOW * window)
        means.append(tuner.evolution.mean.clone())
    assert torch.equal(tuner.setting_off.mean, found)
    going_on = torch.stack([torch.zeros(own), torch.zeros(own), means[1], means[3]])  # after half of it, and at the end
    assert torch.equal(tuner.race.tunings[:, :own], going_on)
    assert torch.equal(tuner.race.tunings[:, own:], torch.stack([torch.zeros(own), found, found, found]))


@pytest.mark.parametrize(
    ("steps", "setting_off_steps", "told"),
    [(46, 23, r"tune_setting_off_steps gives each of 4 environments 23 steps; at least 24 are"), (45, 36, "least 46")],
)
def test_too_few_steps_for_setting_off_are_refused(steps: int, setting_off_steps: int, told: str) -> None:
    tuning = Tuning(torch.tensor([True]), torch.ones(2), setting_off=10)
    with pytest.raises(BadInput, match=told):
        Tuner(
            tuning, N, 100, steps=steps, window=WINDOW, step_size=0.5, race_steps=3, setting_off_steps=setting_off_steps
        )


@pytest.mark.parametrize(("tuned", "winner"), [([0.79, 0.9, 0.85], 2), ([0.7, 0.79, 0.75], 0)])
def test_only_a_tuning_that_earned_more_is_kept(tuned: list[float], winner: int) -> None:
    tuner = make()
    play(tuner, torch.full((N,), 0.8))
    tuner.race.tunings.copy_(torch.arange(4.0).unsqueeze(1).expand(4, 8))
    tuner.begin_race()
    reward = torch.tensor([0.8, *tuned])
    for step in range(3):
        tuner.race.observe(reward, torch.full((N,), step), torch.zeros(N, dtype=torch.bool))
    profile = tuner.decide()
    assert tuner.tuning.numbers.tolist() == [float(winner)] * 8
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


def test_heat_that_lacks_tunings_still_has_the_experts() -> None:
    race = Race(torch.zeros(3, 2), 5, 4, 100)  # the second heat lacks the third tuning
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
    assert torch.equal(race.variants, resumed.variants)


@pytest.mark.parametrize(
    ("envs", "steps", "told"),
    [(2, 100, r"data.num_envs of at least 4, not 2"), (4, 15, r"15 steps; at least 20 are needed")],
)
def test_too_few_environments_or_steps_are_refused(envs: int, steps: int, told: str) -> None:
    tuning = Tuning(torch.tensor([True]), torch.ones(2))
    with pytest.raises(BadInput, match=told):
        Tuner(tuning, envs, 100, steps=steps, window=WINDOW, step_size=0.5, race_steps=5)


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
    tuning = Tuning(torch.tensor([True]), torch.ones(2))
    tuner = Tuner(
        tuning, N, 100, steps=WINDOWS * WINDOW, window=WINDOW, step_size=0.5, race_steps=3, smoothness=0.1, joints=2
    )
    # every joint shakes alike while the experts act as they are; then the first candidate shakes half as much
    for window, size in enumerate((torch.ones(N), torch.tensor([0.5, 1.0, 1.0, 1.0]))):
        drawn = tuner.variants.clone()
        for t in range(WINDOW):
            at = WINDOW * window + t
            shaking = (size * (-1) ** at).unsqueeze(1).expand(N, 2)
            none = torch.zeros(N, dtype=torch.bool)
            tuner.observe(torch.full((N,), 0.8), torch.full((N,), at), none, torch.zeros(N, 1, 2), shaking)
    assert (tuner.evolution.mean @ drawn.T).argmax() == 0


@pytest.mark.parametrize(("mirrored", "count"), [(True, 40), (False, 76)])
def test_left_and_right_share_their_numbers_unless_told_not_to(mirrored: bool, count: int) -> None:
    """Of the 19 joints 18 are pairs: four numbers for each of 10, or of 19."""
    guidance = Guidance(ExpertLibrary.load(DATA / "experts/stand"), semantic_weights={"stand": 1.0})
    config = GuidanceConfig(tune_steps=800, tune_window=5, tune_mirrored=mirrored)
    layout = dict(get_task("h1-stand").layout.sizes)
    spec = EnvSpec("h1-stand", sum(layout.values()), 19, 1000, layout, (1.0,) * 19)
    assert len(make_tuner(guidance, config, N, spec, torch.ones(19)).tuning.numbers) == count
