"""From decisions to joint actions, step by step: who acts now, what it is told, what every expert remembers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mwl.core.errors import BadInput
from mwl.experts.features import Layout
from mwl.skills.space import REST, Decision, SkillSpace
from mwl.skills.steering import STANDS, STANDS_FACING, pose, steered

_STATE = ("memory", "skill", "bridge", "left", "commands", "pace", "most")


class SkillControl:
    """Carries out decisions in N episodes, one control step of 20 ms after the other.

    What experts remember is carried on through every step, whoever acts. A change of skill for which the space has a
    bridge lets the transition expert act first.

    Args:
        space: the skills.
        count: N.
    """

    def __init__(self, space: SkillSpace, count: int) -> None:
        self.space, self.count = space, count
        self.memory = space.library.initial_memory(count)
        self.skill = torch.full((count,), -1)  # none yet
        self.bridge = torch.zeros(count, dtype=torch.int64)  # expert that acts first
        self.left = torch.zeros(count, dtype=torch.int64)  # control steps for which it still does
        self.commands = torch.zeros(count, sum(command.size for command in space.commands.values()))
        self.pace = torch.zeros(count)  # m/s that a steered walker was told last
        self.most = torch.zeros(count)  # reward earned in a control step

    def reset(self, mask: Tensor) -> None:
        """Begin new episodes where `mask` `[N]` holds."""
        self.skill, self.left = self.skill.masked_fill(mask, -1), self.left.masked_fill(mask, 0)
        self.pace, self.most = self.pace.masked_fill(mask, 0.0), self.most.masked_fill(mask, 0.0)
        begun = self.space.library.initial_memory(self.count)
        self.memory = torch.where(mask.unsqueeze(-1), begun, self.memory)

    def decide(self, decision: Decision, mask: Tensor | None = None) -> None:
        """Take up decisions of N episodes where `mask` `[N]` holds, everywhere if None; the others go on as they do."""
        chosen = decision.skill if mask is None else torch.where(mask, decision.skill, self.skill)
        self.left = self.left.masked_fill(chosen != self.skill, 0)
        for (before, after), bridge in self.space.bridges.items():
            changes = (self.skill == self.space.position(before)) & (chosen == self.space.position(after))
            self.bridge = self.bridge.masked_fill(changes, self.space.library.index(bridge.expert))
            self.left = self.left.masked_fill(changes, bridge.steps)
        self.skill = chosen.clone()
        if self.space.commands:
            told = torch.cat([decision.commands[name] for name in self.space.commands], dim=-1)
            self.commands = told.clone() if mask is None else torch.where(mask.unsqueeze(-1), told, self.commands)

    def act(self, observation: Tensor, layout: Layout) -> Tensor:
        """Joint actions `[N, A]` at observations `[N, O]`, and one control step gone by."""
        sizes = [command.size for command in self.space.commands.values()]
        told = dict(zip(self.space.commands, self.commands.split(sizes, dim=-1), strict=True))
        skill = self.skill
        if self.space.steered:
            skill = self._steer(told, observation, layout)
        actions, self.memory = self.space.library.step(observation, layout, told, self.memory)
        acting = torch.where(self.left > 0, self.bridge, self.space.experts[skill])
        self.left = (self.left - 1).clamp(min=0)
        return actions[torch.arange(self.count), acting]

    def _steer(self, told: dict[str, Tensor], observation: Tensor, layout: Layout) -> Tensor:
        """Who acts `[N]` now, with what the walker is told put in place of its velocity.

        A walker comes to rest by itself; `stand` takes over once it has, where it faces as `stand` learned to.
        """
        _, yaw, moves = pose(observation, layout)
        rest, walker = self.space.position(REST), self.space.walker
        stops = self.skill == rest
        velocity = told[walker].masked_fill(stops.unsqueeze(-1), 0.0)
        told[walker] = steered(velocity, yaw, self.space.gait, self.pace)
        self.pace = told[walker][:, 0]
        stands = (moves <= STANDS) & (self.pace <= STANDS) & (yaw.abs() <= STANDS_FACING)
        return self.skill.masked_fill(stops & ~stands, self.space.position(walker))

    def remember(self, reward: Tensor) -> None:
        """Take the rewards `[N]` of a control step into account."""
        self.most = torch.maximum(self.most, reward)

    def observed(self, observation: Tensor) -> Tensor:
        """What who decides sees of observations `[N, O]`: with the most earned where `SkillSpace.observed` says so."""
        return torch.cat([observation, self.most.unsqueeze(-1)], dim=-1) if self.space.steered else observation

    def snapshot(self) -> dict[str, Any]:
        """Everything that decides how it goes on, as tensors."""
        return {name: getattr(self, name).clone() for name in _STATE}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot.

        Raises:
            BadInput: it was taken of another number of episodes or of other skills.
        """
        if any(snapshot[name].shape != getattr(self, name).shape for name in _STATE):
            raise BadInput("the snapshot is of another number of episodes or of other skills")
        for name in _STATE:
            setattr(self, name, snapshot[name].clone())
