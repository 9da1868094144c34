"""Steers a walking expert through one step of a plan: along its line, through its turn, to its end."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from mwl.instructions.velocity_commands import VelocityCommand
from mwl.robot.h1 import build_model
from mwl.semantics.language.parameters import BEYOND, START, Parameters
from mwl.semantics.plan.odometer import Odometer
from mwl.simulation import get_task

TURN_GAIN, HEADING_GAIN, LINE_GAIN = 2.0, 1.5, 0.8  # 1/s: of what is left of a turn, of heading and line astray
ASTRAY, TURNS = 0.2, 0.5  # greatest m/s and rad/s of a correction
ARRIVAL = 0.3  # m/s at which a distance is completed; it slows down to that by 1 m/s per metre left
AIMED = 0.5  # rad off from which it turns on the spot to the start before it walks there
STEPPING = 0.15  # m/s ahead in a turn on the spot: with none it sways until it falls, after some 100 degrees
BESIDE = 0.3  # m/s at which it goes through a doorway, on whichever side it has to move
PAST = (0.6, 0.15)  # m beyond the frame to which it goes, and from the middle towards the free edge: off the leaf
RAMP = (0.03, 0.03, 0.08)  # greatest change of forward, sideways (m/s) and turning (rad/s) in a control step


class Steering:
    """Walking commands `[1, 3]` of one robot, one control step after the other, each near the one before.

    Args:
        robot: which of those that the odometer measures.
    """

    def __init__(self, robot: int = 0) -> None:
        self.robot = robot
        self.last = torch.zeros(1, 3)

    def command(self, told: VelocityCommand, parameters: Parameters, measured: Odometer) -> Tensor:
        """What to tell the expert now: forward and sideways m/s, turning rad/s `[1, 3]`, in the heading frame."""
        turned = float(measured.turned[self.robot])
        if parameters.target == START:
            return self._home(told, measured)
        if parameters.target == BEYOND:
            return self._through(measured)
        if parameters.angle is not None and not parameters.arc:
            rate = min(told.turning, TURNS)
            return self._near(STEPPING, 0.0, _within(TURN_GAIN * (parameters.angle - turned), rate))
        if parameters.arc:
            return self._near(told.speed * told.way[0], 0.0, told.turning)
        speed = told.speed
        if speed == 0.0:
            return self._near(0.0, 0.0, 0.0)  # a step aside while the feet come to rest would make it fall
        if parameters.distance is not None:
            left = parameters.distance - float(measured.travelled[self.robot])
            speed = min(speed, max(ARRIVAL, ARRIVAL + left - 0.1))
        ahead, aside = self._off(measured, float(measured.heading[self.robot]))
        along, across = told.way
        forward = speed * along - _within(LINE_GAIN * ahead * abs(across), ASTRAY)
        sideways = speed * across - _within(LINE_GAIN * aside * abs(along), ASTRAY)
        cos, sin = math.cos(turned), math.sin(turned)  # the way lies in the frame of the heading to be kept
        return self._near(
            cos * forward + sin * sideways, cos * sideways - sin * forward, _within(-HEADING_GAIN * turned, TURNS)
        )

    def _home(self, told: VelocityCommand, measured: Odometer) -> Tensor:
        """Turn to where the episode began, and walk there."""
        x, y = (measured.home[self.robot] - measured.place[self.robot]).tolist()
        bearing = math.remainder(
            math.atan2(y, x) - float(measured.heading[self.robot] + measured.turned[self.robot]), 2 * math.pi
        )
        if abs(bearing) > AIMED:
            return self._near(STEPPING, 0.0, _within(TURN_GAIN * bearing, min(told.turning, TURNS)))
        speed = min(told.speed, max(ARRIVAL, ARRIVAL + float(measured.from_home[self.robot]) - 0.1))
        return self._near(speed, 0.0, _within(HEADING_GAIN * bearing, TURNS))

    def _through(self, measured: Odometer) -> Tensor:
        """Move through the doorway sideways or backwards, for the leaf leans on the robot, and turn to the way."""
        middle, depth = doorway()
        x, y = middle[0] + depth + PAST[0], middle[1] + PAST[1]
        off = (torch.tensor([x, y]) - measured.place[self.robot]).tolist()
        bearing = math.remainder(
            math.atan2(off[1], off[0]) - float(measured.heading[self.robot] + measured.turned[self.robot]), 2 * math.pi
        )
        turning = _within(HEADING_GAIN * bearing, TURNS)
        return self._near(BESIDE * math.cos(bearing), BESIDE * math.sin(bearing), turning)

    def _off(self, measured: Odometer, heading: float) -> tuple[float, float]:
        """How far ahead and to the left of where the step began it is, seen from a heading, m."""
        off = (measured.place[self.robot] - measured.start[self.robot]).tolist()
        cos, sin = math.cos(heading), math.sin(heading)
        return cos * off[0] + sin * off[1], cos * off[1] - sin * off[0]

    def _near(self, *wanted: float) -> Tensor:
        ramp, target = torch.tensor([RAMP]), torch.tensor([wanted])
        self.last = self.last + (target - self.last).clamp(-ramp, ramp)
        return self.last


@lru_cache(maxsize=1)
def doorway() -> tuple[tuple[float, float], float]:
    """Middle of the doorway on the floor (x, y) and half the depth of its frame, m, as in the scene of h1-door."""
    model = build_model(get_task("h1-door"))
    left, right = (model.geom(f"frame_{side}") for side in ("left", "right"))
    room = model.body("room").pos
    x, y = (room[:2] + (left.pos[:2] + right.pos[:2]) / 2).tolist()
    return (x, y), float(left.size[0])


def _within(value: float, most: float) -> float:
    return max(-most, min(most, value))
