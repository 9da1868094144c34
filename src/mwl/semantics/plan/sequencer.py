"""Follows a plan at control rate: which step's weights hold now, and why it went on."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from mwl.core.errors import BadInput
from mwl.robot import CONTROL_HZ
from mwl.semantics.head import TARGETS, Clause
from mwl.semantics.language.connectors import Connector
from mwl.semantics.language.parameters import BEYOND, START, Parameters
from mwl.semantics.plan.predicates import opposite, said
from mwl.semantics.plan.progress import PREDICATES, fall_risk, known, met, part, position

if TYPE_CHECKING:
    from mwl.semantics.plan.odometer import Odometer
    from mwl.simulation.task import ObservationLayout

_log = logging.getLogger(__name__)


TURN_ENDS, ARC_ENDS = 0.08, 0.1  # rad before the end of a turn and of an arc: it goes on by as much
SLOWEST, TURNING, STEPPING = 0.2, 0.2, 1.0  # m/s, rad/s and s per footstep that are waited for
BRAKING = 0.08  # m before the end of a distance
BACK, AT_START = 60.0, 0.2  # s that a way back to the start is waited for; m from there at which it is over
BEHIND = {
    "tunnel": "the tunnel lies behind",
    "hurdles": "the hurdles lie behind",
    "poles": "the rows of poles lie behind",
}
CLIMBING = 30.0  # s that it is waited for
STRAIGHT = ("walk", "walk_rough", "run", "stand")  # skills that keep their heading


@dataclass(frozen=True)
class SequencerConfig:
    """When a step is over.

    Args:
        timeout: control steps after which a step is left, done or not.
        retries: how often a step that waits for a predicate begins again after a time-out or a halt, before it is left.
        stall: control steps without moving `stall_distance` after which a step that should get somewhere is left.
        stall_distance: m, by the root.
        moving: skills that should get somewhere.
        low: skills with the root near the ground on purpose, in which that is no fall.
        recover: skill that takes over while the robot is about to fall, where the plan's library has it.
        connectors: what goes between two skills; of several the first whose skill the plan's library has.
    """

    timeout: int = 400
    retries: int = 1
    stall: int = 150
    stall_distance: float = 0.1
    moving: tuple[str, ...] = ("walk", "walk_rough", "run", "crawl", "hurdle", "maze", "pole", "approach")
    low: tuple[str, ...] = ("sit", "crawl", "crouch", "kneel", "squat", "lie_down", "reach")
    recover: str = "stand"
    connectors: tuple[Connector, ...] = ()


@dataclass(frozen=True)
class Decision:
    """That one environment went from one step of the plan to another, when and why; `after` may lie past the end.

    `state` says how the step that was left ended: `done`, `timed out`, `failed`, `impossible`, or `replaced` by others.
    """

    step: int
    environment: int
    before: int
    after: int
    reason: str
    state: str = ""


def measured(told: Parameters) -> bool:
    """Whether a step is over once something has been walked, turned or stepped."""
    wanted = (told.angle, told.distance, told.footsteps)
    return told.target == START or bool(told.rise) or any(value is not None for value in wanted)


def _allowance(clause: Clause) -> int:
    """Control steps beyond the time-out for what is walked, turned or stepped."""
    told = clause.parameters
    if told.target == START:
        return round(CONTROL_HZ * BACK)
    if told.rise:
        return round(CONTROL_HZ * CLIMBING)
    seconds = (told.distance or 0.0) / SLOWEST + abs(told.angle or 0.0) / TURNING + (told.footsteps or 0) * STEPPING
    return round(CONTROL_HZ * seconds) if told.distance or told.angle or told.footsteps else 0


def holding(clause: Clause) -> int:
    """Control steps for which the end of a step has to hold: a touch "for 3 seconds" is over when it has lasted."""
    return clause.steps if clause.until in ("hand_at_goal", "seated") and clause.parameters.duration else 0


class Sequencer:
    """Weights of the current step of a plan, for every environment by itself.

    Args:
        plan: steps with weights over the same skills.
        config: when a step is over.

    Attributes:
        longer: `[N]` control steps that the plan's first step takes longer in each environment; None: in none.

    Raises:
        BadInput: the plan is empty, its steps weigh different skills, or a step waits for an unknown predicate.
    """

    def __init__(self, plan: Sequence[Clause], config: SequencerConfig | None = None) -> None:
        if not plan or any(list(clause.weights) != list(plan[0].weights) for clause in plan):
            raise BadInput("a plan needs at least one step, and all of its steps weights over the same skills")
        if unknown := {clause.until.removeprefix("not ") for clause in plan} - set(PREDICATES):
            raise BadInput(f"no progress predicate {', '.join(sorted(unknown))}; known: {', '.join(PREDICATES)}")
        self.plan, self.config = list(plan), config or SequencerConfig()
        self.names = list(plan[0].weights)
        self.decisions: list[Decision] = []
        self.longer: Tensor | None = None
        self._tabulate()
        self._place: Tensor | None = None
        self.odometer: Odometer
        self._elapsed: Tensor
        self._tries: Tensor
        self._held: Tensor  # [N] control steps since when the end of the step holds
        self._stalled: Tensor
        self._anchor: Tensor
        self._at_risk: Tensor
        self._between: Tensor  # [N] control steps that a skill in between still has
        self._between_by: Tensor  # [N] which skill that is

    @property
    def place(self) -> list[int]:
        """The step of the plan that each environment is at; the length of the plan where all is done."""
        return [] if self._place is None else self._place.clamp(min=0).tolist()

    def states(self) -> list[tuple[str, str]]:
        """How each step ended in the first environment, and why; empty for one that has not ended."""
        ended = [("", "") for _ in self.plan]
        for decision in self.decisions:
            if decision.environment == 0 and decision.after > decision.before and decision.before < len(ended):
                ended[decision.before] = (decision.state, decision.reason)
        return ended

    @property
    def between(self) -> str:
        """The skill that acts between two steps now in the first environment; empty where a step's own does."""
        return self.acting_between(0)

    def acting_between(self, environment: int) -> str:
        """The same of another environment."""
        acts = self._place is not None and int(self._between[environment]) > 0
        return self.names[int(self._between_by[environment])] if acts else ""

    @property
    def finished(self) -> bool:
        """Whether the plan is done in every environment; the weights of its last step go on."""
        return self._place is not None and bool((self._place >= len(self.plan)).all())

    def replan(self, plan: Sequence[Clause], place: int, step: int, reason: str, state: str = "") -> None:
        """Follow another plan over the same skills from its step `place` on, in every environment."""
        before, skills, told = self.place, self._skills, self.plan
        if before:
            turned = [self._turned_on_purpose(min(old, len(told) - 1), n, state) for n, old in enumerate(before)]
            self.odometer.begin(torch.ones_like(self._at_risk), self.odometer.heading + torch.tensor(turned))
        self.plan = list(plan)
        self._tabulate()
        for environment, old in enumerate(before):
            self._note(Decision(step, environment, old, place, reason, state))
            self._cross(environment, skills[min(old, len(skills) - 1)], place, step)
        if self._place is not None:
            self._place[:] = place
            self._elapsed[:], self._stalled[:], self._tries[:], self._held[:] = 0, 0, 0, 0

    def note(self, step: int, reason: str) -> None:
        """Keep with the decisions why there was none."""
        for environment, place in enumerate(self.place):
            self._note(Decision(step, environment, place, place, reason))

    def _tabulate(self) -> None:
        plan = self.plan
        self._weights = torch.tensor([list(clause.weights.values()) for clause in plan])
        self._skills = [max(clause.weights, key=clause.weights.__getitem__) for clause in plan]
        told = [clause.parameters for clause in plan]
        self._moving = torch.tensor(
            [
                skill in self.config.moving and (p.angle is None or p.arc) and p.speed != 0.0 and p.target != START
                for skill, p in zip(self._skills, told, strict=True)
            ]
        )
        self._low = torch.tensor([skill in self.config.low for skill in self._skills])
        self._waiting = torch.tensor([clause.until != "never" for clause in plan])
        self._measured = torch.tensor([measured(p) for p in told])
        self._limits = torch.tensor(
            [
                holding(c) + self.config.timeout if holding(c) else c.steps or self.config.timeout + _allowance(c)
                for c in plan
            ]
        )

    def reset(self, done: Tensor | None = None) -> None:
        """Begin the plan again, everywhere or in environments `done [N]`."""
        if done is None or self._place is None:
            self._place = None
        else:
            self._place[done] = -1

    def update(self, observation: Tensor, layout: "ObservationLayout", step: int, seen: Tensor | None = None) -> Tensor:
        """Weights `[N, K]` (`[K]` for one observation `[O]`) over `names` that hold now.

        Args:
            observation: `[N, O]` or `[O]`.
            layout: names its parts.
            step: control step of the episode, for the log of decisions.
            seen: what predicates are asked of instead, as the mirror image for a step with the right hand.
        """
        if observation.dim() == 1:
            seen = None if seen is None else seen.unsqueeze(0)
            return self.update(observation.unsqueeze(0), layout, step, seen)[0]
        seen = observation if seen is None else seen
        where = position(observation, layout)
        self._begin(where, observation, layout)
        assert self._place is not None
        self.odometer.update(part(observation, layout, "robot_qpos"))
        for index in range(int(self._place.min()), min(int(self._place.max()) + 1, len(self.plan))):
            clause = self.plan[index]
            here = (self._place == index) & (self._between == 0)
            if here.any():
                self._check(clause, here, where, seen, layout, step)
        self._elapsed += (self._between == 0).long()  # a step begins when its own skill does
        still = (where - self._anchor).norm(dim=-1) < self.config.stall_distance
        self._stalled = torch.where(still & (self._between == 0), self._stalled + 1, 0)
        self._anchor = torch.where(still[:, None], self._anchor, where)
        open_ends = self._waiting | self._measured  # what is waited for has not come
        late, unmet = self._elapsed > self._limits[self._now], open_ends[self._now]
        self._give_up(late & ~unmet, where, step, "time is up", "done")
        self._give_up(late & unmet, where, step, "time is up", "timed out")
        stuck = self._moving[self._now] & (self._stalled > self.config.stall)
        self._give_up(stuck, where, step, "no progress", "failed")
        weights = self._guarded(observation, layout, step)
        self._between = (self._between - 1).clamp(min=0)
        return weights

    @property
    def _now(self) -> Tensor:
        """The step whose weights hold `[N]`: the last one where all is done."""
        assert self._place is not None
        return self._place.clamp(max=len(self.plan) - 1)

    def _check(
        self, clause: Clause, here: Tensor, where: Tensor, observation: Tensor, layout: "ObservationLayout", step: int
    ) -> None:
        """Leave a step whose end has come, that cannot come to an end, or on whose condition it is passed over."""
        if clause.until != "never" and not known(clause.until, layout):
            self._leave(here, where, step, f"nothing here can tell whether {said(clause.until)}", "impossible")
            return
        if clause.parameters.target and clause.parameters.target not in (*TARGETS, START, BEYOND):
            self._leave(here, where, step, f"no {clause.parameters.target} is here", "impossible")
            return
        if clause.when and not known(clause.when, layout):
            self._leave(here, where, step, f"nothing here can tell whether {said(clause.when)}", "impossible")
            return
        if clause.when:
            begins = here & (self._elapsed == 0)
            self._leave(
                begins & ~met(clause.when, observation, layout),
                where,
                step,
                f"passed over: {said(opposite(clause.when))}",
            )
            here = here & ~begins | begins & met(clause.when, observation, layout)
        if clause.until != "never":
            holds, wanted = here & met(clause.until, observation, layout), holding(clause)
            self._held = torch.where(here, torch.where(holds, self._held + 1, 0), self._held)
            lasted = f" for {wanted / CONTROL_HZ:g} s" if wanted else ""
            self._leave(holds & (self._held > wanted), where, step, f"{said(clause.until)}{lasted}")
        done, reason = self._reached(clause)
        self._leave(here & done, where, step, reason)

    def _reached(self, clause: Clause) -> tuple[Tensor, str]:
        """Where what was asked has been walked, turned or stepped `[N]`, in words."""
        told, measured = clause.parameters, self.odometer
        if told.angle is not None:
            ahead = ARC_ENDS if told.arc else TURN_ENDS
            return measured.turned * math.copysign(1, told.angle) >= abs(told.angle) - ahead, "turned as far as asked"
        if told.target == START:
            return measured.from_home < AT_START, "back at the start"
        if told.rise:
            from mwl.semantics.plan.passages import at_end, ends, height  # and the simulation, as for the odometer

            if told.ground == "maze":
                return at_end(measured.place), "at the end of the maze"
            if told.ground in BEHIND:
                return measured.place[:, 0] >= ends(told.ground)[told.rise - 1], BEHIND[told.ground]
            up, down = measured.climbed.unbind(dim=-1)
            high = height(told.ground)
            return (up if told.rise > 0 else down) >= high, f"{high:.2g} m {'higher' if told.rise > 0 else 'lower'}"
        if told.footsteps is not None:
            return measured.footsteps >= told.footsteps, f"{told.footsteps} footsteps made"
        if told.distance is not None:
            return measured.travelled >= told.distance - BRAKING, f"{told.distance:g} m gone"
        return torch.zeros(len(measured.path), dtype=torch.bool), ""

    def _give_up(self, mask: Tensor, where: Tensor, step: int, reason: str, state: str) -> None:
        """Begin a step that waits for something again, or leave it."""
        assert self._place is not None
        mask = mask & (self._place < len(self.plan))
        again = mask & self._waiting[self._now] & (self._tries < self.config.retries)
        for environment in again.nonzero().flatten().tolist():
            place = int(self._place[environment])
            self._note(Decision(step, environment, place, place, f"{reason}: once more"))
        self._tries = self._tries + again.long()
        self._elapsed, self._stalled = torch.where(again, 0, self._elapsed), torch.where(again, 0, self._stalled)
        self._leave(mask & ~again, where, step, reason, state)

    def _begin(self, where: Tensor, observation: Tensor, layout: "ObservationLayout") -> None:
        if self._place is None or len(self._place) != len(where):
            from mwl.semantics.plan.odometer import Odometer  # and the simulation, which a plan alone does not need

            self.odometer = Odometer(part(observation, layout, "robot_qpos"))
            self._place = torch.full((len(where),), -1)
            self._elapsed = torch.zeros(len(where), dtype=torch.long)
            self._tries, self._held = torch.zeros_like(self._elapsed), torch.zeros_like(self._elapsed)
            self._stalled, self._anchor = torch.zeros_like(self._elapsed), where.clone()
            self._at_risk = torch.zeros(len(where), dtype=torch.bool)
            self._between, self._between_by = torch.zeros_like(self._elapsed), torch.zeros_like(self._elapsed)
        fresh = self._place < 0
        for count in (self._place, self._elapsed, self._stalled, self._tries, self._held):
            count[fresh] = 0
        if self.longer is not None:
            self._elapsed = torch.where(fresh, -self.longer, self._elapsed)
        self._anchor = torch.where(fresh[:, None], where, self._anchor)
        if fresh.any():
            self.odometer.update(part(observation, layout, "robot_qpos"))
            self.odometer.home = torch.where(fresh[:, None], self.odometer.place, self.odometer.home)
            self.odometer.begin(fresh, self.odometer.heading + self.odometer.turned)
        self._at_risk, self._between = self._at_risk & ~fresh, self._between.masked_fill(fresh, 0)

    def _leave(self, mask: Tensor, where: Tensor, step: int, reason: str, state: str = "done") -> None:
        assert self._place is not None
        heading = self.odometer.heading.clone()
        for environment in mask.nonzero().flatten().tolist():
            before = int(self._place[environment])
            heading[environment] += self._turned_on_purpose(before, environment, state)
            self._note(Decision(step, environment, before, before + 1, reason, state))
            self._cross(environment, self._skills[before], before + 1, step)
        self._place = self._place + mask.long()
        self._elapsed = torch.where(mask, 0, self._elapsed)
        self._stalled, self._tries = torch.where(mask, 0, self._stalled), torch.where(mask, 0, self._tries)
        self._held = torch.where(mask, 0, self._held)
        self._anchor = torch.where(mask[:, None], where, self._anchor)
        self.odometer.begin(mask, heading)

    def _turned_on_purpose(self, place: int, environment: int, state: str) -> float:
        """By how much, in rad, the heading to be kept changes: what was asked, or wherever a skill has turned to."""
        told = self.plan[place].parameters
        if told.angle is not None and state == "done":
            return told.angle
        free = told.angle is not None or told.target in (START, BEYOND) or self._skills[place] not in STRAIGHT
        return float(self.odometer.turned[environment]) if free else 0.0

    def _cross(self, environment: int, skill: str, place: int, step: int) -> None:
        """Put between a skill and that of the plan's step `place` what has to be there."""
        after = self._skills[min(place, len(self.plan) - 1)]
        for connector in self.config.connectors:
            if (connector.before, connector.after) == (skill, after) and connector.by in self.names:
                self._between[environment] = connector.steps
                self._between_by[environment] = self.names.index(connector.by)
                reason = f"from {skill} to {after}: {connector.by} in between"
                self._note(Decision(step, environment, place, place, reason))
                return

    def _guarded(self, observation: Tensor, layout: "ObservationLayout", step: int) -> Tensor:
        """The step's weights, those of a skill in between, or all weight on recovering while a fall is near."""
        between = one_hot(self._between_by, len(self.names)).to(self._weights.dtype)
        weights = torch.where(self._between[:, None] > 0, between, self._weights[self._now])
        if self.config.recover not in self.names:
            return weights
        risk = fall_risk(observation, layout) & ~self._low[self._now]
        for environment in (risk != self._at_risk).nonzero().flatten().tolist():
            place = self.place[environment]
            reason = "about to fall: recover" if bool(risk[environment]) else "recovered: go on"
            self._note(Decision(step, environment, place, place, reason))
        self._at_risk = risk
        upright = torch.zeros(len(self.names))
        upright[self.names.index(self.config.recover)] = 1.0
        return torch.where(risk[:, None], upright, weights)

    def _note(self, decision: Decision) -> None:
        self.decisions.append(decision)
        _log.info("step %d, environment %d: %s", decision.step, decision.environment, decision.reason)
