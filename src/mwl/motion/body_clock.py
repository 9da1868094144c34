"""How far a robot is in its stride, read off its body: the clock that a student without one could have.

A teacher whose clock follows the body answers from the state alone, also in states that a student has come to on its
own. A free clock would go on without the robot, and its answers to one and the same state would average to standing
still.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torchrl.modules import MLP

from mwl.motion import frames
from mwl.motion.cycle import walking_direction
from mwl.motion.demonstrations import Demonstrator, RecordingConfig, record_demonstrations
from mwl.motion.symmetry import AXIAL_SIGN, POLAR_SIGN, mirror_joints
from mwl.simulation import HumanoidEnv

COMMAND_SIZE = 3
STATE_SIZE = 10 + 2 * 19 + COMMAND_SIZE
STATE_LIMIT = 5.0  # standard deviations


@dataclass(frozen=True)
class BodyClockConfig:
    """How the clock is learned from the steps of the teacher with its own clock, and how it is used."""

    lead: float = 0.02
    """Strides by which the clock leads a body on the spot, less at speed and none from 1 m/s on: exactly in time, a
    robot on the spot can come to rest, and a leading clock hastens a fast one."""
    episodes: int = 128
    steps: int = 250
    noise_levels: tuple[float, ...] = (0.0, 0.1, 0.2, 0.4)
    """Standard deviations in units of the teacher's `noise_scale`; episodes take turns."""
    kick_std: float = 0.4  # m/s
    updates: int = 3000
    batch_size: int = 512
    hidden: tuple[int, int] = (256, 256)
    learning_rate: float = 2e-3
    seed: int = 0


class Walker(Demonstrator, Protocol):
    """A demonstrator with a velocity command and a gait clock.

    Attributes:
        phase: how far each robot is in its stride `[N]`, in [0, 1).
    """

    @property
    def phase(self) -> Tensor:
        """See above."""
        ...


class BodyClock(nn.Module):
    """Phase of the stride as a regression on the robot's state and command.

    Args:
        config: see there.

    Attributes:
        env_steps: environment steps it was learned from.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: BodyClockConfig) -> None:
        super().__init__()
        self.config, self.env_steps = config, 0
        self.register_buffer("mean", torch.zeros(STATE_SIZE))
        self.register_buffer("std", torch.ones(STATE_SIZE))
        self.network = MLP(STATE_SIZE, 2, num_cells=config.hidden, activation_class=nn.SiLU)

    def forward(self, state: Tensor) -> Tensor:
        """Sine and cosine of the phase, `[N, 2]`, of states `[N, 51]`."""
        circle: Tensor = self.network(((state - self.mean) / self.std).clamp(-STATE_LIMIT, STATE_LIMIT))
        return circle

    @torch.no_grad()
    def read(self, qpos: Tensor, qvel: Tensor, command: Tensor) -> Tensor:
        """Phase `[N]` in [0, 1) to act at, with `qpos` `[N, 26]`, `qvel` `[N, 25]` and commands `[N, 3]`."""
        sine, cosine = self(_state(qpos, qvel, command)).unbind(-1)
        speed = command[:, 0]
        lead = self.config.lead * walking_direction(speed) * (1 - speed.abs()).clamp(min=0)
        return torch.remainder(torch.atan2(sine, cosine) / (2 * torch.pi) + lead, 1.0)

    def fit(self, states: Tensor, phase: Tensor) -> None:
        """Learn from states `[T, 51]` with phases `[T]`, and from their mirror images half a stride later."""
        angle = 2 * torch.pi * phase
        circle = torch.stack([angle.sin(), angle.cos()], dim=-1)
        states, circle = torch.cat([states, _mirrored(states)]), torch.cat([circle, -circle])
        self.mean.copy_(states.mean(dim=0))
        self.std.copy_(states.std(dim=0).clamp(min=1e-3))
        optimizer = torch.optim.AdamW(self.parameters(), self.config.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.config.updates)
        for _ in range(self.config.updates):
            batch = torch.randint(len(states), (self.config.batch_size,))
            loss = nn.functional.mse_loss(self(states[batch]), circle[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def learn_body_clock(walker: Walker, env: HumanoidEnv, config: BodyClockConfig) -> BodyClock:
    """The clock of a walker that walks by its own, on an environment of `config.episodes` robots."""
    recording = RecordingConfig(
        config.episodes, config.steps, config.noise_levels, kick_std=config.kick_std, seed=config.seed
    )
    strides = record_demonstrations(_Timed(walker), env, recording)
    assert strides.command is not None
    command, phase = strides.command.split([COMMAND_SIZE, 1], dim=-1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        clock = BodyClock(config)
        with torch.enable_grad():
            clock.fit(_state(strides.observation[:, :26], strides.observation[:, 26:51], command), phase.squeeze(-1))
    clock.env_steps = config.episodes * config.steps
    return clock.eval()


class _Timed:
    """A walker that tells its phase along with its command, `[N, 4]`."""

    def __init__(self, walker: Walker) -> None:
        self.name, self.noise_scale = walker.name, walker.noise_scale
        self._walker = walker
        self.reset, self.executed, self.describe = walker.reset, walker.executed, walker.describe

    @property
    def command(self) -> Tensor:
        command = self._walker.command
        assert command is not None
        return torch.cat([command, self._phase.unsqueeze(-1)], dim=-1)

    def act(self, observation: Tensor) -> Tensor:
        self._phase = self._walker.phase.clone()
        return self._walker.act(observation)


def _state(qpos: Tensor, qvel: Tensor, command: Tensor) -> Tensor:
    """What the clock is read off, `[N, 51]`: height, attitude, velocities and joints in the body frame, command."""
    rotation = frames.rotation_matrix(qpos[:, 3:7])
    return torch.cat(
        [
            qpos[:, 2:3],
            frames.gravity_in_body(rotation),
            frames.to_body(rotation, qvel[:, 0:3]),
            qvel[:, 3:6],
            qpos[:, 7:26],
            qvel[:, 6:25],
            command,
        ],
        dim=-1,
    )


def _mirrored(state: Tensor) -> Tensor:
    """States `[N, 51]` with left and right exchanged."""
    height, gravity, velocity, spin, joints, rates, command = state.split([1, 3, 3, 3, 19, 19, 3], dim=-1)
    parts = [height, gravity * POLAR_SIGN, velocity * POLAR_SIGN, spin * AXIAL_SIGN]
    parts += [mirror_joints(joints), mirror_joints(rates), command * torch.tensor([1.0, -1.0, -1.0])]
    return torch.cat(parts, dim=-1)
