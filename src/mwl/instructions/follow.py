"""Carries out an instruction in one episode: the director weighs, the agents of the skills act, a film is made."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from mwl.core import keys
from mwl.core.artifact import atomic_folder
from mwl.core.errors import BadInput, MwlError
from mwl.core.files import write_json
from mwl.core.terminal import tell
from mwl.evaluation.agents import Agent, NamedAgent, resolve
from mwl.evaluation.run import check_fits
from mwl.evaluation.video import Recorder
from mwl.experiments import tracking
from mwl.instructions.config import FollowStage
from mwl.instructions.planner import choose_planner, who_planned
from mwl.robot import CONTROL_HZ
from mwl.semantics import Card, Clause, Director, DirectorConfig, SemanticHead, SequencerConfig
from mwl.semantics.shipped import shipped_connectors
from mwl.simulation import make_env

if TYPE_CHECKING:
    from mwl.simulation import HumanoidEnv
    from mwl.simulation.task import ObservationLayout

Report = Callable[[float, str], None]
VIDEO = "instruction.mp4"
FRAME_SIZE = (320, 240)  # pixels, width and height of the pictures that the director looks at
SHARED = 0.3  # weight from which a skill acts besides the heaviest one, as in "wave while walking"


class InstructedAgent:
    """Lets the agents of the skills act by the weights that the director gives; the others see nothing meanwhile.

    Args:
        director: weighs the skills.
        agents: who carries out which skill.
        layout: of the observation.
    """

    def __init__(self, director: Director, agents: Mapping[str, Agent], layout: "ObservationLayout") -> None:
        self.director, self.agents, self.layout = director, dict(agents), layout
        self.last: TensorDict | None = None
        self.weights: dict[str, float] = {}
        self._at_work: set[str] = set()
        self._step = 0

    def reset(self, done: Tensor | None = None) -> None:
        """Begin the plan again."""
        self.director.sequencer.reset()
        self._at_work, self._step = set(), 0

    def act(self, observation: Tensor, step: int | None = None) -> Tensor:
        """Actions `[1, A]` of the skills at work, mixed by their weights; one that takes over starts without a past."""
        now = self._step if step is None else step
        self._step = now + 1
        weights = self.director.update(observation[0], self.layout, now)
        self.weights = dict(zip(self.director.sequencer.names, weights.tolist(), strict=True))
        shares = self._shares()
        for skill in set(shares) - self._at_work:
            self.agents[skill].reset()
        self._at_work = set(shares)
        actions = [share * self.agents[skill].act(observation, now) for skill, share in shares.items()]
        self.last = self.agents[max(shares, key=shares.__getitem__)].last
        return torch.stack(actions).sum(dim=0)

    def _shares(self) -> dict[str, float]:
        """Skills that act now, with shares that sum to 1: the heaviest one, and others from `SHARED` on.

        Raises:
            BadInput: none of them has an agent.
        """
        heaviest = max(self.weights, key=self.weights.__getitem__)
        chosen = {name: w for name, w in self.weights.items() if name == heaviest or w >= SHARED}
        held = {name: w for name, w in chosen.items() if name in self.agents}
        if heaviest not in held:
            raise BadInput(missing_agent(self.director.clause.text, heaviest, self.agents))
        return {name: weight / sum(held.values()) for name, weight in held.items()}


def missing_agent(clause: str, skill: str, agents: Mapping[str, Any]) -> str:
    """What to tell the user whose instruction asks for a skill that nobody carries out."""
    known = ", ".join(sorted(agents))
    return f"{clause!r} asks for {skill!r}, for which no agent was given (given: {known})"


def understand(stage: FollowStage, agents: Mapping[str, NamedAgent]) -> SemanticHead:
    """The semantic head, with the cards of the agents that bring one."""
    head = SemanticHead.load(stage.semantic, stage.encoder, stage.pretrained)
    cards = {card.name: card for card in head.cards}
    for skill, agent in agents.items():
        if agent.manifest.get("stage") == "expert" and (card := agent.manifest.get("card")):
            cards[skill] = Card(skill, card["description"], card.get("paraphrases", ()))
    head.set_cards(list(cards.values()))
    return head


def direct(stage: FollowStage, head: SemanticHead, env: "HumanoidEnv", skills: Mapping[str, Any]) -> Director:
    """Plan the instruction for the scene as it is.

    Raises:
        NoSkillFits: a step is too far from every skill.
        BadInput: no agent was given for a step's skill.
    """
    director = Director(
        head,
        stage.instruction,
        lambda: env.render(0, *FRAME_SIZE),
        choose_planner(head, stage.planner, stage.chat_url, stage.chat_model),
        DirectorConfig(look_every=stage.look_every),
        SequencerConfig(
            timeout=stage.steps_per_clause,
            recover="stand" if "stand" in skills else "",
            connectors=shipped_connectors(skills),
        ),
        skills,
    )
    for clause in director.plan:
        if (skill := heaviest(clause)) not in skills:
            raise BadInput(missing_agent(clause.text, skill, skills))
    return director


def assign(named: Mapping[str, NamedAgent]) -> None:
    """Tell guided agents that have several skills which of them each was given for."""
    for skill, found in named.items():
        if len(found.expert_names) > 1 and skill in found.expert_names:
            found.agent.set_weights({skill: 1.0})  # type: ignore[attr-defined]


def heaviest(clause: Clause) -> str:
    """The skill of most weight."""
    return max(clause.weights, key=lambda name: clause.weights[name])


def follow(stage: FollowStage, video: Path, report: Report | None = None) -> dict[str, Any]:
    """Run the episode and film it.

    Returns:
        instruction, return, steps, whether the plan was finished, fell, distance walked in m, the steps of the plan as
        they stood at the end, and every decision with its reason.
    """
    env = make_env(stage.task, 1, stage.suite, stage.seed)  # type: ignore[arg-type]
    named = {skill: resolve(address) for skill, address in stage.agents.items()}
    assign(named)
    head = understand(stage, named)
    for found in named.values():
        check_fits(found, stage.task, env.task.layout.size)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(stage.seed)
        state = env.reset()
        director = direct(stage, head, env, named)
        agent = InstructedAgent(director, {skill: found.agent for skill, found in named.items()}, env.task.layout)
        with Recorder(video) as recorder:
            outcome = _episode(stage, env, state, agent, recorder, report)
    return {
        "instruction": stage.instruction,
        "task": stage.task,
        **outcome,
        "finished": director.finished,
        "plan": [{**asdict(clause), "skill": heaviest(clause)} for clause in director.plan],
        "decisions": [asdict(decision) for decision in director.decisions],
        "notice": head.notice,
        **who_planned(director.planner),
    }


def _episode(
    stage: FollowStage,
    env: "HumanoidEnv",
    state: TensorDict,
    agent: InstructedAgent,
    recorder: Recorder,
    report: Report | None,
) -> dict[str, Any]:
    """Act until the plan is finished, the robot falls, or the task's time is up."""
    director, limit = agent.director, env.task.max_episode_steps
    total, fell, step = 0.0, False, 0
    start = _position(env)
    for step in range(limit):
        action = agent.act(state[keys.OBSERVATION], step)
        if director.finished:
            break
        doing = director.clause
        skill = max(agent.weights, key=agent.weights.__getitem__)  # not the step's own where another is in between
        recorder.caption = [f"“{stage.instruction}”", f"now ({skill}): {doing.text}", *_reason(director)]
        recorder.weights = agent.weights
        recorder(step, env, agent)
        after = env.step(state.set(keys.ACTION, action))[keys.NEXT]
        total += float(after[keys.REWARD])
        fell = bool(after[keys.TERMINATED]) and not env.succeeded[0]
        if bool(after[keys.DONE]):
            break
        state = after.exclude(keys.REWARD)
        if report is not None and step % 10 == 0:
            report(step / limit, doing.text)
    distance = float(np.linalg.norm(_position(env) - start))
    return {"return": total, "steps": step + 1, "fell": fell, "distance_m": distance}


def _reason(director: Director) -> list[str]:
    """The latest decision, as a line of the film."""
    if not director.decisions:
        return []
    latest = director.decisions[-1]
    return [f"at {latest.step / CONTROL_HZ:.1f} s: {latest.reason}"]


def _position(env: "HumanoidEnv") -> np.ndarray:
    qpos, _ = env.state
    return np.asarray(qpos)[0, :2]


def follow_to_folder(
    stage: FollowStage, output: Path, experiment: str, parent: str | None, report: Report
) -> dict[str, Any]:
    """As `follow`, leaving the film in a folder that appears when complete, and in MLflow."""
    with atomic_folder(output) as folder:
        summary = follow(stage, folder / VIDEO, report)
        write_json(folder / "follow.json", summary)
        figures = [(name, float(summary[name]), 0) for name in ("return", "steps", "distance_m")]

        def log(run_id: str) -> None:
            tracking.log_figures(run_id, figures)
            if (folder / VIDEO).is_file():
                tracking.client().log_artifact(run_id, str(folder / VIDEO), "videos")

        tags = {tracking.KIND_TAG: "follow", tracking.STAGE_TAG: output.name}
        try:
            tracking.record(experiment, output.name, log, parent=parent, tags=tags)
        except MwlError as error:
            tell(f"{error}; the episode is not in MLflow, it lies in {output}")
    return {"return": summary["return"], "distance_m": summary["distance_m"]}
