"""Lets the agents of the skills act by the weights that a director gives, told what the words say."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDict
from torch import Tensor

from mwl.core.errors import BadInput
from mwl.evaluation.agents import Agent
from mwl.instructions.steering import Steering
from mwl.instructions.told import Told, checked, told
from mwl.instructions.views import mirrored, turned
from mwl.robot.symmetry import mirror_joints
from mwl.semantics import Clause, Director
from mwl.semantics.language.parameters import Parameters

if TYPE_CHECKING:
    from mwl.simulation.task import ObservationLayout

SHARED = 0.3  # weight from which a skill acts besides the heaviest one, where the words ask for several at once
SCENE = ("hand_target", "door")  # kinds of command that are read from the scene


class InstructedAgent:
    """The skills at work act, the others see nothing meanwhile.

    Args:
        director: weighs the skills.
        agents: who carries out which skill.
        layout: of the observation.
        manifests: of the skills that an expert carries out, which can be told something.
    """

    def __init__(
        self,
        director: Director,
        agents: Mapping[str, Agent],
        layout: "ObservationLayout",
        manifests: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.director, self.agents, self.layout = director, dict(agents), layout
        self.manifests = dict(manifests or {})
        self.last: TensorDict | None = None
        self.weights: dict[str, float] = {}
        self._at_work: set[str] = set()
        self._step = 0
        self._steering = Steering()
        self._facing = torch.zeros(1)
        self._plan: list[Clause] = []
        self._commands: list[Told | None] = []

    def reset(self, done: Tensor | None = None) -> None:
        """Begin the plan again."""
        self.director.sequencer.reset()
        self._at_work, self._step, self._steering = set(), 0, Steering()

    def act(self, observation: Tensor, step: int | None = None) -> Tensor:
        """Actions `[1, A]` of the skills at work; one that takes over starts without a past."""
        now = self._step if step is None else step
        self._step = now + 1
        side = self.director.clause.parameters.side
        seen = mirrored(observation, self.layout) if side == "right" else observation
        weights = self.director.update(observation[0], self.layout, now, seen[0])
        self.weights = dict(zip(self.director.sequencer.names, weights.tolist(), strict=True))
        shares = self._shares()
        for skill in set(shares) - self._at_work:
            self.agents[skill].reset()
            measured = self.director.sequencer.odometer  # who stands does so as it is turned, who runs as it should be
            self._facing = measured.heading + (measured.turned if skill == "stand" else 0.0)
        self._at_work = set(shares)
        actions = [share * self._action(skill, observation, now) for skill, share in shares.items()]
        self.last = self.agents[max(shares, key=shares.__getitem__)].last
        return torch.stack(actions).sum(dim=0)

    def _action(self, skill: str, observation: Tensor, now: int) -> Tensor:
        """Action `[1, A]` of one skill: told, seen from the heading to be kept, or by the other hand."""
        agent, manifest = self.agents[skill], self.manifests.get(skill)
        if manifest is None:
            return agent.act(observation, now)
        kind = (manifest["observation"].get("command") or {}).get("kind")
        clause, measured = self.director.clause, self.director.sequencer.odometer
        if kind == "velocity":
            command, parameters = self._command(skill, clause, manifest)
            agent.commands = {  # type: ignore[attr-defined]
                manifest["name"]: self._steering.command(command, parameters, measured)
            }
            return agent.act(observation, now)
        self._steering = Steering()
        if kind is None:
            return agent.act(turned(observation, self.layout, -self._facing), now)
        if clause.parameters.side == "right" and kind == "hand_target":
            return mirror_joints(agent.act(mirrored(observation, self.layout), now))
        return agent.act(observation, now)

    def _command(self, skill: str, clause: Clause, manifest: Mapping[str, Any]) -> tuple[Told, Parameters]:
        """What a walking skill is told: by its step, as usual between two others, to rest where all is done."""
        if self._plan is not self.director.plan:
            self._plan = self.director.plan
            self._commands = checked(self._plan, self.manifests)
        place = min((self.director.sequencer.place or [0])[0], len(self._plan) - 1)
        command = self._commands[place]
        if self.director.finished:
            return Told(0.0, (1.0, 0.0), 0.0), Parameters(speed=0.0)
        if command is None or self.director.sequencer.between:
            usual = told(skill, Parameters(), manifest)
            assert usual is not None
            return usual, Parameters()
        return command, clause.parameters

    def _shares(self) -> dict[str, float]:
        """Skills that act now, with shares that sum to 1: the heaviest one, and where the words ask for both another.

        Raises:
            BadInput: none of them has an agent.
        """
        heaviest = max(self.weights, key=self.weights.__getitem__)
        least = SHARED if self.director.clause.together else 2.0
        chosen = {name: w for name, w in self.weights.items() if name == heaviest or w >= least}
        held = {name: w for name, w in chosen.items() if name in self.agents}
        if heaviest not in held:
            raise BadInput(missing_agent(self.director.clause.text, heaviest, self.agents))
        return {name: weight / sum(held.values()) for name, weight in held.items()}


def missing_agent(clause: str, skill: str, agents: Mapping[str, Any]) -> str:
    """What to tell the user whose instruction asks for a skill that nobody carries out."""
    known = ", ".join(sorted(agents))
    return f"{clause!r} asks for {skill!r}, for which no agent was given (given: {known})"
