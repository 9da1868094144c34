"""A route as a reference: legs such as `walk 3` and `turn 90`, turned into commands from where the robot is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from torch.nn.functional import normalize

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.core.plain import from_plain
from mwl.experts.features import Layout
from mwl.experts.guidance_state import GuidanceState
from mwl.skills.space import REST, SkillSpace
from mwl.skills.steering import pose, steered

_AHEAD = 1.0  # s of walking that the point on its leg's line lies ahead to which it steers (pure pursuit)
_NEAR = 0.4  # m, within which a corner counts as reached
_SLOW = 0.5  # m/s at which a corner is reached; it slows down to that by 1 m/s per metre left
_STANDS = 0.3  # m/s below which it may stand still at the end
_MEMORY = 5  # leg, x, y and heading of the start, and whether they are known


@dataclass(frozen=True)
class _Settings:
    """Those of `Route.to_plain`, for their types."""

    legs: list[str]
    speed: float
    lines: bool = False  # files from before there were lines have none


@dataclass(frozen=True)
class Advisors:
    """Who advises: the skills, as `ExpertLibrary` tells of its experts."""

    names: list[str]
    env_steps: int
    memory_size: int = _MEMORY

    @property
    def num_experts(self) -> int:
        """K."""
        return len(self.names)


class Route:
    """What every skill would be told on the way along a route, and which one has its turn.

    It advises as `mwl.selection.Guidance` does, with decisions as actions. At the last corner it
    stands.

    Args:
        space: the skills, among them a walker.
        legs: `walk M` in metres and `turn D` in degrees to the left, in order.
        layout: where the robot's state lies in observations.
        speed: at which it walks straight on, m/s.
        lines: follow the lines of its legs, from the scene's origin and facing along x: the noise with which an episode
            begins does not turn it. Else head for its corners, seen from where and how the robot stands at first, as
            agents do that were fitted so.

    Raises:
        BadInput: a leg that is none of these, no leg to walk, or a space without a walker.
    """

    def __init__(
        self, space: SkillSpace, legs: Sequence[str], layout: Layout, speed: float = 1.4, lines: bool = True
    ) -> None:
        self.space, self.legs, self.layout, self.speed, self.lines = space, list(legs), layout, speed, lines
        self.corners = torch.tensor(_corners(self.legs))  # [L, 2] m, from the start
        self._along = normalize(self.corners.diff(dim=0, prepend=torch.zeros(1, 2)))  # [L, 2], where each leg leads
        self.library = Advisors(space.skills, space.library.env_steps)
        actions = torch.stack([space.encode(name) for name in space.skills])
        self._actions, self._walks = actions, space.position(space.walker)

    @property
    def num_experts(self) -> int:
        """K, the number of skills."""
        return self.library.num_experts

    def begin(self, count: int) -> GuidanceState:
        """Where N = `count` episodes begin."""
        return GuidanceState.begin(torch.zeros(count, _MEMORY))

    def step(self, observation: Tensor, state: GuidanceState | None = None) -> tuple[TensorDict, GuidanceState]:
        """Reference actions at observations `[N, O]`, and the next state, see `mwl.selection.Guidance.step`."""
        if state is None or len(state.age) != len(observation):
            state = self.begin(len(observation))
        guide = self.reference(observation, state.memory)
        return guide, state._replace(memory=guide[keys.NEXT, keys.MEMORY], age=state.age + 1)

    @torch.no_grad()
    def reference(self, observation: Tensor, memory: Tensor | None = None, age: Tensor | None = None) -> TensorDict:
        """Reference actions at observations `[N, O]` where `memory` `[N, M]` says how far each has come."""
        count = len(observation)
        if memory is None:
            memory = torch.zeros(count, _MEMORY)
        place, yaw, moves = pose(observation, self.layout)
        here = torch.cat([torch.zeros(count, 1), place, yaw.unsqueeze(-1), torch.ones(count, 1)], dim=-1)
        if self.lines:
            here[:, 1:4] = 0.0
        memory = torch.where(memory[:, 4:] > 0, memory, here)
        velocity, after = self._ahead(place, yaw, moves, memory)
        actions = self._actions.expand(count, -1, -1).clone()
        actions[:, self._walks] = self._told(velocity, yaw)
        weights = torch.zeros(count, self.num_experts)
        over = after[:, 0].long() >= len(self.corners)
        weights[:, self._walks] = (~over).float()
        weights[:, self.space.position(REST)] = over.float()
        return TensorDict(
            {
                keys.EXPERT_ACTION: actions,
                keys.FUSED_WEIGHTS: weights,
                keys.REFERENCE_ACTION: (weights.unsqueeze(-1) * actions).sum(dim=1),
                keys.MEMORY: memory,
                keys.NEXT: {keys.MEMORY: after},
            },
            batch_size=[count],
        )

    def _ahead(self, place: Tensor, yaw: Tensor, moves: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity `[N, 2]` in the world that leads on, and the memory then; straight on and slow at the end."""
        leg, last = memory[:, 0].long(), len(self.corners) - 1
        near, ends = self._away(leg, place, memory).norm(dim=-1) < _NEAR, leg >= last
        leg = leg + (near & (leg <= last) & (~ends | (moves < _STANDS)))
        away = self._away(leg, place, memory)
        speed = (away.norm(dim=-1) + _SLOW - _NEAR).clamp(_SLOW, self.speed).masked_fill(near & ends, 0.0)
        after = torch.cat([leg.unsqueeze(-1).to(memory.dtype), memory[:, 1:]], dim=-1)
        if self.lines:  # to the point ahead on its line, or to its corner once that is nearer
            along = self._along[leg.clamp(max=last)]
            away = away - along * ((away * along).sum(dim=-1, keepdim=True) - _AHEAD * self.speed).clamp(min=0.0)
        return away / away.norm(dim=-1, keepdim=True).clamp(min=1e-6) * speed.unsqueeze(-1), after

    def _away(self, leg: Tensor, place: Tensor, memory: Tensor) -> Tensor:
        """From places `[N, 2]` to the corners of legs `[N]`, in m."""
        corner, start, facing = self.corners[leg.clamp(max=len(self.corners) - 1)], memory[:, 1:3], memory[:, 3]
        cos, sin = facing.cos(), facing.sin()
        turned = torch.stack([cos * corner[:, 0] - sin * corner[:, 1], sin * corner[:, 0] + cos * corner[:, 1]], -1)
        return start + turned - place

    def _told(self, velocity: Tensor, yaw: Tensor) -> Tensor:
        """Actions `[N, D]` of the walker that lead to a velocity `[N, 2]` in the world."""
        told = velocity if self.space.steered else steered(velocity, yaw, self.space.gait)
        action = self._actions[self._walks].expand(len(yaw), -1).clone()
        action[:, self.space.slice_of(self.space.walker)] = self.space.commands[self.space.walker].normalised(told)
        return action

    def to_plain(self) -> dict[str, Any]:
        """All but the skills, which their space tells of."""
        return {"legs": list(self.legs), "speed": self.speed, "lines": self.lines}

    @classmethod
    def from_plain(cls, entries: Mapping[str, Any], space: SkillSpace, layout: Layout) -> "Route":
        """The route that `to_plain` described.

        Raises:
            CorruptFile: entries are missing or of another type.
            BadInput: they do not fit the space.
        """
        settings = from_plain(_Settings, dict(entries), "route")
        return cls(space, settings.legs, layout, settings.speed, settings.lines)


def _corners(legs: Sequence[str]) -> list[tuple[float, float]]:
    """Ends in m of the legs to be walked, seen from the start.

    Raises:
        BadInput: a leg that is none, or none to walk.
    """
    corners, x, y, heading = [], 0.0, 0.0, 0.0
    for leg in legs:
        kind, _, amount = leg.partition(" ")
        try:
            number = float(amount)
        except ValueError:
            number = math.nan
        if kind not in ("walk", "turn") or not math.isfinite(number):
            raise BadInput(f"{leg!r} is no leg of a route; write `walk 3` (metres) or `turn 90` (degrees to the left)")
        if kind == "turn":
            heading += math.radians(number)
        else:
            x, y = x + number * math.cos(heading), y + number * math.sin(heading)
            corners.append((x, y))
    if not corners:
        raise BadInput("a route needs at least one leg to walk, such as `walk 3`")
    return corners
