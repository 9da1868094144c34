"""Sampling model-predictive control: a demonstrator that plans by trying, and needs neither gains nor training.

The cross-entropy method over splines of joint targets, each tried in MuJoCo from the present state
(`mujoco.rollout`, through the batched engine); the best ones move the mean, which the next plan starts from.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mwl.errors import ConfigError
from mwl.simulation import Simulation, build_model, get_task
from mwl.simulation.rewards import STAND_HEIGHT
from mwl.simulation.robot import (
    CONTROL_DT,
    CTRL_HIGH,
    CTRL_LOW,
    JOINT_NAMES,
    QPOS0,
    RADIANS_PER_ACTION,
    ROBOT_NQ,
    ROBOT_NV,
    ctrl_to_action,
)
from mwl.simulation.task import Measurement, SensorIndex, Task

Array = NDArray[np.float64]
_FALL_TIME = 0.32  # s, sqrt(height / gravity) of the centre of mass: how far ahead its velocity carries it
_FOOT_LEAD = 0.04  # m, how far ahead of the ankles the centre of mass rests


@dataclass(frozen=True)
class SamplingConfig:
    """How far and how often to plan, with how many trials, and what counts beside the task's reward."""

    samples: int = 20
    iterations: int = 2
    elites: int = 5
    horizon: float = 0.4  # s
    knots: int = 4
    replan_every: int = 2
    """Control steps between plans."""
    spread: float = 0.2
    """Standard deviation of the first trials of a plan in rad."""
    least_spread: float = 0.01
    balance_weight: float = 10.0
    """Per m^2 between the feet's middle and the point over which the centre of mass would come to rest."""
    height_weight: float = 20.0
    """Per m^2 that the head is lower than where the reward wants it."""
    posture_weight: float = 1.0
    """Per rad^2 of mean deviation from the reset pose."""
    motion_weight: float = 0.01
    """Per (rad/s)^2 of mean joint velocity."""
    effort_weight: float = 0.5
    """Per rad^2 of mean change between knots."""
    timestep: float = 0.004  # s, of the trials
    noise: float = 0.3  # rad of injected noise per unit, for recordings
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.elites <= self.samples or self.knots < 2 or self.iterations < 1 or self.replan_every < 1:
            raise ConfigError("sampling: needs elites <= samples, two knots, one iteration, replan_every of one")
        if self.horizon < self.knots * CONTROL_DT:
            raise ConfigError(f"sampling.horizon is {self.horizon:g} s; {self.knots} knots need more steps")


class SamplingMPC:
    """Demonstrator that plans with the task's own reward, on any task of the robot alone.

    Args:
        task: benchmark task, for example `h1-stand`.
        config: trials and cost.

    Raises:
        ConfigError: the task has objects, whose state its observations don't tell.
    """

    name = "sampling_mpc"
    command: Tensor | None = None

    def __init__(self, task: str, config: SamplingConfig | None = None) -> None:
        self.config = config or SamplingConfig()
        known = get_task(task)
        if not isinstance(known, Task) or known.object_qpos0:
            raise ConfigError(f"kind: sampling_mpc plans for the robot alone; {task} has objects")
        self._task = known
        self._model = build_model(known, "fast", self.config.timestep)
        self._index = SensorIndex(self._model)
        self._steps = round(self.config.horizon / CONTROL_DT)
        self._basis = self._hat_functions()
        self._generator = np.random.default_rng(self.config.seed)
        self._trials: Simulation | None = None
        self._mean = np.zeros((0, self.config.knots, len(JOINT_NAMES)))
        self._age = np.zeros(0, dtype=int)
        self.noise_scale = torch.from_numpy(self.config.noise / RADIANS_PER_ACTION).float()

    def _hat_functions(self) -> Array:
        """Weight `[H, knots]` of every knot at every control step, linear between neighbours."""
        places = np.linspace(0, self._steps - 1, self.config.knots)
        return np.stack([np.interp(np.arange(self._steps), places, unit) for unit in np.eye(self.config.knots)], axis=1)

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Forget the plans of the robots where `mask` `[N]` holds."""
        count = len(observation)
        if mask is None or len(self._age) != count:
            mask = torch.ones(count, dtype=torch.bool)
            self._mean = np.zeros((count, self.config.knots, len(JOINT_NAMES)))
            self._age = np.zeros(count, dtype=int)
            self._trials = Simulation(
                self._model, count * self.config.samples, round(CONTROL_DT / self.config.timestep)
            )
        chosen = mask.numpy()
        self._mean[chosen] = QPOS0[7:]
        self._age[chosen] = 0

    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, 19]` in [-1, 1] at benchmark observations `[N, O]` that begin with the robot's qpos and qvel."""
        due = self._age >= self.config.replan_every
        if due.any() or not self._age.any():
            self._advance(due)
            self._plan(observation.double().numpy())
            self._age[:] = 0
        targets = np.einsum("nk,nka->na", self._basis[self._age], self._mean)
        self._age += 1
        return torch.from_numpy(ctrl_to_action(targets)).clamp(-1, 1)

    def _advance(self, due: NDArray[np.bool_]) -> None:
        """Warm start: the same splines, as far on as their first part has been carried out."""
        steps = np.minimum(np.arange(self._steps) + self.config.replan_every, self._steps - 1)
        path = np.einsum("hk,nka->nha", self._basis[steps], self._mean)
        knots = np.round(np.linspace(0, self._steps - 1, self.config.knots)).astype(int)
        self._mean[due] = path[due][:, knots]

    def _plan(self, observation: Array) -> None:
        """Improve the mean splines `[N, knots, 19]` from the states in observations `[N, O]`."""
        config, shape = self.config, self._mean.shape
        spread = np.full(shape, config.spread)
        for _ in range(config.iterations):
            noise = self._generator.standard_normal((config.samples, *shape))
            noise[0] = 0  # the mean is among the trials, so that a plan does not get worse by chance
            knots = np.clip(self._mean + spread * noise, CTRL_LOW, CTRL_HIGH)
            cost = self._cost(observation, knots)
            best = np.argsort(cost, axis=0)[: config.elites]
            elite = np.take_along_axis(knots, best[:, :, None, None], axis=0)
            self._mean = elite.mean(axis=0)
            spread = np.maximum(elite.std(axis=0), config.least_spread)

    def _cost(self, observation: Array, knots: Array) -> Array:
        """Cost `[S, N]` of trials `[S, N, knots, 19]` from observed states `[N, O]`: less is better."""
        assert self._trials is not None, "reset before act"
        samples, count = knots.shape[:2]
        trials, config = self._trials, self.config
        qpos, qvel = (np.tile(part, (samples, 1)) for part in (observation[:, :26], observation[:, 26:51]))
        trials.reset(np.ones(samples * count, dtype=bool), qpos, qvel)
        goal = np.zeros((samples * count, 0))
        if "goal" in self._task.layout.slices:
            goal = np.tile(observation[:, self._task.layout.slices["goal"]], (samples, 1))
        paths = np.einsum("hk,snka->hsna", self._basis, knots).reshape(self._steps, samples * count, -1)
        cost = config.effort_weight * np.square(np.diff(knots, axis=2)).mean(axis=(2, 3)).ravel()
        alive = np.ones(samples * count, dtype=bool)
        stage = np.zeros(samples * count, dtype=np.int64)
        for targets in paths:
            trials.step(targets)
            measured = Measurement(trials.qpos, trials.qvel, trials.sensordata, goal, stage, self._index)
            alive &= ~(self._task.terminated(measured) | trials.unstable)
            cost += (1 - self._task.reward(measured) * alive) / self._steps
            cost += self._shape(measured) / self._steps
        return cost.reshape(samples, count)

    def _shape(self, measured: Measurement) -> Array:
        """What tells a fall long before the reward does, per trial."""
        feet = (measured["left_foot_position"] + measured["right_foot_position"]) / 2
        resting = measured["pelvis_position"][:, :2] + _FALL_TIME * measured["com_velocity"][:, :2]
        balance = np.square(resting - feet[:, :2] - [_FOOT_LEAD, 0]).sum(axis=1)
        low = np.square(np.maximum(0.0, STAND_HEIGHT - measured["head_position"][:, 2]))
        posture = np.square(measured.qpos[:, 7:ROBOT_NQ] - QPOS0[7:]).mean(axis=1)
        motion = np.square(measured.qvel[:, 6:ROBOT_NV]).mean(axis=1)
        config = self.config
        return (
            config.balance_weight * balance
            + config.height_weight * low
            + config.posture_weight * posture
            + config.motion_weight * motion
        )

    def executed(self, action: Tensor) -> None:
        """Nothing to remember: a plan starts from the state that was reached."""

    def describe(self) -> dict[str, Any]:
        """Provenance: planned on the robot model, no data and no training."""
        return {
            "method": "sampling model-predictive control (cross-entropy method)",
            "source": "made by this project from its robot model",
            "licence": "MIT",
            "training_env_steps": 0,
        }
