"""What the words ask of an expert, against what its manifest says that it can be told."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from mwl.core.artifact import read_manifest
from mwl.core.errors import BadInput, NoSkillFits
from mwl.core.manifest import Manifest
from mwl.semantics import Clause
from mwl.semantics.language.parameters import Parameters
from mwl.semantics.plan.sequencer import SequencerConfig
from mwl.semantics.shipped import skill_folders
from mwl.skills.commands import Command, command_of

LEAST = {"stairs": 0.9}  # m/s; of 24 robots 2 fall at it, 0 at 1.3, 9 at 0.7 and 17 at 0.5
GREATEST = {"stairs": 1.5, "slope": 1.5}  # m/s; none of the 24 fell at it, and a greater one was not measured
CIRCLE = 1.2  # m, radius of a circle of which the words do not say the size
USUAL = 0.8  # share of the greatest speed that is usual where the manifest's default command says nothing
ALONE = (
    "crawl",
    "hurdle",
    "balance",
    "maze",
    "pole",
)  # skills that none has learned to take over from, nor they from others
_SAY = "say it alone"
MOVING = SequencerConfig().moving
_WAYS = {"forwards": (0, 1), "backwards": (0, -1), "left": (1, 1), "right": (1, -1)}  # axis of the command, sign


@dataclass(frozen=True)
class VelocityCommand:
    """A walking command: m/s along one way, and rad/s.

    Args:
        speed: m/s.
        way: unit vector, ahead and to the left.
        turning: greatest rate of turning, rad/s.
    """

    speed: float
    way: tuple[float, float]
    turning: float


def takes_velocity(manifest: Manifest) -> bool:
    """Whether an expert is told how fast and where to go."""
    command = command_of(manifest)
    return command is not None and command.names[0] == "forward"


def asked_velocity(
    skill: str, parameters: Parameters, manifest: Manifest, before: VelocityCommand | None = None
) -> VelocityCommand | None:
    """The walking command that parameters come to; None for a skill that takes none.

    Args:
        skill: who acts.
        parameters: what the words say.
        manifest: of its expert, whose ranges hold.
        before: the command of the step before, which "faster" changes.

    Raises:
        NoSkillFits: the skill cannot do what they say; the message says what it can.
    """
    if parameters.count is not None:
        raise _refused(skill, f"can't be counted, so '{parameters.count} times' says nothing")
    command = command_of(manifest)
    taken = manifest.observation.command
    if command is not None and taken is not None and takes_velocity(manifest):
        if parameters.side:
            raise _refused(skill, "has no hand to choose")
        found = _walking(skill, parameters, command, list(taken.default), before)
        if found.speed < (least := LEAST.get(parameters.ground, 0.0)):
            raise _refused(
                skill, f"slower than {least:g} m/s it falls on {parameters.ground}, so not {found.speed:.2g}"
            )
        return found
    chosen = command.names[0] if command is not None else ""
    if parameters.side and chosen not in ("ahead", "arm"):
        raise _refused(skill, "has no hand to choose")
    if parameters.side == "both" and chosen != "arm":
        raise _refused(skill, "one hand at a time; say left or right")
    moving = skill in MOVING and command is None
    if parameters.direction and not (moving and parameters.direction == "forwards"):
        raise _refused(
            skill, f"{'goes forwards alone' if moving else 'takes no direction'}, not {parameters.direction}"
        )
    if parameters.angle is not None:
        raise _refused(skill, "can't turn")
    if parameters.speed is not None or parameters.change is not None or (parameters.pace or 1.0) < 1.0:
        raise _refused(skill, "has one speed of its own")
    if not moving and (parameters.distance is not None or parameters.footsteps is not None):
        raise _refused(skill, "takes no distance and no footsteps")
    return None


def _walking(
    skill: str, parameters: Parameters, command: Command, default: list[float], before: VelocityCommand | None
) -> VelocityCommand:
    axis, sign = _WAYS[parameters.direction or "forwards"]
    most = min(command.high[axis] if sign > 0 else -command.low[axis], GREATEST.get(parameters.ground, math.inf))
    usual = float(default[axis]) * sign
    usual = usual if usual > 0 else USUAL * most
    turning = min(command.high[2], -command.low[2])
    speed = usual
    if parameters.change is not None and before is not None and before.speed == 0.0:
        raise _refused(skill, "stands, so that nothing can be faster or slower; say how fast")
    if parameters.change is not None:
        speed = parameters.change * (usual if before is None else before.speed)
    elif parameters.speed is not None:
        speed = parameters.speed
    elif parameters.pace is not None:
        speed = min(parameters.pace * usual, most)
    said = f"{parameters.direction} " if parameters.direction else ""
    said += f"on {parameters.ground} " if parameters.ground in GREATEST else ""
    if speed > most + 1e-6:
        raise _refused(skill, f"{said}at most {most:g} m/s, not {speed:.3g}")
    if parameters.arc and parameters.angle is not None:
        if axis == 1:
            raise _refused(skill, "walks a circle forwards or backwards alone")
        radius = CIRCLE if parameters.distance is None else parameters.distance / abs(parameters.angle)
        if parameters.speed is None:
            speed = min(speed, USUAL * turning * radius)
        if speed > turning * radius + 1e-6:
            raise _refused(skill, f"in a circle of {radius:.2g} m at most {turning * radius:.2g} m/s, not {speed:.3g}")
        turning = math.copysign(speed / radius, parameters.angle)
    way = (float(sign), 0.0) if axis == 0 else (0.0, float(sign))
    return VelocityCommand(speed, way, turning)


def checked(plan: list[Clause], manifests: Mapping[str, Manifest]) -> list[VelocityCommand | None]:
    """The commands of a plan's steps, by the manifests of the skills' experts.

    Raises:
        NoSkillFits: an expert cannot do what a step asks; the message names the step.
    """
    commands: list[VelocityCommand | None] = []
    for clause in plan:
        skill = max(clause.weights, key=clause.weights.__getitem__)
        if skill in ALONE and len(plan) > 1:
            raise NoSkillFits(
                f"{clause.text[:80]!r}: begins where its scene does, and nobody goes on from it; {_SAY}", [skill]
            )
        manifest = manifests.get(skill)
        if manifest is None:
            how = clause.parameters.said().keys() - {"distance", "footsteps", "duration", "target", "ground", "rise"}
            if how and clause.parameters.direction != "forwards":
                raise NoSkillFits(f"{clause.text[:80]!r}: {skill} is carried out by an agent that can't be told how")
            commands.append(None)
            continue
        before = next((command for command in reversed(commands) if command is not None), None)
        try:
            commands.append(asked_velocity(skill, clause.parameters, manifest, before))
        except NoSkillFits as refusal:
            raise NoSkillFits(f"{clause.text[:80]!r}: {refusal}", refusal.nearest) from None
    return commands


def shipped_manifests() -> dict[str, Manifest]:
    """Manifests of the shipped experts by skill, those that are sound."""
    found = {}
    for folder in skill_folders():
        with suppress(BadInput):
            manifest = read_manifest(folder, stage="expert", files=False)
            found[manifest.name] = manifest
    return found


def _refused(skill: str, why: str) -> NoSkillFits:
    return NoSkillFits(f"{skill}: {why}", [skill])
