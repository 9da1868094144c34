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
from mwl.simulation import get_task

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

    Attributes:
        weights: by skill, those that hold now for the first robot.
        skills: who acts now, for each robot.
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
        self.skills: list[str] = []
        self._step = 0
        self._steering: list[Steering] = []
        self._facing = torch.zeros(0)
        self._plan: list[Clause] = []
        self._commands: list[VelocityCommand | None] = []

    def reset(self, done: Tensor | None = None) -> None:
        """Begin the plan again."""
        self.director.sequencer.reset()
        self.skills, self._step = [], 0

    def act(self, observation: Tensor, step: int | None = None) -> Tensor:
        """Actions `[N, A]` of the skills at work; one that takes over starts without a past.

        Raises:
            BadInput: one has no agent.
        """
        now = self._step if step is None else step
        self._step = now + 1
        weights = self.director.update(observation, self.layout, now, self._seen(observation))
        names, measured = self.director.sequencer.names, self.director.sequencer.odometer
        self.weights = dict(zip(names, weights[0].tolist(), strict=True))
        skills = [names[place] for place in weights.argmax(dim=-1).tolist()]
        before = self.skills if len(self.skills) == len(skills) else [""] * len(skills)
        if before is not self.skills:
            self._steering, self._facing = list(map(Steering, range(len(skills)))), torch.zeros(len(skills))
        begins = torch.tensor([skill != old for skill, old in zip(skills, before, strict=True)])
        kept = torch.tensor([skill == "run" for skill in skills])  # who stands does so as it is turned
        self._facing = torch.where(begins, measured.heading + measured.turned.masked_fill(kept, 0.0), self._facing)
        self.skills = skills
        action = torch.empty(len(skills), 0)
        for skill in dict.fromkeys(skills):
            if skill not in self.agents:
                raise BadInput(missing_agent(self._clause(skills.index(skill)).text, skill, self.agents))
            mine = torch.tensor([skill == other for other in skills])
            if bool((mine & begins).any()):
                self.agents[skill].reset(mine & begins)
            own = self._action(skill, observation, now)
            action = torch.where(mine[:, None], own, action) if action.numel() else own
        self.last = getattr(self.agents[skills[0]], "last", None)
        return action

    def remember(self, reward: Tensor) -> None:
        """Let the skills at work take the rewards `[N]` of the last actions into account, where they do."""
        for skill in dict.fromkeys(self.skills):
            if (remember := getattr(self.agents.get(skill), "remember", None)) is not None:
                remember(reward)

    def _seen(self, observation: Tensor) -> Tensor:
        """Observations `[N, O]` by which progress is judged: a right hand is the left one of the mirror image."""
        right = [self._clause(robot).parameters.side == "right" for robot in range(len(observation))]
        if not any(right):
            return observation
        return torch.where(torch.tensor(right)[:, None], mirrored(observation, self.layout), observation)

    def _clause(self, robot: int) -> Clause:
        """The step that a robot is at."""
        places = self.director.sequencer.place
        return self.director.plan[min(places[robot] if places else 0, len(self.director.plan) - 1)]

    def _action(self, skill: str, observation: Tensor, now: int) -> Tensor:
        """Actions `[N, A]` of one skill: told, seen from the heading to be kept, or by the other hand."""
        agent, manifest = self.agents[skill], self.manifests.get(skill)
        if manifest is None:
            return agent.act(observation, now)
        taken = manifest.observation.command
        kind = taken.kind if taken else None
        if kind in VELOCITIES:
            told = torch.cat([self._told(robot, skill, manifest) for robot in range(len(observation))])
            agent.commands = {manifest.name: told}  # type: ignore[attr-defined]
            return agent.act(observation, now)
        for robot, at_work in enumerate(self.skills):
            if at_work == skill:
                self._steering[robot] = Steering(robot)
        sides = [self._clause(robot).parameters.side for robot in range(len(observation))]
        if kind == "arm" and taken is not None:
            arms = [_ARMS.get(side, float(taken.default[0])) for side in sides]
            agent.commands = {manifest.name: torch.tensor(arms)[:, None]}  # type: ignore[attr-defined]
        if (kind is None and not _placed(manifest)) or kind == "arm":
            return agent.act(turned(observation, self.layout, -self._facing), now)
        right = torch.tensor([side == "right" for side in sides])[:, None]
        if kind == "hand_target" and bool(right.any()):
            own = agent.act(torch.where(right, mirrored(observation, self.layout), observation), now)
            return torch.where(right, mirror_joints(own), own)
        return agent.act(observation, now)

    def _told(self, robot: int, skill: str, manifest: Manifest) -> Tensor:
        """What a walking skill is told `[1, 3]`; a robot that another skill moves is told nothing new."""
        if self.skills[robot] != skill:
            return self._steering[robot].last
        command, parameters = self._command(robot, skill, manifest)
        return self._steering[robot].command(command, parameters, self.director.sequencer.odometer)

    def _command(self, robot: int, skill: str, manifest: Manifest) -> tuple[VelocityCommand, Parameters]:
        """By its step, as usual between two others, to rest where all is done."""
        if self._plan is not self.director.plan:
            self._plan = self.director.plan
            self._commands = checked(self._plan, self.manifests)
        sequencer = self.director.sequencer
        if sequencer.place[robot] >= len(self._plan):
            return VelocityCommand(0.0, (1.0, 0.0), 0.0), Parameters(speed=0.0)
        command = self._commands[sequencer.place[robot]]
        if command is None or sequencer.acting_between(robot):
            usual = asked_velocity(skill, Parameters(), manifest)
            assert usual is not None
            return usual, Parameters()
        return command, self._clause(robot).parameters


def _placed(manifest: Manifest) -> bool:
    """Whether an expert acts on a thing that stands where it is, so that the world may not be turned for it."""
    return "door_qpos" in get_task(str(manifest.task)).layout.slices


def missing_agent(clause: str, skill: str, agents: Mapping[str, Any]) -> str:
    """What to tell the user whose instruction asks for a skill that nobody carries out."""
    known = ", ".join(sorted(agents))
    own = ""
    if skill in COMMANDED:
        own = f"; `mwl play {json.dumps(clause[:80], ensure_ascii=False)}` has {COMMANDED[skill][0]} for it"
    return f"{clause!r} asks for {skill!r}, for which no agent was given (given: {known}){own}"
