"""Lets the agents of the skills act by the weights that a director gives, told what the words say."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDict
from torch import Tensor

from mwl.core.errors import BadInput
from mwl.core.manifest import Manifest
from mwl.experts.spec import VELOCITIES
from mwl.instructions.plan_steering import Steering
from mwl.instructions.turned_observations import mirrored, turned
from mwl.instructions.velocity_commands import VelocityCommand, asked_velocity, checked
from mwl.robot.joint_mirror import mirror_joints
from mwl.rollouts import Agent
from mwl.semantics import Clause, Director
from mwl.semantics.language.parameters import Parameters
from mwl.semantics.shipped import COMMANDED

if TYPE_CHECKING:
    from mwl.simulation.task import ObservationLayout

_ARMS = {"left": 1.0, "right": -1.0, "both": 0.0}


class InstructedAgent:
    """The heaviest skill acts, the others see nothing meanwhile: two of them mixed would fall.

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
        manifests: Mapping[str, Manifest] | None = None,
    ) -> None:
        self.director, self.agents, self.layout = director, dict(agents), layout
        self.manifests = dict(manifests or {})
        self.last: TensorDict | None = None
        self.weights: dict[str, float] = {}
        self._at_work = ""
        self._step = 0
        self._steering = Steering()
        self._facing = torch.zeros(1)
        self._plan: list[Clause] = []
        self._commands: list[VelocityCommand | None] = []

    def reset(self, done: Tensor | None = None) -> None:
        """Begin the plan again."""
        self.director.sequencer.reset()
        self._at_work, self._step, self._steering = "", 0, Steering()

    def act(self, observation: Tensor, step: int | None = None) -> Tensor:
        """Actions `[1, A]` of the skill at work; one that takes over starts without a past.

        Raises:
            BadInput: it has no agent.
        """
        now = self._step if step is None else step
        self._step = now + 1
        side = self.director.clause.parameters.side
        seen = mirrored(observation, self.layout) if side == "right" else observation
        weights = self.director.update(observation[0], self.layout, now, seen[0])
        self.weights = dict(zip(self.director.sequencer.names, weights.tolist(), strict=True))
        skill = max(self.weights, key=self.weights.__getitem__)
        if skill not in self.agents:
            raise BadInput(missing_agent(self.director.clause.text, skill, self.agents))
        if skill != self._at_work:
            self.agents[skill].reset()
            measured = self.director.sequencer.odometer  # who stands does so as it is turned, who runs as it should be
            self._facing = measured.heading + (0.0 if skill == "run" else measured.turned)
        self._at_work = skill
        action = self._action(skill, observation, now)
        self.last = getattr(self.agents[skill], "last", None)
        return action

    def remember(self, reward: Tensor) -> None:
        """Let the skill at work take the rewards `[N]` of the last actions into account, where it does."""
        if (remember := getattr(self.agents.get(self._at_work), "remember", None)) is not None:
            remember(reward)

    def _action(self, skill: str, observation: Tensor, now: int) -> Tensor:
        """Action `[1, A]` of one skill: told, seen from the heading to be kept, or by the other hand."""
        agent, manifest = self.agents[skill], self.manifests.get(skill)
        if manifest is None:
            return agent.act(observation, now)
        taken = manifest.observation.command
        kind = taken.kind if taken else None
        clause, measured = self.director.clause, self.director.sequencer.odometer
        if kind in VELOCITIES:
            command, parameters = self._command(skill, clause, manifest)
            agent.commands = {  # type: ignore[attr-defined]
                manifest.name: self._steering.command(command, parameters, measured)
            }
            return agent.act(observation, now)
        self._steering = Steering()
        if kind == "arm" and taken is not None:
            arm = _ARMS.get(clause.parameters.side, float(taken.default[0]))
            agent.commands = {manifest.name: torch.tensor([[arm]])}  # type: ignore[attr-defined]
        if kind is None or kind == "arm":
            return agent.act(turned(observation, self.layout, -self._facing), now)
        if clause.parameters.side == "right" and kind == "hand_target":
            return mirror_joints(agent.act(mirrored(observation, self.layout), now))
        return agent.act(observation, now)

    def _command(self, skill: str, clause: Clause, manifest: Manifest) -> tuple[VelocityCommand, Parameters]:
        """What a walking skill is told: by its step, as usual between two others, to rest where all is done."""
        if self._plan is not self.director.plan:
            self._plan = self.director.plan
            self._commands = checked(self._plan, self.manifests)
        place = min((self.director.sequencer.place or [0])[0], len(self._plan) - 1)
        command = self._commands[place]
        if self.director.finished:
            return VelocityCommand(0.0, (1.0, 0.0), 0.0), Parameters(speed=0.0)
        if command is None or self.director.sequencer.between:
            usual = asked_velocity(skill, Parameters(), manifest)
            assert usual is not None
            return usual, Parameters()
        return command, clause.parameters


def missing_agent(clause: str, skill: str, agents: Mapping[str, Any]) -> str:
    """What to tell the user whose instruction asks for a skill that nobody carries out."""
    known = ", ".join(sorted(agents))
    own = ""
    if skill in COMMANDED:
        own = f"; `mwl play {json.dumps(clause[:80], ensure_ascii=False)}` has {COMMANDED[skill][0]} for it"
    return f"{clause!r} asks for {skill!r}, for which no agent was given (given: {known}){own}"
