"""Tuning experts to a task while acting: every environment tries a variant, and the better ones are followed."""

import torch
from torch import Tensor, nn

from mwl.errors import BadInput
from mwl.gating.evolution import Evolution
from mwl.gating.tuning import Tuning
from mwl.world_model.trust import StepProfile

_SETTLING = 0.2  # share of a window in which what the variant before left behind still shows
_SMALLEST_POPULATION = 4


class Tuner(nn.Module):
    """Runs an evolutionary search of a `Tuning`, one candidate per environment and window, then a check.

    In the first window the experts act as they are: their reward per step since the episode began is what candidates
    are compared with, so that it does not matter where in an episode one is tried. A candidate that falls earns nothing
    for the rest of its window. As windows are short and some harm shows late, the result is checked before it is kept:
    during the seed phase every other environment follows the experts as they are, and what earned more stays.

    Args:
        tuning: what is searched; zero at first.
        num_envs: N.
        episode_steps: longest episode.
        window: steps for which a candidate is tried.
        step_size: of the search.

    Raises:
        BadInput: too few environments for a generation.
    """

    variants: Tensor
    windows: Tensor
    age: Tensor
    score: Tensor
    fell: Tensor
    earned: Tensor
    acted: Tensor

    def __init__(self, tuning: Tuning, num_envs: int, episode_steps: int, window: int, step_size: float) -> None:
        super().__init__()
        if num_envs < _SMALLEST_POPULATION:
            raise BadInput(
                f"guidance.tune_steps needs data.num_envs of at least {_SMALLEST_POPULATION}, not {num_envs}"
            )
        self.tuning, self.window = tuning, window
        self.evolution = Evolution(len(tuning.numbers), num_envs, step_size)
        self.profile = StepProfile(episode_steps)
        self.checks = nn.ModuleList(StepProfile(episode_steps) for _ in range(2))  # as they are, tuned
        self.register_buffer("variants", torch.zeros(num_envs, len(tuning.numbers)))
        self.register_buffer("score", torch.zeros(num_envs, dtype=torch.float64))
        self.register_buffer("fell", torch.zeros(num_envs, dtype=torch.bool))
        for name in ("windows", "age"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))
        for name in ("earned", "acted"):
            self.register_buffer(name, torch.zeros(2, dtype=torch.float64))

    @property
    def follows(self) -> Tensor:
        """Which environments `[N]` follow the tuned experts during the check."""
        return torch.arange(len(self.variants)) % 2 == 1

    def observe(self, reward: Tensor, step: Tensor, terminated: Tensor, expert_action: Tensor) -> None:
        """One step of the search: rewards, steps since the episode began and falls, each `[N]`, actions `[N, K, A]`."""
        if self.windows == 0:
            self.profile.record(reward, step)
            share = 1 / (1 + int(self.age))
            self.tuning.centre.lerp_(expert_action.mean(dim=0), share)
        elif self.age >= _SETTLING * self.window:
            expected = self.profile.expectation(step)
            self.score += torch.where(self.fell, -expected, reward.double() - expected)
        self.fell |= terminated
        self.age += 1
        if self.age >= self.window:
            self._end_window()

    def _end_window(self) -> None:
        if self.windows > 0:
            self.evolution.tell(self.score)
        self.variants.copy_(self.evolution.ask())
        for total in (self.score, self.fell, self.age):
            total.zero_()
        self.windows += 1

    def begin_check(self) -> None:
        """The search is over; from now on every other environment follows its result."""
        self.tuning.numbers.copy_(self.evolution.mean)
        self.variants.copy_(self.follows.unsqueeze(-1) * self.tuning.numbers)

    def check(self, reward: Tensor, step: Tensor, clean: Tensor) -> None:
        """One step of the check: rewards and steps `[N]`, and which environments `[N]` acted without noise."""
        for group, profile in enumerate(self.checks):
            chosen = self.follows == bool(group)
            self.earned[group] += reward[chosen].double().sum()
            self.acted[group] += chosen.sum()
            profile.record(reward[clean & chosen], step[clean & chosen])  # type: ignore[operator]

    def decide(self) -> StepProfile:
        """Keep the tuning if it earned more; returns the reward per step of what is followed from now on."""
        mean = self.earned / self.acted.clamp(min=1)
        better = bool(mean[1] > mean[0])
        if not better:
            self.tuning.numbers.zero_()
        profile = self.checks[int(better)]
        assert isinstance(profile, StepProfile)
        return profile
