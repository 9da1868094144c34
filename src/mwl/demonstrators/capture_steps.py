"""Walking by well-placed steps: a demonstrator that needs no learning.

The robot is a linear inverted pendulum about its supporting foot, whose state is read off its angular momentum about
that foot; each step is put where the next one ends with the wanted momentum (Gong and Grizzle, "Angular Momentum about
the Contact Point for Control of Bipedal Locomotion", 2020). `whole_body` turns that into joint targets. It walks
towards the world's +x, which is where `h1-walk` rewards walking; world frame throughout.
"""

from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from mwl.core.errors import ConfigError
from mwl.demonstrators.whole_body import Array, FootMotion, WholeBody, WholeBodyConfig
from mwl.robot.h1 import ACTION_SIZE, CONTROL_DT, RADIANS_PER_ACTION, ROBOT_NQ, ROBOT_NV, ctrl_to_action

_GRAVITY = 9.81
_TOUCHING = 0.002  # m, clearance at which a foot is on the floor
_EARLIEST = 0.8  # share of a step from which on touching ends it
_OVERTIME = 0.06  # s, after which a step ends without touching
_LATE_DESCENT = 0.3  # m/s, of a foot that has not found the floor in time
PROVENANCE = {
    "method": "stepping of a linear inverted pendulum, whole-body inverse dynamics",
    "source": "made by this project from its robot model",
    "licence": "MIT",
    "training_env_steps": 0,
    "tuning": "figures chosen by hand, watching some 1.2 M simulated steps; no search",
}


@dataclass(frozen=True)
class SteppingConfig:
    """How fast and in which steps to walk. All figures are chosen by hand, in the simulator."""

    speed: float = 1.2
    """Of the pendulum at the end of a step, m/s; midway it is slower by a fifth."""
    step_time: float = 0.34
    """Of a step, s. In shorter ones the swinging leg turns the supporting foot on the spot."""
    first_step_time: float = 0.24
    """Of the step from rest, s."""
    shortest_step_time: float = 0.24
    """To which a step is cut short when the pendulum is about to leave the leg's reach, s."""
    width: float = 0.15
    """Between the feet, m; hips are 0.41 m apart, but a narrow stance sways less."""
    height: float = 0.94
    """Of the pelvis, m; the head, 0.7 m higher, is just below where the benchmark wants it, the knees are bent."""
    clearance: float = 0.08
    """Of the swinging foot, m."""
    sink: float = 0.02
    """How far below the floor the foot aims, m, so that it arrives with some speed."""
    swing_stretch: float = 1.18
    """Duration of the foot's rise and descent in step times; it touches at about one."""
    lead: float = 0.35
    """Farthest that a foot is put ahead of the centre of mass, m."""
    trail: float = 0.22
    """Farthest behind which a foot is planned to be left, m."""
    reach: tuple[float, float] = (0.24, 0.28)
    """Distances ahead and aside of the foot, m, at which a pendulum ends the step."""
    spread: tuple[float, float] = (0.05, 0.75)
    """Least and greatest distance aside of a new foothold from the supporting foot, m: legs must not cross."""
    body: WholeBodyConfig = field(default_factory=WholeBodyConfig)
    noise: float = 0.3
    """rad of injected noise per unit, for recordings."""

    def __post_init__(self) -> None:
        if not 0 < self.shortest_step_time <= self.step_time:
            raise ConfigError("stepping: needs 0 < shortest_step_time <= step_time")


def swing_through(offset: Array, velocity: Array, rate: float, time: float) -> tuple[Array, Array]:
    """Offset in m from the foot and velocity in m/s of a linear inverted pendulum after some time in s.

    Args:
        offset, velocity: now, of any shape.
        rate: sqrt(gravity / height), 1/s.
        time: s.
    """
    grown, shifted = np.cosh(rate * time), np.sinh(rate * time)
    return offset * grown + velocity / rate * shifted, velocity * grown + offset * rate * shifted


def time_to(offset: float, velocity: float, rate: float, limit: float) -> float:
    """Time in s after which the pendulum is `limit` m ahead of its foot: 0 when it is, infinite when it never will."""
    growing, fading = (offset + velocity / rate) / 2, (offset - velocity / rate) / 2
    if offset >= limit:
        return 0.0
    if growing <= 0:
        return np.inf
    # growing * e^(rate t) + fading * e^(-rate t) = limit, of which the later root counts
    return float(np.log((limit + np.sqrt(limit**2 - 4 * growing * fading)) / (2 * growing)) / rate)


class Stepping:
    """Demonstrator that walks along +x, by steps that it plans anew in every control step.

    Each robot has a clock of its step and remembers which foot carries it and where the other was lifted.

    Args:
        model: the benchmark's robot model.
        config: gait.
    """

    name = "stepping"
    command: Tensor | None = None

    def __init__(self, model: mujoco.MjModel, config: SteppingConfig | None = None) -> None:
        self.config = config or SteppingConfig()
        self._body = WholeBody(model, self.config.body)
        self.noise_scale = torch.from_numpy(self.config.noise / RADIANS_PER_ACTION).float()
        self._begin(0)

    def _begin(self, count: int) -> None:
        self._clock = np.zeros(count)  # s since the step began
        self._step_time = np.zeros(count)
        self._stance = np.zeros(count, dtype=int)
        self._lifted = np.zeros((count, 3))  # sole of the swinging foot when the step began
        self._resting = np.ones(count, dtype=bool)

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Begin with a first step where `mask` `[N]` holds."""
        if mask is None or len(self._clock) != len(observation):
            self._begin(len(observation))
        else:
            self._resting[mask.numpy()] = True

    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, 19]` in [-1, 1] at benchmark observations `[N, O]`."""
        targets = np.zeros((len(observation), ACTION_SIZE))
        for robot, state in enumerate(observation.double().numpy()):
            self._body.update(state[:ROBOT_NQ], state[ROBOT_NQ : ROBOT_NQ + ROBOT_NV])
            self._count(robot)
            foothold = self._foothold(robot)
            swing = self._swing(robot, foothold)
            targets[robot] = self._body.control(self._stance[robot], swing, self.config.height)
        return torch.from_numpy(ctrl_to_action(targets)).clamp(-1, 1)

    def executed(self, action: Tensor) -> None:
        """Nothing to remember: the controller acts on state and clock."""

    def describe(self) -> dict[str, Any]:
        """Provenance: computed from the robot model, no data and no training."""
        return dict(PROVENANCE)

    def _count(self, robot: int) -> None:
        """Go on with the clock, or change feet."""
        config, swing = self.config, 1 - self._stance[robot]
        if self._resting[robot]:
            self._resting[robot] = False
            self._change(robot, 1, config.first_step_time)
            return
        self._clock[robot] += CONTROL_DT
        clock, step_time = self._clock[robot], self._step_time[robot]
        touching = self._body.clearance[swing] < _TOUCHING and clock > _EARLIEST * step_time
        if touching or clock >= config.swing_stretch * step_time + _OVERTIME:
            self._change(robot, swing, config.step_time)

    def _change(self, robot: int, stance: int, step_time: float) -> None:
        self._stance[robot], self._clock[robot], self._step_time[robot] = stance, 0.0, step_time
        self._lifted[robot] = self._body.soles[1 - stance]

    def _foothold(self, robot: int) -> Array:
        """Where the next foot goes, `[2]` in m; the step is cut short where the pendulum leaves the leg's reach."""
        config, body, stance = self.config, self._body, self._stance[robot]
        foot, outward = body.soles[stance], 1.0 if stance == 0 else -1.0
        height = max(body.com[2] - foot[2], 0.3)  # of a robot that has fallen, too
        rate, momentum = np.sqrt(_GRAVITY / height), body.angular_momentum(foot)
        offset = body.com[:2] - foot[:2]
        velocity = np.array([momentum[1], -momentum[0]]) / (body.mass * height)
        left = min(
            time_to(offset[0], velocity[0], rate, config.reach[0]),
            time_to(-outward * offset[1], -outward * velocity[1], rate, config.reach[1]),
        )
        soonest = max(self._clock[robot] + left, config.shortest_step_time)
        self._step_time[robot] = min(self._step_time[robot], soonest)
        remaining = max(self._step_time[robot] - self._clock[robot], 0.0)
        offset, velocity = swing_through(offset, velocity, rate, remaining)
        grown, shifted = np.cosh(rate * config.step_time), np.sinh(rate * config.step_time)
        sway = outward * rate * config.width / 2 * shifted / (1 + grown)  # that which comes back in the step after
        ahead = (np.array([config.speed, sway]) - grown * velocity) / (rate * shifted)
        trailing = (config.trail - velocity[0] / rate * shifted) / grown
        ahead[0] = max(min(ahead[0], trailing), -config.lead)
        place = foot[:2] + offset - ahead
        place[1] = foot[1] - outward * np.clip(outward * (foot[1] - place[1]), *config.spread)
        return place

    def _swing(self, robot: int, foothold: Array) -> FootMotion:
        """Wanted motion of the swinging foot: a smooth path over the floor, up and down as a cosine."""
        config, clock, lifted = self.config, self._clock[robot], self._lifted[robot]
        step_time, body, swing = self._step_time[robot], self._body, 1 - self._stance[robot]
        path = foothold - lifted[:2]
        done = min(clock / step_time, 1.0)
        share = done**3 * (10 - 15 * done + 6 * done**2)
        pace = 30 * done**2 * (1 - done) ** 2 / step_time
        change = 60 * done * (1 - 3 * done + 2 * done**2) / step_time**2
        duration = config.swing_stretch * step_time
        turn, late = 2 * np.pi / duration, max(clock - duration, 0.0)
        done = min(clock / duration, 1.0)
        tilted = body.soles[swing, 2] - body.clearance[swing]
        rise = config.clearance * (1 - np.cos(turn * clock)) / 2 if late == 0 else 0.0
        climb = config.clearance * np.sin(turn * clock) * turn / 2 - 2 * config.sink * done / duration
        lift = config.clearance * np.cos(turn * clock) * turn**2 / 2 - 2 * config.sink / duration**2
        if late > 0:
            climb, lift = -_LATE_DESCENT, 0.0
        return FootMotion(
            np.append(lifted[:2] + path * share, tilted + rise - config.sink * done**2 - _LATE_DESCENT * late),
            np.append(path * pace, climb),
            np.append(path * change, lift),
        )
