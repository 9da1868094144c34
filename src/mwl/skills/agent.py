"""An agent that decides between skills, acting at the control rate like any other agent."""

from typing import Any, Protocol

import torch
from torch import Tensor

from mwl.simulation.task import ObservationLayout
from mwl.skills.control import SkillControl
from mwl.skills.space import SkillSpace


class Decider(Protocol):
    """Who decides: any policy over the space's actions."""

    def act(self, observation: Tensor, step: int | None = None) -> Tensor:
        """Decisions `[N, D]` at observations `[N, O]`; `step` counts decisions."""

    def reset(self, done: Tensor | None = None) -> None:
        """Begin new episodes where `done` `[N]` holds, everywhere if None."""


class SkillAgent:
    """Asks a decider every `hold` control steps, and lets the experts act in between.

    Args:
        decider: chooses decisions, as a world model that was trained in `SkillEnv`.
        space: the skills.
        layout: where the parts of the task's observation lie, or of what the decider sees (`SkillSpace.observed`).
        hold: control steps for which a decision holds.
    """

    def __init__(self, decider: Decider, space: SkillSpace, layout: ObservationLayout, hold: int) -> None:
        self.decider, self.space, self.hold = decider, space, hold
        own = space.shown(layout.sizes)
        self.layout, self._remembers = ObservationLayout(**own), len(own) < len(layout.sizes)
        self.control: SkillControl | None = None
        self._age = torch.zeros(0, dtype=torch.int64)  # control steps since each episode began

    def __repr__(self) -> str:
        return f"SkillAgent({self.decider!r}, hold={self.hold})"

    def reset(self, done: Tensor | None = None) -> None:
        """Begin new episodes where `done` `[N]` holds, everywhere if None."""
        self.decider.reset(done)
        if done is None or self.control is None:
            self.control = None
            return
        self.control.reset(done)
        self._age = self._age.masked_fill(done, 0)

    @property
    def guidance(self) -> Any:
        """What advises the decider; None where nothing does."""
        return getattr(self.decider, "guidance", None)

    def act_by(self, way: str) -> None:
        """Let the decider choose another way than it was fitted to, see `WorldModelAgent.act_by`."""
        self.decider.act_by(way)  # type: ignore[attr-defined]

    def leave_out(self, part: str) -> None:
        """Let the decider go on without a part, see `WorldModelAgent.leave_out`."""
        self.decider.leave_out(part)  # type: ignore[attr-defined]

    def remember(self, reward: Tensor) -> None:
        """Take the rewards `[N]` of the last actions into account."""
        if self.control is not None:
            self.control.remember(reward.float())

    @torch.no_grad()
    def act(self, observation: Tensor, step: int | None = None) -> Tensor:
        """Joint actions `[N, A]` in [-1, 1] at observations `[N, O]`."""
        if self.control is None or self.control.count != len(observation):
            self.control = SkillControl(self.space, len(observation))
            self._age = torch.zeros(len(observation), dtype=torch.int64)
        due = self._age % self.hold == 0
        if due.any():
            seen = self.control.observed(observation) if self._remembers else observation
            decisions = self.decider.act(seen, None if step is None else step // self.hold)
            self.control.decide(self.space.decode(decisions), due)
        self._age = self._age + 1
        return self.control.act(observation, self.layout)
