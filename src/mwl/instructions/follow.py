"""Carries out an instruction in one episode: the director weighs, the agents of the skills act, a film is made."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tensordict import TensorDict

from mwl.core import keys
from mwl.core.artifact import atomic_folder, read_manifest
from mwl.core.errors import BadInput, MwlError, NoSkillFits
from mwl.core.files import write_json
from mwl.core.manifest import Manifest
from mwl.core.terminal import tell
from mwl.evaluation.agents import NamedAgent, find_expert, resolve
from mwl.evaluation.run import check_fits
from mwl.evaluation.video import Recorder
from mwl.experiments import tracking
from mwl.instructions.acting import InstructedAgent, missing_agent
from mwl.instructions.config import FollowStage
from mwl.instructions.planner import choose_planner, who_planned
from mwl.instructions.preconditions import (
    TRANSITIONS,
    PreconditionPlanner,
    check_ground,
    check_order,
    heaviest,
    shipped_agents,
    task_of,
)
from mwl.instructions.trajectory import Trajectory
from mwl.instructions.velocity_commands import checked, takes_velocity
from mwl.robot import CONTROL_HZ
from mwl.rollouts.falls import AT_RISK, LYING, Upright
from mwl.semantics import Clause, Director, DirectorConfig, SemanticHead, SequencerConfig
from mwl.semantics.language import clauses
from mwl.semantics.plan.progress import met
from mwl.semantics.shipped import shipped_connectors
from mwl.simulation import make_env
from mwl.simulation.rendering.scene import SceneRecorder, can_record
from mwl.simulation.world import valid_seed

if TYPE_CHECKING:
    from mwl.simulation import HumanoidEnv

Report = Callable[[float, str], None]
VIDEO, SCENE = "instruction.mp4", "instruction.html"
LONGEST = 15_000  # control steps, five minutes
SEEN = 0.05  # weight of a skill from which the film has a bar for it
FRAME_SIZE = (320, 240)  # pixels, width and height of the pictures that the director looks at


def understand(stage: FollowStage, agents: Mapping[str, NamedAgent]) -> SemanticHead:
    """The semantic head, with the cards of the agents that bring one."""
    head = SemanticHead.load(stage.semantic, stage.encoder, stage.pretrained)
    cards = {card.name: card for card in head.cards}
    for skill, agent in agents.items():
        between = skill in TRANSITIONS and agent.address == f"expert:{skill}"  # words ask for walking, not for that
        if between or skill in head.commanded:
            continue
        if agent.manifest.stage == "expert" and (card := agent.manifest.card):
            cards[skill] = replace(card, name=skill)
    head.set_cards(list(cards.values()), head.commanded)
    return head


def direct(
    stage: FollowStage,
    head: SemanticHead,
    env: "HumanoidEnv",
    skills: Mapping[str, Any],
    manifests: Mapping[str, Manifest] | None = None,
) -> Director:
    """Plan the instruction for the scene as it is.

    Raises:
        NoSkillFits: a step is too far from every skill, or asks of a skill what it cannot do.
        BadInput: no agent was given for a step's skill, or the plan takes longer than five minutes.
    """
    manifests = manifests or {}
    planner = choose_planner(head, stage.planner, stage.chat_url, stage.chat_model)
    walkers = [skill for skill, manifest in manifests.items() if takes_velocity(manifest)]

    def check(plan: list[Clause], begun: int) -> None:
        check_ground(plan[begun:], stage.task)
        for clause in plan[begun:]:
            if (skill := heaviest(clause)) not in skills:
                raise BadInput(missing_agent(clause.text, skill, skills))
        asked, most = 0.0, LONGEST / CONTROL_HZ
        for clause, told in list(zip(plan, checked(plan, manifests), strict=True))[begun:]:
            by_distance = (clause.parameters.distance or 0.0) / told.speed if told and told.speed else 0.0
            asked += max(clause.steps / CONTROL_HZ, by_distance)
        if asked > most:
            raise BadInput(f"the steps take {asked:.0f} s by their words; {most:g} s are the most")

    return Director(
        head,
        stage.instruction,
        lambda: env.render(0, *FRAME_SIZE, backend="raycast"),  # as the image tower learned them
        PreconditionPlanner(planner, list(skills), walkers),
        DirectorConfig(look_every=stage.look_every),
        SequencerConfig(
            timeout=stage.steps_per_clause,
            recover="stand" if "stand" in skills else "",
            connectors=shipped_connectors(skills),
        ),
        skills,
        check,
    )


def assign(named: Mapping[str, NamedAgent]) -> None:
    """Tell guided agents that have several skills which of them each was given for."""
    for skill, found in named.items():
        if len(found.expert_names) > 1 and skill in found.expert_names:
            found.agent.set_weights({skill: 1.0})  # type: ignore[attr-defined]


def follow(
    stage: FollowStage, video: Path | None, report: Report | None = None, scene: Path | None = None
) -> dict[str, Any]:
    """Run the episode; film it where `video` names a file, and leave it as a page where `scene` does.

    Returns:
        instruction, return, steps, whether the plan was finished and all of it `achieved`, fell, distance walked in m,
        the steps of the plan as they stood at the end, each with its `state` (`done`, `timed out`, `failed`,
        `impossible`, `replaced`), the reason and what was `measured`, and every decision with its reason.
    """
    stage = cast(stage)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(valid_seed(stage.seed))
        env, state, agent = begin(stage)
        with (
            Recorder(video, max_steps=LONGEST) if video else nullcontext() as recorder,
            SceneRecorder(scene, stage.instruction, max_steps=LONGEST) if scene else nullcontext() as page,
        ):
            outcome, way = _episode(stage, env, state, agent, recorder, report, page)
    director = agent.director
    steps = _steps(director, way, bool(outcome["fell"]))
    return {
        "instruction": stage.instruction,
        "task": stage.task,
        **outcome,
        "finished": director.finished,
        "achieved": all(step["state"] in ("done", "replaced") for step in steps if not step["inserted"]),
        "plan": steps,
        "decisions": [asdict(decision) for decision in director.decisions],
        "notice": director.head.notice,
        **who_planned(director.planner.planner),  # type: ignore[attr-defined]
    }


def begin(stage: FollowStage, count: int = 1) -> tuple["HumanoidEnv", TensorDict, InstructedAgent]:
    """Episodes of so many robots, their first state, and who acts in them; `agent.director.tell` takes new words.

    Raises:
        NoSkillFits, BadInput: see `direct`.
    """
    env = make_env(stage.task, count, stage.suite, stage.seed)  # type: ignore[arg-type]
    named = {skill: resolve(address) for skill, address in stage.agents.items()}
    assign(named)
    head = understand(stage, named)
    state = env.reset()
    return env, state, instructed(stage, head, env, named)


def instructed(
    stage: FollowStage, head: SemanticHead, env: "HumanoidEnv", named: Mapping[str, NamedAgent]
) -> InstructedAgent:
    """Who carries out the instruction in a world that has been reset.

    Raises:
        SpecMismatch: an agent was made for another world.
        NoSkillFits, BadInput: see `direct`.
    """
    for found in named.values():
        check_fits(found, stage.task, env.task.layout.size)
    manifests = {skill: n.manifest for skill, n in named.items() if n.manifest.stage == "expert"}
    director = direct(stage, head, env, named, manifests)
    agents = {skill: found.agent for skill, found in named.items()}
    return InstructedAgent(director, agents, env.task.layout, manifests)


def cast(stage: FollowStage) -> FollowStage:
    """The configuration with a task and agents, by what ships, where it names none.

    Raises:
        NoSkillFits: a step fits no skill, or an expert cannot do what it asks.
    """
    if stage.task and stage.agents:
        return stage
    plan = None
    head = SemanticHead.load(stage.semantic, stage.encoder, stage.pretrained)
    try:
        plan = choose_planner(head, stage.planner, stage.chat_url, stage.chat_model).plan(stage.instruction)
    except NoSkillFits:
        if not any(head.is_deictic(part) for part in clauses.split(stage.instruction)):
            raise
    agents = stage.agents or shipped_agents(plan)
    manifests = {skill: _manifest(address) for skill, address in agents.items() if address.startswith("expert:")}
    if plan is not None:
        check_order(plan)
    if plan is not None and stage.task:
        check_ground(plan, stage.task)
    if plan is not None and not stage.agents:
        checked(plan, manifests)
    return replace(stage, agents=agents, task=stage.task or task_of(plan, manifests))


def _manifest(address: str) -> Manifest:
    return read_manifest(find_expert(address.removeprefix("expert:")), files=False)


def _steps(director: Director, way: Trajectory, fell: bool) -> list[dict[str, Any]]:
    """Every step with its skill, how it ended and what was measured."""
    told = []
    at_work = (director.sequencer.place or [0])[0]
    for place, (clause, (state, reason)) in enumerate(zip(director.plan, director.sequencer.states(), strict=True)):
        if not state:
            late = "timed out", "the episode's time is up"
            begun = ("failed", "fell") if fell else late
            state, reason = begun if place == at_work else ("failed", "not begun")
        entry = {**asdict(clause), "parameters": clause.parameters.said(), "skill": heaviest(clause)}
        told.append({**entry, "state": state, "reason": reason, "measured": way.of(place)})
    if fell and told and all(step["state"] == "done" for step in told):
        told[-1] |= {"state": "failed", "reason": "fell"}
    return told


def _episode(
    stage: FollowStage,
    env: "HumanoidEnv",
    state: TensorDict,
    agent: InstructedAgent,
    recorder: Recorder | None,
    report: Report | None,
    page: SceneRecorder | None,
) -> tuple[dict[str, Any], Trajectory]:
    """Act until the plan is finished or the robot falls, beyond the time that the task gives for its reward, too."""
    director = agent.director
    total, fell, step, way = 0.0, False, 0, Trajectory()
    used: dict[str, None] = {}  # skills with a bar in the film, in the order in which they come
    start = _position(env)
    for step in range(LONGEST):
        action = agent.act(state[keys.OBSERVATION], step)
        way.add((director.sequencer.place or [0])[0], bool(director.sequencer.between), env.state[0][0])
        if director.finished:
            break
        doing = director.clause
        skill = max(agent.weights, key=agent.weights.__getitem__)  # not the step's own where another is in between
        if recorder is not None:
            recorder.caption = [f"“{stage.instruction}”", f"now ({skill}): {doing.text}", *_reason(director)]
            used |= _used(director) | {name: None for name, weight in agent.weights.items() if weight > SEEN}
            recorder.weights = {name: agent.weights.get(name, 0.0) for name in used}
            recorder(step, env, agent)
        if page is not None:
            page(step, env)
        after = env.step(state.set(keys.ACTION, action))[keys.NEXT]
        total += float(after[keys.REWARD])
        agent.remember(after[keys.REWARD].squeeze(-1))
        fell = bool(after[keys.TERMINATED]) and not env.succeeded[0]
        if bool(after[keys.TERMINATED]):
            break
        state = after.exclude(keys.REWARD)
        if report is not None and step % 10 == 0:
            report(director.sequencer.place[0] / len(director.plan), doing.text)
    distance = float(np.linalg.norm(_position(env) - start))
    low = heaviest(director.clause) == "crawl"
    down = _down(env, LYING if low else AT_RISK) and not bool(
        met("seated", state[keys.OBSERVATION], env.task.layout)[0]
    )
    return {"return": total, "steps": step + 1, "fell": fell or down, "distance_m": distance}, way


def _used(director: Director) -> dict[str, None]:
    """Skills of the plan in their order, each with what goes between it and the next one."""
    skills = [heaviest(clause) for clause in director.plan]
    connectors = director.sequencer.config.connectors
    used: dict[str, None] = {}
    for skill, after in zip(skills, [*skills[1:], ""], strict=True):
        used[skill] = None
        between = (
            c.by for c in connectors if (c.before, c.after) == (skill, after) and c.by in director.sequencer.names
        )
        used |= dict.fromkeys(list(between)[:1])
    return used


def _down(env: "HumanoidEnv", upright: Upright) -> bool:
    """Whether the robot lies on the floor, in a task that does not end by that."""
    return bool(upright.lost(env.state[0][:, :7].float())[0])


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
    """As `follow`, leaving film and scene in a folder that appears when complete, and in MLflow."""
    with atomic_folder(output) as folder:
        scene = folder / SCENE if can_record() and stage.suite == "embedded" else None
        summary = follow(stage, folder / VIDEO, report, scene)
        write_json(folder / "follow.json", summary)
        figures = [(name, float(summary[name]), 0) for name in ("return", "steps", "distance_m")]

        def log(run_id: str) -> None:
            tracking.log_figures(run_id, figures)
            for place, file in (("videos", folder / VIDEO), ("scenes", folder / SCENE)):
                if file.is_file():
                    tracking.client().log_artifact(run_id, str(file), place)

        tags = {tracking.KIND_TAG: "follow", tracking.STAGE_TAG: output.name}
        try:
            tracking.record(experiment, output.name, log, parent=parent, tags=tags)
        except MwlError as error:
            tell(f"{error}; the episode is not in MLflow, it lies in {output}")
    return {"return": summary["return"], "distance_m": summary["distance_m"]}
