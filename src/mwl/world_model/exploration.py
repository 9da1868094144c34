"""Exploring for seconds: random actions that are held, as noise that changes with every step leads nowhere."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class HeldActions:
    """Now and then an environment takes one random action for a while.

    Args:
        num_envs: N.
        draw: random actions `[count, A]`.
        share: of all steps that are to be acted so.
        shortest, longest: steps for which an action is held.
    """

    def __init__(
        self, num_envs: int, draw: Callable[[int], Tensor], share: float, shortest: int = 1, longest: int = 1
    ) -> None:
        self.draw, self.share, self.shortest, self.longest = draw, share, shortest, longest
        self.left = torch.zeros(num_envs, dtype=torch.int64)  # steps for which each is still held
        self.action = draw(num_envs)

    def take(self, begins: Tensor, everywhere: bool = False) -> tuple[Tensor, Tensor]:
        """Where an action is held `[N]`, and those actions `[N, A]`; one step has then gone by.

        Args:
            begins: `[N]` where an episode begins, which no action outlasts.
            everywhere: hold actions one after another in all environments.
        """
        self.left = self.left.masked_fill(begins, 0)
        mean = (self.shortest + self.longest) / 2
        chance = 1.0 if everywhere else self.share / (self.share + mean * (1 - self.share))
        fresh = (self.left == 0) & (torch.rand(len(self.left)) < chance)
        if fresh.any():
            steps = torch.randint(self.shortest, self.longest + 1, (len(fresh),))
            self.left = torch.where(fresh, steps, self.left)
            self.action = torch.where(fresh.unsqueeze(-1), self.draw(len(fresh)), self.action)
        held = self.left > 0
        self.left = (self.left - 1).clamp(min=0)
        return held, self.action

    def state_dict(self) -> dict[str, Any]:
        """What is held, and for how long."""
        return {"left": self.left.clone(), "action": self.action.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.left, self.action = state["left"].clone(), state["action"].clone()
