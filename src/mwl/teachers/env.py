"""Training environment of the tracking teachers: follow a gait cycle at a commanded velocity on the fast contact model.

Batched and written for PPO alone: episodes are cut at a few seconds, most of them begin in the middle of a stride, and
falls end them. The benchmark itself is `mwl.make_env`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import mujoco
import numpy as np
import torch
from torch import Tensor

from mwl.mocap.gait_cycle import GaitCycle
from mwl.robot import frames
from mwl.robot.h1 import CONTROL_DT, QPOS0
from mwl.robot.kinematics import FEET, PointKinematics, above_soles
from mwl.rollouts.falls import GAIT
from mwl.rollouts.pushes import push_at_random
from mwl.simulation import Shift, Simulation
from mwl.simulation.shift import LateObservations
from mwl.simulation.task import SensorIndex
from mwl.teachers.base_env import BaseTrainingEnv
from mwl.teachers.gait_observation import MAX_ACTION, GaitController, ResidualScale
from mwl.teachers.ground_heights import Ground, GroundConfig
from mwl.teachers.rewards import TrackingErrors, TrackingRewardConfig, low_force_share, stature, tracking_reward


@dataclass(frozen=True)
class CommandConfig:
    """Velocity commands of the training episodes: forward and sideways in m/s, turning in rad/s."""

    preferred_speed: float = 1.2
    preferred_share: float = 0.35
    """Share of the episodes that get the preferred speed, straight ahead; the others draw from the ranges."""
    forward: tuple[float, float] = (0.4, 1.5)
    sideways: tuple[float, float] = (0.0, 0.0)
    turning: tuple[float, float] = (0.0, 0.0)
    start_speed: float = 0.3
    """Forward speed in m/s at which a start from standing begins; it then ramps to the command."""
    ramp_rate: float = 1.5  # m/s^2
    resample_interval: float = 0.0
    """Mean time in s between changes of the command within an episode; 0 keeps it."""


def draw_commands(
    config: CommandConfig, count: int, generator: torch.Generator, preferred_speed: float | None = None
) -> Tensor:
    """Random commands `[count, 3]`: the preferred speed straight ahead, or evenly from the ranges.

    Args:
        config: ranges and shares.
        count: how many.
        generator: randomness.
        preferred_speed: where a curriculum stands, m/s, which then also is the upper end of the forward range; None
            takes the configured one.
    """
    fastest = config.forward[1] if preferred_speed is None else max(config.forward[1], preferred_speed)
    speed = config.preferred_speed if preferred_speed is None else preferred_speed
    low, high = torch.tensor([(config.forward[0], fastest), config.sideways, config.turning]).T
    command = low + (high - low) * torch.rand(count, 3, generator=generator)
    preferred = torch.rand(count, 1, generator=generator) < config.preferred_share
    return torch.where(preferred, torch.tensor([speed, 0.0, 0.0]), command)


@dataclass(frozen=True)
class SpeedCurriculum:
    """Raises the preferred (and highest) speed while the policy keeps up: +step every `patience` iterations."""

    stop: float = 5.6  # m/s
    step: ClassVar[float] = 0.1
    patience: ClassVar[int] = 20
    min_episode_length: ClassVar[float] = 150.0
    max_speed_error: ClassVar[float] = 0.45


@dataclass(frozen=True)
class TrackingConfig:
    """Everything that defines a tracking task besides the gait cycle."""

    command: CommandConfig = field(default_factory=CommandConfig)
    curriculum: SpeedCurriculum | None = None
    scale: ResidualScale = field(default_factory=ResidualScale)
    reward: TrackingRewardConfig = field(default_factory=TrackingRewardConfig)
    episode_steps: int = 250
    standing_start_share: float = 0.2
    """Share of the episodes that begin with the benchmark's own reset instead of within a stride."""
    push_std: float = 0.45  # m/s in x and y
    push_interval: float = 2.0  # s
    shifts: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Ranges of the changes of the world (`payload`, `motors`, ...) that robots meet, each the same ones all along."""
    ground: GroundConfig | None = None
    """Strips of uneven ground, one of which each episode draws; the root's height then counts from the soles, for the
    finished teacher, too. None: the plain floor."""
    lowest_root: ClassVar[float] = GAIT.lowest_root  # m
    max_heading_error: ClassVar[float] = 1.2  # rad


class TrackingEnv(BaseTrainingEnv):
    """N robots that follow a gait cycle.

    Args:
        simulation: batched simulation of the robot, advancing one control step of 20 ms per call.
        cycle: reference gait.
        config: task.
        seed: seed of resets, commands and pushes.
        shifts: what the simulation's N models were made with; None: nothing.
    """

    def __init__(
        self,
        simulation: Simulation,
        cycle: GaitCycle,
        config: TrackingConfig,
        seed: int,
        shifts: Sequence[Shift] | None = None,
    ) -> None:
        super().__init__(simulation, config.episode_steps, seed)
        self.config = config
        self.preferred_speed = config.command.preferred_speed
        self.controller = GaitController(cycle, config.scale, self.num_envs, config.command.ramp_rate)
        self.action_size = self.controller.previous_action.shape[-1]
        model = simulation.model
        self._feet = PointKinematics(model, FEET)
        self._actuators = ActuatorForces(model)
        self._com_velocity = SensorIndex(model).slices["com_velocity"]
        shifts = shifts or [Shift()] * self.num_envs
        self._motors = torch.tensor([[shift.motors] for shift in shifts])
        self._late = LateObservations(np.array([shift.delay_steps for shift in shifts]), model.nq + model.nv)
        self._ground = None if config.ground is None else Ground(model, config.ground)
        self._strip = torch.zeros(self.num_envs, dtype=torch.int64)
        self._speed_errors: list[Tensor] = []

    def observe(self) -> Tensor:
        """Observation `[N, 68]` of the present state, or of the one that is known by now."""
        known = torch.from_numpy(self._late.shown())
        seen = self.controller.observe(known[:, : len(QPOS0)], known[:, len(QPOS0) :])
        if self._ground is None or not self._ground.config.sees:
            return seen
        return torch.cat([seen, self._ground.ahead(self._strip, known[:, 0])], dim=-1)

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advance one control step of 20 ms with actions `[N, 13]`, then begin anew where an episode ended.

        Returns:
            observation of the reached states `[N, 68]` (before any reset; `observe` gives the one after), reward `[N]`,
            terminated `[N]` and truncated `[N]`, both bool.
        """
        action = action.clamp(-MAX_ACTION, MAX_ACTION)
        action_change = self.controller.previous_action
        targets = self.controller.joint_targets(action)
        action_change = self.controller.previous_action - action_change
        self._simulation.step(targets.double().numpy())
        self.controller.advance()
        self._age += 1
        push_at_random(self._simulation, self.config.push_std, self.config.push_interval, self._generator)
        qpos, qvel = self._state()
        self._late.see(torch.cat([qpos, qvel], dim=-1).numpy())
        observation = self.observe()
        rotation = frames.rotation_matrix(qpos[:, 3:7])
        errors = self._errors(qpos, qvel, rotation, targets, action, action_change)
        terminated = self._fallen(qpos, rotation, errors.heading)
        truncated = self._truncated(terminated)
        reward = tracking_reward(errors, self.config.reward)
        self._speed_errors.append(errors.speed.abs().mean())
        self._begin(terminated | truncated)
        self._change_commands()
        return observation, reward, terminated, truncated

    def end_iteration(self, iteration: int, mean_length: float) -> dict[str, float]:
        """Advance the speed curriculum when it is due; returns the preferred speed and the mean error of all speeds."""
        error = torch.stack(self._speed_errors).mean().item()
        self._speed_errors = []
        if self.config.curriculum is not None and iteration % self.config.curriculum.patience == 0:
            self.raise_speed(mean_length, error)
        return {"speed_error": error, "preferred_speed": self.preferred_speed}

    def raise_speed(self, mean_length: float, mean_speed_error: float) -> None:
        """Advance the speed curriculum if episodes last and the speed is held."""
        curriculum = self.config.curriculum
        if curriculum is None or mean_length < curriculum.min_episode_length:
            return
        if mean_speed_error < curriculum.max_speed_error:
            self.preferred_speed = min(self.preferred_speed + curriculum.step, curriculum.stop)

    def _state(self) -> tuple[Tensor, Tensor]:
        qpos, qvel = super()._state()
        return above_soles(self._feet, qpos) if self._ground is not None else qpos, qvel

    def _errors(
        self, qpos: Tensor, qvel: Tensor, rotation: Tensor, targets: Tensor, action: Tensor, action_change: Tensor
    ) -> TrackingErrors:
        command = self.controller.command
        com_velocity = torch.from_numpy(self._simulation.sensordata[:, self._com_velocity]).float()
        velocity = frames.to_heading(self.controller.desired_heading, com_velocity)
        joint_error = (qpos[:, 7:26] - self.controller.reference().joints).square()
        return TrackingErrors(
            speed=velocity[:, 0] - command[:, 0],
            sideways=velocity[:, 1] - command[:, 1],
            heading=self.controller.heading_error(rotation),
            turning=qvel[:, 5] - command[:, 2],
            tilt=rotation[:, 2, :2].square().sum(dim=-1),
            legs=joint_error[:, :10].sum(dim=-1),
            arms=joint_error[:, 10:].sum(dim=-1),
            stature=stature(qpos[:, 2], rotation[:, 2, 2]),
            low_force=low_force_share(self._motors * self._actuators.force(targets, qpos[:, 7:26], qvel[:, 6:25])),
            action=action,
            action_change=action_change,
        )

    def _fallen(self, qpos: Tensor, rotation: Tensor, heading_error: Tensor) -> Tensor:
        tilted = rotation[:, 2, 2] < GAIT.least_upright
        return (qpos[:, 2] < self.config.lowest_root) | tilted | (heading_error.abs() > self.config.max_heading_error)

    def _draw_commands(self) -> Tensor:
        speed = self.preferred_speed if self.config.curriculum else None
        return draw_commands(self.config.command, self.num_envs, self._generator, speed)

    def _change_commands(self) -> None:
        interval = self.config.command.resample_interval
        if interval > 0:
            change = self._uniform(0, 1, self.num_envs) < CONTROL_DT / interval
            self.controller.target = torch.where(change.unsqueeze(-1), self._draw_commands(), self.controller.target)

    def _begin(self, mask: Tensor) -> None:
        """Start new episodes where `mask` `[N]` holds."""
        if not mask.any():
            return
        count = self.num_envs
        standing = self._uniform(0, 1, count) < self.config.standing_start_share
        phase = torch.where(standing, 0.0, self._uniform(0, 1, count))
        target = self._draw_commands()
        start_speed = target[:, 0].clamp(-self.config.command.start_speed, self.config.command.start_speed)
        start_speed = torch.where(standing, start_speed, target[:, 0])
        self.controller.restart(mask, phase, target, start_speed, torch.zeros(count))
        qpos, qvel = self._stride_states()
        noise = self._uniform(-0.01, 0.01, count, 26)
        qpos = torch.where(standing.unsqueeze(-1), torch.tensor(QPOS0, dtype=torch.float32) + noise, qpos)
        qvel = torch.where(standing.unsqueeze(-1), 0.0, qvel)
        if self._ground is not None:
            strip = torch.randint(len(self._ground.strips), (self.num_envs,), generator=self._generator)
            qpos = self._placed(self._ground, strip, qpos, standing)
            self._strip = torch.where(mask, strip, self._strip)
        self._simulation.reset(mask.numpy(), qpos.double().numpy(), qvel.double().numpy())
        self._late.begin(mask.numpy(), torch.cat(self._state(), dim=-1).numpy())
        self._age = torch.where(mask, 0, self._age)

    def _placed(self, ground: Ground, strip: Tensor, qpos: Tensor, standing: Tensor) -> Tensor:
        """States `[N, 26]` on strips: before the first rise where they are `standing` `[N]`, else anywhere."""
        x = torch.where(standing, qpos[:, 0], self._uniform(0, ground.config.length, self.num_envs))
        if ground.config.sees:  # not where the next hurdle would lie within the robot
            way = ground.ahead(strip, x)[:, 0]
            x = torch.where(way < 0.7, x - (0.7 - way), x)
        rotation = frames.rotation_matrix(qpos[:, 3:7])
        soles = self._feet.positions(qpos[:, 7:26]) @ rotation.transpose(-1, -2)
        lift = (ground.height(strip, x.unsqueeze(-1) + soles[..., 0]) - soles[..., 2]).max(dim=-1).values
        return torch.cat([x.unsqueeze(-1), ground.strips[strip].unsqueeze(-1), lift.unsqueeze(-1), qpos[:, 3:]], dim=-1)

    def _stride_states(self) -> tuple[Tensor, Tensor]:
        """States within the stride: the reference at the commanded speed, a little disturbed, feet on the floor."""
        controller, count = self.controller, self.num_envs
        pose = controller.reference()
        soon = controller.cycle.pose(
            controller.phase + 0.1 * CONTROL_DT / controller.cycle.stride_time(controller.command[:, 0]),
            controller.command,
        )
        normal = lambda *shape: torch.randn(*shape, generator=self._generator)  # noqa: E731
        joints = pose.joints + 0.02 * normal(count, 19)
        quaternion = frames.quaternion_from_euler(pose.root[:, 1], pose.root[:, 2], 0.1 * normal(count))
        rotation = frames.rotation_matrix(quaternion)
        corners = self._feet.positions(joints) @ rotation.transpose(-1, -2)
        height = -corners[..., 2].min(dim=-1).values
        qpos = torch.cat([torch.zeros(count, 2), height.unsqueeze(-1), quaternion, joints], dim=-1)
        direction = torch.sign(controller.command[:, :1] + 0.05)
        velocity = torch.cat([controller.command[:, :2], torch.zeros(count, 1)], dim=-1) + 0.1 * normal(count, 3)
        angular = torch.cat([torch.zeros(count, 2), controller.command[:, 2:]], dim=-1)
        joint_velocity = direction * (soon.joints - pose.joints) / (0.1 * CONTROL_DT)
        return qpos, torch.cat([velocity, angular, joint_velocity], dim=-1)


class ActuatorForces:
    """Forces of the robot's position servos from targets and joint states: `clamp(kp (target - q) - kv qd)`."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._kp = torch.tensor(model.actuator_gainprm[:, 0], dtype=torch.float32)
        self._kv = torch.tensor(-model.actuator_biasprm[:, 2], dtype=torch.float32)
        self._limit = torch.tensor(model.actuator_forcerange[:, 1], dtype=torch.float32)

    def force(self, targets: Tensor, joints: Tensor, velocity: Tensor) -> Tensor:
        """Forces in N m `[N, 19]` at targets and joint angles in rad and velocities in rad/s, each `[N, 19]`."""
        return (self._kp * (targets - joints) - self._kv * velocity).clamp(-self._limit, self._limit)
