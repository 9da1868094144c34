"""Carries out an instruction of several clauses in one episode: each clause by the agent of its skill, filmed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mwl import keys, tracking
from mwl.errors import BadInput
from mwl.evaluation.agents import Agent, resolve
from mwl.evaluation.video import Recorder
from mwl.handoff import atomic_folder
from mwl.pipeline.config import FollowStage
from mwl.simulation import make_env

if TYPE_CHECKING:
    from torch import Tensor

    from mwl.simulation import HumanoidEnv

Report = Callable[[float, str], None]
VIDEO = "instruction.mp4"


@dataclass(frozen=True)
class Part:
    """One clause of the instruction, and who carries it out."""

    clause: str
    skill: str
    weights: dict[str, float]
    agent: Agent


class InstructedAgent:
    """Follows the parts of an instruction in turn; the one now at work sees nothing of the others.

    Args:
        parts: in the order in which they are carried out.
        steps_per_clause: control steps after which the next part takes over; the last one stays.
    """

    def __init__(self, parts: list[Part], steps_per_clause: int) -> None:
        self.parts, self.steps_per_clause = parts, steps_per_clause
        self.last: Any = None
        self._place = -1
        self._step = 0

    @property
    def part(self) -> Part:
        """The part at work."""
        return self.parts[max(0, self._place)]

    def reset(self, done: "Tensor | None" = None) -> None:
        """Begin again with the first part."""
        self._place, self._step = -1, 0

    def act(self, observation: "Tensor", step: int | None = None) -> "Tensor":
        """Actions [N, A] of the part at work; a part that takes over starts without a past."""
        now = self._step if step is None else step
        self._step = now + 1
        place = min(now // self.steps_per_clause, len(self.parts) - 1)
        if place != self._place:
            self._place = place
            self.part.agent.reset()
        action = self.part.agent.act(observation, now)
        self.last = self.part.agent.last
        return action


def assign(stage: FollowStage) -> list[Part]:
    """Understand the instruction and give each clause to the agent of its heaviest skill.

    Raises:
        NoSkillFits: a clause is too far from every skill.
        BadInput: no agent was given for a clause's skill.
    """
    from mwl.semantics import SemanticHead

    head = SemanticHead.load(stage.semantic)
    agents: dict[str, Agent] = {}
    parts = []
    for clause in head.plan(stage.instruction):
        weights = dict(clause.weights)
        skill = max(weights, key=lambda name: weights[name])
        if skill not in stage.agents:
            known = ", ".join(sorted(stage.agents))
            raise BadInput(f"{clause.text!r} asks for {skill!r}, for which no agent was given (given: {known})")
        if skill not in agents:
            agents[skill] = resolve(stage.agents[skill]).agent
        parts.append(Part(clause.text, skill, weights, agents[skill]))
    return parts


def follow(stage: FollowStage, video: Path, report: Report | None = None) -> dict[str, Any]:
    """Run the episode and film it.

    Returns:
        instruction, return, steps, fell, distance walked in m, and what each clause became.
    """
    parts = assign(stage)
    agent = InstructedAgent(parts, stage.steps_per_clause)
    env = make_env(stage.task, 1, stage.suite, stage.seed)  # type: ignore[arg-type]
    recorder = Recorder(video)
    steps = min(env.task.max_episode_steps, stage.steps_per_clause * len(parts))
    total, fell = 0.0, False
    step = 0
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(stage.seed)
        state = env.reset()
        agent.reset()
        start = _position(env)
        for step in range(steps):
            action = agent.act(state[keys.OBSERVATION], step)
            recorder.caption = [f"“{stage.instruction}”", f"now: {agent.part.clause}  ({agent.part.skill})"]
            recorder.weights = agent.part.weights
            recorder(step, env, agent)
            full = env.step(state.set(keys.ACTION, action))
            after = full[keys.NEXT]
            total += float(after[keys.REWARD])
            fell = bool(after[keys.TERMINATED])
            if bool(after[keys.DONE]):
                break
            state = after.exclude(keys.REWARD)
            if report is not None and step % 10 == 0:
                report(step / steps, agent.part.clause)
        distance = float(np.linalg.norm(_position(env) - start))
    recorder.close()
    return {
        "instruction": stage.instruction,
        "task": stage.task,
        "return": total,
        "steps": step + 1,
        "fell": fell,
        "distance_m": distance,
        "parts": [{"clause": part.clause, "skill": part.skill, "weights": part.weights} for part in parts],
    }


def _position(env: "HumanoidEnv") -> np.ndarray:
    qpos, _ = env.state
    return np.asarray(qpos)[0, :2]


def follow_to_folder(
    stage: FollowStage, output: Path, experiment: str, parent: str | None, report: Report
) -> dict[str, Any]:
    """As `follow`, leaving the film in a folder that appears when complete, and in MLflow."""
    import json

    with atomic_folder(output) as folder:
        summary = follow(stage, folder / VIDEO, report)
        (folder / "follow.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        tags = {tracking.KIND_TAG: "follow", tracking.STAGE_TAG: output.name}
        with tracking.run(experiment, output.name, parent=parent, tags=tags) as run_id:
            store = tracking.client()
            for name in ("return", "steps", "distance_m"):
                store.log_metric(run_id, name, float(summary[name]))
            store.log_artifact(run_id, str(folder / VIDEO), "videos")
    return {"return": summary["return"], "distance_m": summary["distance_m"]}
