"""What acting by experts carries from one step to the next."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class GuidanceState(NamedTuple):
    """Where each of N episodes stands: passed into a step of guidance, which returns that of the next step.

    `memory [N, M]` is what the experts remember, `age [N]` the steps since the episode began, `current [N]` the expert
    that is followed, -1 where none is yet.
    """

    memory: Tensor
    age: Tensor
    current: Tensor

    @classmethod
    def begin(cls, memory: Tensor) -> "GuidanceState":
        """Where N episodes begin, with the experts' first memory `[N, M]`."""
        zero = torch.zeros(len(memory), dtype=torch.int64)
        return cls(memory, zero, zero - 1)


def restarted(
    state: GuidanceState | None, done: Tensor | None, begin: Callable[[int], GuidanceState]
) -> GuidanceState | None:
    """The same, anew where `done` `[N]` holds; None where all episodes begin.

    Args:
        state: so far; None where all begin.
        done: None for everywhere.
        begin: gives the state of so many beginning episodes.
    """
    if done is None or state is None or len(done) != len(state.age):
        return None
    fresh = begin(len(done))
    memory = torch.where(done.unsqueeze(-1), fresh.memory, state.memory)
    return GuidanceState(memory, state.age.masked_fill(done, 0), state.current.masked_fill(done, -1))
