"""Training environment of the door teacher: from standing before the shut door to beyond it, written for PPO alone.

Episodes begin as the benchmark's do, near the door, before an open leaf, or in a state that the policy has reached
before, drawn evenly over how far it had got: so that what comes late in an episode is learned as much as its start.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from mwl.robot import frames
from mwl.robot.h1 import QPOS0
from mwl.rollouts.falls import AT_WORK
from mwl.rollouts.pushes import push_at_random
from mwl.rollouts.reset_states import LEVELS, ReachedStates
from mwl.simulation import Simulation
from mwl.teachers.base_env import BaseTrainingEnv
from mwl.teachers.door.controller import ACTION_SIZE, DoorActionScale, DoorController
from mwl.teachers.door.geometry import DOOR_X, HINGE_AXIS, RATCHET
from mwl.teachers.door.rewards import DoorRewardConfig, door_reward, door_states
from mwl.teachers.gait_observation import MAX_ACTION
from mwl.teachers.teacher import TrackingPolicy


@dataclass(frozen=True)
class DoorConfig:
    """Everything that defines the training at the door besides the walker."""

    scale: ClassVar[DoorActionScale] = DoorActionScale()
    reward: DoorRewardConfig = field(default_factory=DoorRewardConfig)
    episode_steps: int = 300
    benchmark_start_share: float = 0.30
    near_start_share: float = 0.05
    open_start_share: ClassVar[float] = 0.08
    """The other episodes begin in states reached before."""
    push_std: ClassVar[float] = 0.2  # m/s in x and y
    push_interval: ClassVar[float] = 2.0  # s
    lowest_root: ClassVar[float] = AT_WORK.lowest_root  # m


def progress(hinge: Tensor, hatch: Tensor) -> Tensor:
    """How far `[N]`, in [0, 1], the door is opened, at hinge and hatch angles `[N]` in rad: by the hatch while the leaf
    is shut, a fifth of the way, by the hinge later."""
    shut = (hatch / 0.5).clamp(0, 3.9)
    opened = 4 + ((hinge - 0.05) / 0.07).clamp(0, LEVELS - 5)
    return torch.where(hinge < 0.05, shut, opened) / LEVELS


class DoorEnv(BaseTrainingEnv):
    """N robots at the door.

    Args:
        simulation: batched simulation of the door scene, advancing one control step of 20 ms per call.
        walker: frozen walker that moves the legs.
        config: task.
        seed: seed of resets and pushes.
    """

    action_size = ACTION_SIZE

    def __init__(self, simulation: Simulation, walker: TrackingPolicy, config: DoorConfig, seed: int) -> None:
        super().__init__(simulation, config.episode_steps, seed)
        self.config = config
        self.controller = DoorController(simulation.model, walker, config.scale, self.num_envs)
        self._from_benchmark = torch.ones(self.num_envs, dtype=torch.bool)
        self._earned = torch.ones(self.num_envs, dtype=torch.bool)  # the leaf was not open to begin with
        self._furthest, self._turned = torch.zeros(self.num_envs), torch.zeros(self.num_envs)
        width = simulation.model.nq + simulation.model.nv + self.controller.memory().shape[-1]
        self._reached_states = ReachedStates(width, self._generator, slots=128, fewest=1, dtype=torch.float32)
        self._metrics = {"turned": 0.0, "opened": 0.0, "past_ratchet": 0.0, "wide_open": 0.0}

    def observe(self) -> Tensor:
        """Observation `[N, O]` of the present state."""
        return self.controller.observe(*self._state())

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advance one control step of 20 ms with actions `[N, 22]`, then begin anew where an episode ended.

        Returns:
            observation of the reached states `[N, O]` (before any reset; `observe` gives the one after), reward `[N]`,
            terminated `[N]` and truncated `[N]`, both bool.
        """
        action = action.clamp(-MAX_ACTION, MAX_ACTION)
        change = action - self.controller.previous_action
        targets = self.controller.joint_targets(action, *self._state())
        self._simulation.step(targets.double().numpy())
        self._age += 1
        push_at_random(self._simulation, self.config.push_std, self.config.push_interval, self._generator)
        qpos, qvel = self._state()
        observation = self.controller.observe(qpos, qvel)
        rotation = frames.rotation_matrix(qpos[:, 3:7])
        upright = rotation[:, 2, 2]
        terminated = (qpos[:, 2] < self.config.lowest_root) | (upright < AT_WORK.least_upright)
        terminated = terminated | torch.from_numpy(self._simulation.unstable)
        truncated = self._truncated(terminated)
        states = door_states(self.controller.measure(qpos), qpos, qvel, terminated, action, change)
        reward = door_reward(states, self.config.reward)
        self._furthest = torch.maximum(self._furthest, qpos[:, 26])
        self._turned = torch.maximum(self._turned, qpos[:, 27])
        self._keep(qpos, qvel, terminated | (upright < 0.9))
        self._begin(terminated | truncated)
        return observation, reward, terminated, truncated

    def end_iteration(self, iteration: int, mean_length: float) -> dict[str, float]:
        """How far the doors of episodes from the benchmark's start were opened lately."""
        return dict(self._metrics)

    def _keep(self, qpos: Tensor, qvel: Tensor, unfit: Tensor) -> None:
        """Put a few of the present states aside."""
        chosen = torch.nonzero(~unfit & self._earned & (self._uniform(0, 1, self.num_envs) < 0.02)).squeeze(-1)
        if len(chosen):
            states = torch.cat([qpos, qvel, self.controller.memory()], dim=-1)[chosen]
            self._reached_states.add(states, progress(qpos[chosen, 26], qpos[chosen, 27]))

    def _begin(self, mask: Tensor) -> None:
        """Start new episodes where `mask` `[N]` holds."""
        if not mask.any():
            return
        self._report(mask & self._from_benchmark)
        config, count = self.config, self.num_envs
        draw = self._uniform(0, 1, count)
        near_to = config.benchmark_start_share + config.near_start_share
        near = (draw >= config.benchmark_start_share) & (draw < near_to)
        opened = (draw >= near_to) & (draw < near_to + config.open_start_share)
        again = draw >= near_to + config.open_start_share
        qpos = torch.tensor(QPOS0, dtype=torch.float32).repeat(count, 1)
        qpos = torch.cat([qpos, torch.zeros(count, 2)], dim=-1) + self._uniform(-0.01, 0.01, count, 28)
        qpos = torch.where(near.unsqueeze(-1), self._near_the_door(qpos), qpos)
        qpos = torch.where(opened.unsqueeze(-1), self._before_open_leaf(qpos), qpos)
        qvel = torch.zeros(count, 27)
        self.controller.restart(mask)
        drawn = self._reached_states.draw(count)
        if drawn is not None:
            sizes = [qpos.shape[-1], qvel.shape[-1], drawn.shape[-1] - qpos.shape[-1] - qvel.shape[-1]]
            old_qpos, old_qvel, memory = drawn.split(sizes, dim=-1)
            qpos = torch.where(again.unsqueeze(-1), old_qpos, qpos)
            qvel = torch.where(again.unsqueeze(-1), old_qvel, qvel)
            self.controller.recall(mask & again, memory)
        self._simulation.reset(mask.numpy(), qpos.double().numpy(), qvel.double().numpy())
        self._age = torch.where(mask, 0, self._age)
        self._from_benchmark = torch.where(mask, draw < config.benchmark_start_share, self._from_benchmark)
        self._earned = torch.where(mask, ~opened, self._earned)
        self._furthest, self._turned = self._furthest * ~mask, self._turned * ~mask

    def _near_the_door(self, qpos: Tensor) -> Tensor:
        """Standing poses `[N, 28]` within a step of the handle, the leaf shut."""
        qpos = qpos.clone()
        qpos[:, 0], qpos[:, 1] = self._uniform(0.0, 0.35, len(qpos)), self._uniform(-0.2, 0.2, len(qpos))
        return _turned(qpos, self._uniform(-0.3, 0.6, len(qpos)))

    def _before_open_leaf(self, qpos: Tensor) -> Tensor:
        """Standing poses `[N, 28]` on the side of an open leaf on which there is a way through."""
        qpos, count = qpos.clone(), len(qpos)
        hinge = self._uniform(0.5, 1.3, count)
        along = torch.stack([-hinge.sin(), hinge.cos()], dim=-1)  # from the hinge to the free edge
        clear = torch.stack([hinge.cos(), hinge.sin()], dim=-1)  # away from the leaf's outer face
        place = self._uniform(0.4, 1.4, count, 1) * along + self._uniform(0.4, 0.6, count, 1) * clear
        qpos[:, :2] = torch.tensor([DOOR_X + HINGE_AXIS[0], HINGE_AXIS[1]]) + place
        qpos[:, 1] = qpos[:, 1].clamp(-0.25, 0.25)
        from_hinge = qpos[:, :2] - torch.tensor([DOOR_X + HINGE_AXIS[0], HINGE_AXIS[1]])
        beside = (from_hinge * clear).sum(dim=-1) > 0.3  # else the walls left no room there
        qpos[:, 26] = torch.where(beside, hinge, 0.0)
        qpos[:, :2] = torch.where(beside.unsqueeze(-1), qpos[:, :2], 0.0)
        return _turned(qpos, self._uniform(-0.4, 0.4, count))

    def _report(self, ended: Tensor) -> None:
        """Running means over episodes from the benchmark's start: largest angles, and what the hinge passed."""
        for hinge, hatch in zip(self._furthest[ended].tolist(), self._turned[ended].tolist(), strict=True):
            passed = {"past_ratchet": float(hinge > RATCHET + 0.02), "wide_open": float(hinge > 0.9)}
            seen = {"turned": hatch, "opened": hinge, **passed}
            for name, value in seen.items():
                self._metrics[name] += 0.02 * (value - self._metrics[name])


def _turned(qpos: Tensor, yaw: Tensor) -> Tensor:
    """Poses `[N, 28]` turned to headings `[N]` in rad."""
    qpos = qpos.clone()
    qpos[:, 3:7] = frames.quaternion_from_euler(torch.zeros_like(yaw), torch.zeros_like(yaw), yaw)
    return qpos
