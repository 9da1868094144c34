"""What has to go before a step of a plan so that its skill can begin, and in which world it is carried out, by whom."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from mwl.core.errors import BadInput, NoSkillFits
from mwl.core.manifest import Manifest
from mwl.evaluation.agents import find_expert
from mwl.experts.spec import SCENE
from mwl.instructions.velocity_commands import ALONE
from mwl.semantics import Clause
from mwl.semantics.language.parameters import Parameters
from mwl.semantics.plan.director import LanguagePlanner
from mwl.semantics.plan.progress import NEEDS
from mwl.semantics.shipped import COMMANDED, WORLDS, expert_folders, shipped_connectors

HALT = 100  # control steps in which a walk comes to rest before another skill takes over
APPROACH, REACH, RUN, STAND, CROUCH = "approach", "reach", "run", "stand", "crouch"
RISER = (
    "walk_robust"  # told 0, it gets up from a crouch: of 32 one falls, with walk 3, with stand 18, with stand_robust 28
)
CAUGHT = (RUN, REACH)  # skills from which a standing one falls, and a walker told 0 seldom does
DEFAULT_TASK = "h1-walk"
ROUGH, SIT = "walk_rough", "sit"
TRANSITIONS = ("slow_down", "speed_up")


def heaviest(clause: Clause) -> str:
    """The skill of most weight."""
    return max(clause.weights, key=clause.weights.__getitem__)


@dataclass(frozen=True)
class PreconditionPlanner:
    """A planner whose plans can be carried out from one step to the next.

    Args:
        planner: makes the plan.
        skills: those that somebody can carry out.
        walkers: skills among them that can be told to slow down.
    """

    planner: LanguagePlanner
    skills: Collection[str]
    walkers: Collection[str]

    def plan(self, text: str, frame: Any = None, before: Sequence[Clause] = ()) -> list[Clause]:
        """The steps of an instruction: a walk halts before another skill or a run, and a target is walked up to."""
        arranged = list(before)
        for clause in self.planner.plan(text, frame, before):
            weights = {**clause.weights, **{name: 0.0 for name in self.skills if name not in clause.weights}}
            clause = replace(clause, weights=weights)
            skill = heaviest(clause)
            if SIT in map(heaviest, arranged) and skill != SIT:
                why = "nobody here gets up from a chair; say it last"
                raise NoSkillFits(f"{clause.text[:80]!r}: {why}", [SIT])
            if arranged and heaviest(arranged[-1]) == CROUCH != skill:
                arranged.append(self._risen(clause, weights))
            if skill == REACH and APPROACH in self.skills and APPROACH not in map(heaviest, arranged[len(before) :]):
                arranged += self._halted(arranged, APPROACH)
                only = _only(APPROACH, weights)
                side = Parameters(side=clause.parameters.side)
                arranged.append(Clause("walk up to the target", only, "at_goal", parameters=side, inserted=True))
            if skill == STAND and (
                walker := self._walker(arranged)
            ):  # who has just walked stands as one who walks at 0
                still = replace(clause.parameters, speed=0.0)
                arranged.append(replace(clause, weights=_only(walker, weights), parameters=still))
                continue
            arranged += self._halted(arranged, skill)
            arranged.append(clause)
        return arranged[len(before) :]

    def _risen(self, clause: Clause, weights: Mapping[str, float]) -> Clause:
        """The step that gets up from a crouch.

        Raises:
            NoSkillFits: nobody given can.
        """
        if RISER not in self.walkers:
            raise NoSkillFits(f"{clause.text[:80]!r}: nobody here gets up from a crouch; say it last", [CROUCH])
        told = Parameters(speed=0.0)
        return Clause("get up", _only(RISER, weights), steps=HALT, parameters=told, inserted=True)

    def _halted(self, before: list[Clause], skill: str) -> list[Clause]:
        walker = self._walker(before)
        if not walker or skill in (heaviest(before[-1]), *self.walkers):
            return []
        if before[-1].parameters.speed == 0.0 and before[-1].steps >= HALT:
            return []
        told = Parameters(speed=0.0)
        only = _only(walker, before[-1].weights)
        return [Clause("come to a halt", only, steps=HALT, parameters=told, inserted=True)]

    def _walker(self, before: list[Clause]) -> str:
        """The skill that can bring who has just walked, run or reached to rest; empty where nobody did or none can."""
        last = heaviest(before[-1]) if before else ""
        if last in CAUGHT:
            return next(iter(self.walkers), "")
        return last if last in self.walkers else ""


def _only(skill: str, weights: Mapping[str, float]) -> dict[str, float]:
    return {name: float(name == skill) for name in weights}


def shipped_agents(plan: list[Clause] | None) -> dict[str, str]:
    """Addresses of the shipped experts that a plan needs, by skill, those between two skills with them.

    Args:
        plan: None needs all, as where a picture is to decide.
    """
    skills = set(map(heaviest, plan)) if plan else {*(folder.name for folder in expert_folders()), ROUGH}
    if plan and len(plan) == 1 and not skills.isdisjoint(ALONE):
        return {skill: COMMANDED[skill][0] for skill in skills}
    needed = sorted({"stand", "walk"} | skills | ({APPROACH} if REACH in skills else set()))
    given = {skill: COMMANDED[skill][0] if skill in COMMANDED else f"expert:{skill}" for skill in needed}
    found = {skill: where for skill, where in given.items() if where.startswith("agent:") or _is_expert(skill)}
    if CROUCH in found and _is_expert(RISER):
        found[RISER] = f"expert:{RISER}"
    between = {way.by for way in shipped_connectors(TRANSITIONS)} if RUN in found else set()
    return {**found, **{name: f"expert:{name}" for name in sorted(between | set(TRANSITIONS)) if RUN in found}}


def _is_expert(skill: str) -> bool:
    try:
        find_expert(skill)
    except BadInput:
        return False
    return True


def ground_of(clause: Clause) -> str:
    """What a step needs of its world, a key of `WORLDS`; empty where any will do."""
    return "chair" if heaviest(clause) == SIT else clause.parameters.ground


def check_ground(plan: list[Clause], task: str) -> None:
    """Refuse steps that a task's world has not what they need for.

    Raises:
        NoSkillFits: one does; the message says which world has it.
    """
    for clause in plan:
        if (ground := ground_of(clause)) and task != WORLDS[ground]:
            text = clause.text[:80]
            there = f"`mwl play {json.dumps(text, ensure_ascii=False)}` carries it out in {WORLDS[ground]}"
            raise NoSkillFits(f"{text!r}: no {ground} in {task}; {there}", [heaviest(clause)])


def check_order(plan: list[Clause]) -> None:
    """Refuse stairs after anything else, and level ground after stairs or a slope.

    Who has stood falls on the first step (54 of 64); who climbs neither stands there nor hands over.

    Raises:
        NoSkillFits: there is such a step.
    """
    for before, clause in pairwise(plan):
        if clause.parameters.ground == "stairs" != before.parameters.ground:
            why = "who has done something else before falls on the first step; say the stairs first"
            raise NoSkillFits(f"{clause.text[:80]!r}: {why}", [heaviest(clause)])
        if (ground := before.parameters.ground) in ("stairs", "slope") and not clause.parameters.ground:
            why = f"who walks over {ground} can't come to rest there without a fall; say the {ground} last"
            raise NoSkillFits(f"{clause.text[:80]!r}: {why}", [heaviest(clause)])


def task_of(plan: list[Clause] | None, manifests: Mapping[str, Manifest]) -> str:
    """The task in whose world a plan takes place: the one that shows what a skill reads from the scene.

    Raises:
        NoSkillFits: two steps need worlds that differ.
    """
    needs = {}
    for clause in plan or []:
        manifest = manifests.get(heaviest(clause), Manifest())
        command = manifest.observation.command
        if command is not None and command.kind in SCENE:
            needs[str(manifest.task)] = clause.text
        if ground := ground_of(clause):
            needs[WORLDS[ground]] = clause.text
    if len(needs) > 1:
        raise NoSkillFits(f"no world has what all steps need: {'; '.join(f'{t} for {c!r}' for t, c in needs.items())}")
    if needs:
        return next(iter(needs))
    asked = {clause.parameters.target for clause in plan or []}
    for clause in plan or []:
        for predicate in (clause.until, clause.when):
            asked |= {*NEEDS.get(predicate.removeprefix("not "), ())}
    seen = {"door": "h1-door", "door_qpos": "h1-door", "target": "h1-reach", "goal": "h1-reach"}
    return next((seen[thing] for thing in sorted(asked) if thing in seen), DEFAULT_TASK)
