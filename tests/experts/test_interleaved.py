"""Experts that take turns: who acts, and whose labels are kept."""

import torch

from mwl.experts.cloning.interleaved import InterleavedPolicy


class TwoSkills:
    """Always calls for the second skill."""

    name, skills = "two", ("first", "second")
    skill = torch.ones(400, dtype=torch.int64)

    def acted(self, skill: torch.Tensor) -> None:
        """Of no consequence here."""


def acting(value: float, calls: list[float]):
    def act(observation: torch.Tensor) -> torch.Tensor:
        calls.append(value)
        return torch.full((len(observation), 3), value)

    return act


def shares(correct_share: float, steps: int) -> tuple[torch.Tensor, list[float]]:
    """Share of the steps `[N]` in which the second acts, and who was asked in turn."""
    calls: list[float] = []
    turns = InterleavedPolicy(TwoSkills(), [acting(0.0, calls), acting(1.0, calls)], 0, 0.1, correct_share)  # type: ignore[arg-type]
    observation = torch.zeros(400, 1)
    acted = [turns(observation, None, torch.zeros(400, 3))[:, 0] for _ in range(steps)]
    return torch.stack(acted), calls


def test_turns_begin_with_the_right_one_and_go_to_anyone_as_often_as_asked() -> None:
    acted, calls = shares(0.6, 100)
    assert (acted[0] == 1).all()
    # every fifth step a turn begins; it goes to the second with probability 0.6 + 0.4 / 2 = 0.8, which holds after some
    # turns; 400 robots x 50 steps with 10 independent turns each: standard error 0.4 / sqrt(4000) = 0.006
    assert abs(float(acted[50:].mean()) - 0.8) < 0.03
    assert calls == [0.0, 1.0] * 100  # both are asked at every step, so that each remembers the whole episode


def test_the_right_one_alone_acts_where_nobody_else_gets_a_turn() -> None:
    acted, _ = shares(1.0, 30)
    assert (acted == 1).all()
