"""Reset-state distributions: states that training reached, by how far they got or shortly before a fall.

See Ecoffet et al., First return, then explore (Go-Explore), 2021.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

LEVELS = 20
FALL_LEAD = 30  # steps: what is kept of a fall lies once to twice as many before it
FALLS, FEWEST_FALLS = 512, 12  # that are kept, and before they are drawn from


class ReachedStates:
    """States that were reached, kept by how far they got.

    Args:
        width: numbers W in a state.
        generator: of draws.
        slots: states that every level keeps.
        fewest: states that a level must hold before they are drawn.
        dtype: of the states.
    """

    def __init__(
        self,
        width: int,
        generator: torch.Generator,
        slots: int = 256,
        fewest: int = 12,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.states = torch.zeros(LEVELS, slots, width, dtype=dtype)
        self.filled = torch.zeros(LEVELS, dtype=torch.int64)
        self.slots, self.fewest = slots, fewest
        self._generator = generator

    def add(self, states: Tensor, progress: Tensor) -> None:
        """Keep states `[M, W]` that got as far as `progress` `[M]`, in [0, 1]; the newest push out old ones."""
        levels = (progress * LEVELS).long().clamp(0, LEVELS - 1)
        for state, level in zip(states, levels.tolist(), strict=True):
            self.states[level, int(self.filled[level]) % self.slots] = state
            self.filled[level] += 1

    def draw(self, count: int, lowest: float = 0.0, *, evenly: bool = True) -> Tensor | None:
        """States `[count, W]` from the levels that hold enough; None while none does.

        Args:
            count: how many.
            lowest: progress in [0, 1] that they made at least.
            evenly: every level as often, however rarely it was reached; else every state that is held.
        """
        far = torch.arange(LEVELS) >= lowest * LEVELS
        held = torch.nonzero(far & (self.filled >= self.fewest)).squeeze(-1)
        if len(held) == 0:
            return None
        weight = torch.ones(len(held)) if evenly else self.filled[held].clamp(max=self.slots).float()
        levels = held[torch.multinomial(weight, count, replacement=True, generator=self._generator)]
        slot = torch.rand(count, generator=self._generator) * self.filled[levels].clamp(max=self.slots)
        return self.states[levels, slot.long()]


class StatesBeforeFalls:
    """States shortly before robots fell, the newest of them.

    Args:
        num_envs: N, each of which is followed.
        width: numbers W in a state.
        generator: of draws.
    """

    def __init__(self, num_envs: int, width: int, generator: torch.Generator) -> None:
        self.states = torch.zeros(FALLS, width, dtype=torch.float64)
        self.count = 0
        self._recent = torch.zeros(2, num_envs, width, dtype=torch.float64)  # the older one first
        self._since = torch.zeros(num_envs, dtype=torch.int64)
        self._generator = generator

    def begin(self, mask: Tensor, states: Tensor) -> None:
        """Follow anew where `mask` `[N]` holds, from states `[N, W]`."""
        self._recent[:, mask] = states[mask]
        self._since[mask] = 0

    def follow(self, states: Tensor, fell: Tensor) -> None:
        """Go on to states `[N, W]`; where robots `fell` `[N]` keep what they were.

        States in which an episode began are not kept: those from which none recovers would crowd out all others.
        """
        for state in self._recent[0, fell & (self._since >= 2 * FALL_LEAD)]:
            self.states[self.count % FALLS] = state
            self.count += 1
        self._since += 1
        due = self._since % FALL_LEAD == 0
        self._recent[0, due] = self._recent[1, due]
        self._recent[1, due] = states[due]

    def draw(self, count: int) -> Tensor | None:
        """States `[count, W]`, all as likely; None while there are few."""
        if self.count < FEWEST_FALLS:
            return None
        return self.states[torch.randint(min(self.count, FALLS), (count,), generator=self._generator)]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the generator, as plain values and tensors."""
        return {"states": self.states, "count": self.count, "recent": self._recent, "since": self._since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.states, self._recent, self._since = (state[name].clone() for name in ("states", "recent", "since"))
        self.count = int(state["count"])
