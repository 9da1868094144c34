"""Follows a plan at control rate: which step's weights hold now, and why it went on."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mwl.errors import BadInput
from mwl.semantics.head import Clause
from mwl.semantics.progress import PREDICATES, Layout, fall_risk, met, position

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SequencerConfig:
    """When a step is over.

    Args:
        timeout: control steps after which a step is left, done or not.
        stall: control steps without moving `stall_distance` after which a step that should get somewhere is left.
        stall_distance: m, by the root.
        moving: skills that should get somewhere.
        recover: skill that takes over while the robot is about to fall, where the plan's library has it.
    """

    timeout: int = 400
    stall: int = 150
    stall_distance: float = 0.1
    moving: tuple[str, ...] = ("walk", "run", "crawl")
    recover: str = "stand"


@dataclass(frozen=True)
class Decision:
    """That one environment went from one step of the plan to another, when and why."""

    step: int
    environment: int
    before: int
    after: int
    reason: str


class Sequencer:
    """Weights of the current step of a plan, for every environment by itself.

    Args:
        plan: steps with weights over the same skills.
        config: when a step is over.

    Raises:
        BadInput: the plan is empty, its steps weigh different skills, or a step waits for an unknown predicate.
    """

    def __init__(self, plan: Sequence[Clause], config: SequencerConfig | None = None) -> None:
        if not plan or any(list(clause.weights) != list(plan[0].weights) for clause in plan):
            raise BadInput("a plan needs at least one step, and all of its steps weights over the same skills")
        if unknown := {clause.until for clause in plan} - set(PREDICATES):
            raise BadInput(f"no progress predicate {', '.join(sorted(unknown))}; known: {', '.join(PREDICATES)}")
        self.plan, self.config = list(plan), config or SequencerConfig()
        self.names = list(plan[0].weights)
        self.decisions: list[Decision] = []
        self._weights = torch.tensor([list(clause.weights.values()) for clause in plan])
        self._moving = torch.tensor([max(c.weights, key=c.weights.__getitem__) in self.config.moving for c in plan])
        self._place: Tensor | None = None
        self._elapsed: Tensor
        self._stalled: Tensor
        self._anchor: Tensor
        self._at_risk: Tensor

    def reset(self, done: Tensor | None = None) -> None:
        """Begin the plan again, everywhere or in environments `done [N]`."""
        if done is None or self._place is None:
            self._place = None
        else:
            self._place[done] = -1

    def update(self, observation: Tensor, layout: Layout, step: int) -> Tensor:
        """Weights `[N, K]` (`[K]` for one observation `[O]`) over `names` that hold now.

        Args:
            observation: `[N, O]` or `[O]`.
            layout: names its parts.
            step: control step of the episode, for the log of decisions.
        """
        if observation.dim() == 1:
            return self.update(observation.unsqueeze(0), layout, step)[0]
        where = position(observation, layout)
        self._begin(where)
        assert self._place is not None
        for index, clause in enumerate(self.plan[:-1]):
            here = self._place == index
            if here.any():
                self._leave(here & met(clause.until, observation, layout), where, step, f"{clause.until}: met")
        running = self._place < len(self.plan) - 1
        self._elapsed += 1
        still = (where - self._anchor).norm(dim=-1) < self.config.stall_distance
        self._stalled = torch.where(still, self._stalled + 1, 0)
        self._anchor = torch.where(still[:, None], self._anchor, where)
        self._leave(running & (self._elapsed > self._limits()), where, step, "time is up")
        stuck = running & self._moving[self._place] & (self._stalled > self.config.stall)
        self._leave(stuck & (self._place < len(self.plan) - 1), where, step, "no progress")
        return self._guarded(observation, layout, step)

    def _begin(self, where: Tensor) -> None:
        if self._place is None or len(self._place) != len(where):
            self._place = torch.full((len(where),), -1)
            self._elapsed = torch.zeros(len(where), dtype=torch.long)
            self._stalled, self._anchor = torch.zeros_like(self._elapsed), where.clone()
            self._at_risk = torch.zeros(len(where), dtype=torch.bool)
        fresh = self._place < 0
        self._place[fresh], self._elapsed[fresh], self._stalled[fresh] = 0, 0, 0
        self._anchor = torch.where(fresh[:, None], where, self._anchor)
        self._at_risk = self._at_risk & ~fresh

    def _limits(self) -> Tensor:
        limits = [clause.steps or self.config.timeout for clause in self.plan]
        return torch.tensor(limits)[self._place]

    def _leave(self, mask: Tensor, where: Tensor, step: int, reason: str) -> None:
        assert self._place is not None
        for environment in mask.nonzero().flatten().tolist():
            before = int(self._place[environment])
            self._note(Decision(step, environment, before, before + 1, reason))
        self._place = self._place + mask.long()
        self._elapsed = torch.where(mask, 0, self._elapsed)
        self._stalled = torch.where(mask, 0, self._stalled)
        self._anchor = torch.where(mask[:, None], where, self._anchor)

    def _guarded(self, observation: Tensor, layout: Layout, step: int) -> Tensor:
        """The step's weights, or all weight on recovering while a fall is near."""
        assert self._place is not None
        weights = self._weights[self._place]
        if self.config.recover not in self.names:
            return weights
        risk = fall_risk(observation, layout)
        for environment in (risk != self._at_risk).nonzero().flatten().tolist():
            place = int(self._place[environment])
            reason = "about to fall: recover" if bool(risk[environment]) else "recovered: go on"
            self._note(Decision(step, environment, place, place, reason))
        self._at_risk = risk
        upright = torch.zeros(len(self.names))
        upright[self.names.index(self.config.recover)] = 1.0
        return torch.where(risk[:, None], upright, weights)

    def _note(self, decision: Decision) -> None:
        self.decisions.append(decision)
        _log.info("step %d, environment %d: %s", decision.step, decision.environment, decision.reason)
