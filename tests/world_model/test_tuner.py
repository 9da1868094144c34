"""Tuning while acting: what windows score, what falls cost, and that harm is not kept."""

import pytest
import torch

from mwl.errors import BadInput
from mwl.gating import Tuning
from mwl.world_model.tuner import Tuner

N, WINDOW = 4, 5


def make() -> Tuner:
    torch.manual_seed(0)
    return Tuner(Tuning(torch.tensor([True]), torch.ones(2)), N, 100, WINDOW, 0.5)


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


@pytest.mark.parametrize(("tuned", "kept"), [(0.9, True), (0.7, False)])
def test_only_a_tuning_that_earned_more_is_kept(tuned: float, kept: bool) -> None:
    tuner = make()
    play(tuner, torch.full((N,), 0.8))
    tuner.evolution.mean.fill_(1.0)
    tuner.begin_check()
    assert tuner.variants[:, 0].tolist() == [0.0, 1.0, 0.0, 1.0]
    reward = torch.tensor([0.8, tuned, 0.8, tuned])
    for step in range(3):
        tuner.check(reward, torch.full((N,), step), torch.tensor([True, True, False, False]))
    profile = tuner.decide()
    assert bool(tuner.tuning.numbers.any()) == kept
    assert profile.expectation(torch.tensor([0])).item() == pytest.approx(tuned if kept else 0.8)


def test_too_few_environments_are_refused() -> None:
    with pytest.raises(BadInput, match=r"data.num_envs of at least 4, not 2"):
        Tuner(Tuning(torch.tensor([True]), torch.ones(2)), 2, 100, WINDOW, 0.5)
