"""The skills of a library as one space of actions: scores that choose who acts, then what each can be told."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from mwl.core.errors import BadInput
from mwl.core.plain import from_plain
from mwl.experts.library import Expert, ExpertLibrary
from mwl.simulation.task import ObservationLayout
from mwl.skills.commands import VELOCITY, Command, command_of
from mwl.skills.steering import RESTS, steering

REST = "stand"
"""The skill that is always there: a robot that can't stand still can't wait."""


@dataclass(frozen=True)
class Bridge:
    """A transition expert that acts between two skills.

    Args:
        expert: its name in the library.
        steps: control steps it acts for.
    """

    expert: str
    steps: int


@dataclass(frozen=True)
class Decision:
    """Who acts, and what the experts are told.

    Args:
        skill: `[N]` int64, positions in the space's skills.
        commands: by skill, `[N, C]` in the units of its command; only those of the chosen skill are heard.
    """

    skill: Tensor
    commands: Mapping[str, Tensor]


@dataclass(frozen=True)
class _Settings:
    """Those of `SkillSpace.to_plain`, for their types."""

    skills: list[str]
    bridges: list[tuple[str, str, str, int]]  # from, to, expert, steps
    ranges: dict[str, Command]
    steered: bool = False


class SkillSpace:
    """Actions `[N, D]` in [-1, 1]: a score for each of S skills, then the command of each that takes one.

    The skill of the highest score acts; where there is only one to score there are no scores.

    Args:
        library: experts of the skills, and of the bridges.
        skills: names of those to choose from, in order; None takes all that are no bridge's.
        bridges: transition experts by (from, to).
        ranges: commands by skill in place of those that the manifests state.
        steered: the walker is told a velocity in the world, see `steered`; where that is too slow it stops, and `stand`
            acts where the robot faces along x.

    Raises:
        BadInput: an unknown name, `stand` is missing among several skills, a walker where it is to be steered, or a
            bridge without steps.
    """

    def __init__(
        self,
        library: ExpertLibrary,
        skills: Sequence[str] | None = None,
        bridges: Mapping[tuple[str, str], Bridge] | None = None,
        ranges: Mapping[str, Command] | None = None,
        steered: bool = False,
    ) -> None:
        self.library, self.bridges = library, dict(bridges or {})
        between = {bridge.expert for bridge in self.bridges.values()}
        self.skills = [name for name in library.names if name not in between] if skills is None else list(skills)
        for name in (*self.skills, *between):
            library.index(name)
        if len(set(self.skills)) != len(self.skills) or REST not in self.skills:
            raise BadInput(f"the skills must differ and hold {REST!r}; they are {', '.join(self.skills) or 'none'}")
        self.steered = steered
        for name in (name for pair in self.bridges for name in pair):
            self.position(name)
        if any(bridge.steps < 1 for bridge in self.bridges.values()):
            raise BadInput("a bridge between two skills must act for at least one control step")
        self.experts = torch.tensor([library.index(name) for name in self.skills])
        told = {name: command_of(library.experts[library.index(name)].manifest) for name in self.skills}
        self._told = {name: command for name, command in told.items() if command is not None}
        self.commands = {name: (ranges or {}).get(name) or command for name, command in self._told.items()}
        if steered:
            self.commands[self.walker] = steering(self.gait)
        self._scored = [name for name in self.skills if not (steered and name == REST)]
        self._scores = len(self._scored) if len(self._scored) > 1 else 0
        self._scored_positions = torch.tensor([self.skills.index(name) for name in self._scored])
        self._slices, start = {}, self._scores
        for name, command in self.commands.items():
            self._slices[name] = slice(start, start + command.size)
            start += command.size
        self.size = start

    @property
    def walker(self) -> str:
        """The skill that can be steered: the first one that is told a velocity.

        Raises:
            BadInput: none is.
        """
        for name, command in self._told.items():
            if command.names == VELOCITY.names:
                return name
        raise BadInput(f"none of the skills {', '.join(self.skills)} is told a velocity, as a walker is")

    @property
    def gait(self) -> Command:
        """What the walker is told where it is not steered, within the ranges that its manifest states."""
        return self._told[self.walker]

    @property
    def names(self) -> list[str]:
        """What each of the D numbers of an action means."""
        told = [f"{skill} {axis}" for skill, command in self.commands.items() for axis in command.names]
        return [*(f"score of {skill}" for skill in self._scored[: self._scores]), *told]

    def observed(self, layout: ObservationLayout) -> ObservationLayout:
        """What who decides sees of a task, from its layout.

        Where the walker is steered, the agent remembers the most that it earned in a control step of the episode: what
        pays next may depend on what was reached, which an observation need not show.
        """
        return ObservationLayout(**layout.sizes, most_earned=1) if self.steered else layout

    def shown(self, observed: Mapping[str, int]) -> dict[str, int]:
        """What of the parts that are `observed` the task itself shows, sizes by name."""
        added = self.observed(ObservationLayout()).sizes
        return {name: size for name, size in observed.items() if name not in added}

    def position(self, skill: str) -> int:
        """Where a skill stands among the scores.

        Raises:
            BadInput: no such skill.
        """
        if skill not in self.skills:
            raise BadInput(f"no skill {skill!r}; there are {', '.join(self.skills)}")
        return self.skills.index(skill)

    def slice_of(self, skill: str) -> slice:
        """Where in an action the command of a skill stands."""
        return self._slices[skill]

    def decode(self, action: Tensor) -> Decision:
        """The decision that actions `[N, D]` stand for.

        Raises:
            BadInput: the actions have another size.
        """
        if action.shape[-1] != self.size:
            raise BadInput(f"a decision has {self.size} numbers ({', '.join(self.names)}), not {action.shape[-1]}")
        scores = action[:, : self._scores]
        best = scores.argmax(dim=-1) if self._scores else action.new_zeros(len(action), dtype=torch.int64)
        skill = self._scored_positions[best]
        told = {name: command.values(action[:, self._slices[name]]) for name, command in self.commands.items()}
        if self.steered:
            rests = (skill == self.position(self.walker)) & (told[self.walker].norm(dim=-1) < RESTS)
            skill = skill.masked_fill(rests, self.position(REST))
        return Decision(skill, told)

    def encode(self, skill: str, command: Sequence[float] | Tensor | None = None) -> Tensor:
        """The action `[D]` that chooses a skill and tells it a command; None tells the middle of its range.

        Numbers that the skill does not hear are 0.

        Raises:
            BadInput: no such skill, a command for a skill that takes none, or one of another size.
        """
        self.position(skill)
        action = torch.zeros(self.size)
        if self.steered and skill == REST:
            skill, command = self.walker, [0.0, 0.0]
        if self._scores:
            action[: self._scores] = -1.0
            action[self._scored.index(skill)] = 1.0
        if command is None:
            return action
        values = torch.as_tensor(command, dtype=torch.float32)
        stated = self.commands.get(skill)
        if stated is None or values.shape != (stated.size,):
            takes = "no command" if stated is None else f"a command of {stated.size} ({', '.join(stated.names)})"
            raise BadInput(f"skill {skill} takes {takes}, not {tuple(values.shape)}")
        action[self._slices[skill]] = stated.normalised(values)
        return action

    def draw(self, count: int) -> Tensor:
        """Random actions `[count, D]`, every other one of `grid`: extremes lead further than what lies between.

        A skill is drawn the more often the more it is told, by 1 + C.
        """
        action = torch.rand(count, self.size) * 2 - 1
        if self._scores:
            sizes = [1 + (self.commands[name].size if name in self.commands else 0) for name in self._scored]
            chosen = torch.multinomial(torch.tensor(sizes, dtype=torch.float32), count, replacement=True)
            action[:, : self._scores] = 2 * torch.eye(self._scores)[chosen] - 1
        extreme = torch.rand(count) < 0.5
        action[extreme, self._scores :] = action[extreme, self._scores :].mul(1.4999).round()
        return action

    def grid(self) -> Tensor:
        """Actions `[M, D]` of every skill by itself, at the least, middle and greatest of each number it is told."""
        actions = []
        for name in self._scored:
            size = self.commands[name].size if name in self.commands else 0
            for told in product((-1.0, 0.0, 1.0), repeat=size):
                action = self.encode(name)
                if size:
                    action[self._slices[name]] = torch.tensor(told)
                actions.append(action)
        return torch.stack(actions)

    def to_plain(self) -> dict[str, Any]:
        """Everything, experts included, as plain values and tensors, to be read back by `from_plain`."""
        return {
            "experts": [expert.to_plain() for expert in self.library.experts],
            "skills": list(self.skills),
            "bridges": [[*pair, bridge.expert, bridge.steps] for pair, bridge in self.bridges.items()],
            "ranges": {name: asdict(command) for name, command in self.commands.items()},
            "steered": self.steered,
        }

    @classmethod
    def from_plain(cls, entries: Mapping[str, Any]) -> "SkillSpace":
        """The space that `to_plain` described.

        Raises:
            CorruptFile, SpecMismatch: entries are missing or of another type.
            BadInput: they do not fit each other.
        """
        experts = [Expert.from_plain(entry, f"expert {i + 1}") for i, entry in enumerate(entries["experts"])]
        told = {name: entries.get(name) for name in ("skills", "bridges", "ranges")}
        told["steered"] = entries.get("steered", False)
        settings = from_plain(_Settings, told, "skills")
        bridges = {(before, after): Bridge(expert, steps) for before, after, expert, steps in settings.bridges}
        return cls(ExpertLibrary(experts), settings.skills, bridges, settings.ranges, settings.steered)
