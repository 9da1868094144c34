"""Measuring an expert on its own task, for its manifest: as `mwl evaluate` does, and under pushes."""

from collections.abc import Mapping
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from mwl.core import keys
from mwl.demonstrators.reach import reachable_targets
from mwl.experts.features import robot_state
from mwl.experts.library import Expert, ExpertLibrary
from mwl.experts.measure_door import measure_opening
from mwl.experts.network import PolicyNetwork
from mwl.experts.spec import VELOCITIES, ExpertSpec
from mwl.robot import frames
from mwl.robot.h1 import CONTROL_DT, QPOS0
from mwl.rollouts import Agent, definitions, rollout, run_episodes
from mwl.rollouts.falls import DOWN_HEAD
from mwl.rollouts.pushes import Pushes
from mwl.simulation import HumanoidEnv, Shift, make_env

SEED = 10_000  # far from the seeds of the demonstrations
PUSHES = {"std": 0.4, "interval": 2.0}  # m/s in x and y; s
FORWARD = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.8, 1.1, 1.4, 1.6)
FOLLOWED = [
    *[(forward, 0.0, 0.0) for forward in FORWARD],
    *[(forward, sideways, 0.0) for forward in (0.0, 0.5, 1.0) for sideways in (-0.3, -0.15, 0.15, 0.3)],
    *[(forward, 0.0, turning) for forward in (0.0, 0.5, 1.0) for turning in (-0.6, -0.3, 0.3, 0.6)],
]  # m/s forward, m/s sideways, rad/s: what a velocity expert is asked to follow

SHIFTS = ("payload=10", "motors=0.8", "friction=0.4", "slope=5", "slope=-5", "delay=0.02")


class Alone:
    """One expert acting by itself, in the same calls as everywhere else, so that it acts the same to the last bit.

    Args:
        expert: it.
        commands: `[N, C]`, for one that takes commands; None leaves it to the task or its default.
    """

    last: TensorDict | None = None

    def __init__(self, expert: Expert, commands: Tensor | None = None) -> None:
        self._library = ExpertLibrary([expert])
        self._commands: Mapping[str, Tensor] | None = None if commands is None else {expert.spec.name: commands}
        self._memory: Tensor | None = None

    def reset(self, done: Tensor | None = None) -> None:
        """Begin new episodes where `done` `[N]` holds; None: everywhere."""
        if done is None or self._memory is None:
            self._memory = None
        else:
            begun = self._library.initial_memory(len(done))
            self._memory = torch.where(done.unsqueeze(-1), begun, self._memory)

    def act(self, observation: Tensor, step: int | None = None) -> Tensor:
        """Actions `[N, A]` in [-1, 1] for observations `[N, O]`."""
        actions, self._memory = self._library.step(observation, commands=self._commands, memory=self._memory)
        return actions[:, 0]


def measure_expert(spec: ExpertSpec, network: PolicyNetwork, episodes: int, seed: int = SEED) -> dict[str, Any]:
    """Metrics for the manifest of an expert, from whole episodes on its task, plain and pushed.

    The plain ones are those of `mwl evaluate --episodes N --seed S`, with the same figures to the digit.

    Args:
        spec: what the expert sees and does.
        network: its policy.
        episodes: N; none measures nothing.
        seed: of the starts, S.
    """
    if episodes < 1:
        return {}
    expert = Expert(spec, network, {})
    env = make_env(spec.task, num_envs=episodes, seed=seed)
    plain = run_episodes(env, Alone(expert), seed)
    env.set_seed(seed)
    pushed = run_episodes(env, Alone(expert), seed, pushes=Pushes(**PUSHES, seed=seed))
    skill = {}
    if spec.command == "hand_target":
        skill = measure_reaching(Alone(expert), make_env(spec.task, num_envs=50))
    elif spec.command in VELOCITIES:
        skill = measure_following(expert)
    elif spec.command == "door":
        skill = measure_opening(Alone(expert), make_env(spec.task, num_envs=episodes, seed=seed + 1))
    return {
        "task": spec.task,
        "suite": "embedded",
        "episodes": episodes,
        "seed": seed,
        "definitions": definitions(spec.task),
        **plain.figures(env.task.success_bar),
        "push_std": PUSHES["std"],
        "push_return_mean": float(pushed.returns.mean()),
        "push_survival": float((~(pushed.fell | pushed.down)).mean()),
        **skill,
        "env_steps": int(plain.lengths.sum() + pushed.lengths.sum()),
    }


def measure_shifts(expert: Expert, episodes: int, seed: int = SEED) -> dict[str, Any]:
    """Return, interval and falls of an expert on its task under none and each of `SHIFTS`, on the same starts."""
    figures = {}
    for text in ("", *SHIFTS):
        shift = Shift.parse(text) if text else None
        env = make_env(expert.spec.task, num_envs=episodes, seed=seed, shift=shift)
        measured = run_episodes(env, Alone(expert), seed).figures(env.task.success_bar)
        figures[text or "none"] = {name: measured[name] for name in ("return_mean", "return_ci95", "fall_rate")}
    return {"episodes": episodes, "seed": seed, **figures}


def measure_reaching(agent: Agent, env: HumanoidEnv, seconds: float = 5.0, seed: int = SEED) -> dict[str, float]:
    """Share of random targets within standing reach to which the left hand comes within 5 cm, and stays.

    Args:
        agent: acts.
        env: the reach task with one environment per target; its goals are replaced.
        seconds: time until the distance is read; it is averaged over the last half second.
        seed: of the targets.
    """
    generator = torch.Generator().manual_seed(seed)
    env.reset()
    qpos, qvel = env.state
    goals = reachable_targets(env.model, env.num_envs, generator) + torch.tensor(QPOS0[:3], dtype=torch.float32)
    start = env.set_state(qpos.numpy(), qvel.numpy(), goal=goals.numpy())
    hand = env.task.layout.slices["left_hand"]
    distances = [
        (step.after[keys.OBSERVATION][:, hand] - goals).norm(dim=-1)
        for step in rollout(env, agent, round(seconds / CONTROL_DT), start=start)
    ]
    final = torch.stack(distances[-round(0.5 / CONTROL_DT) :]).mean(dim=0)
    return {
        "targets": float(len(final)),
        "within_5_cm": float((final < 0.05).float().mean()),
        "distance_median_m": float(final.median()),
    }


def measure_following(expert: Expert, seconds: float = 12.0, seed: int = SEED) -> dict[str, Any]:
    """How well an expert follows velocity commands: the largest error of each axis over commands of `FOLLOWED`.

    Velocities are averaged in the heading frame from the fourth second on.
    """
    commands = torch.tensor(FOLLOWED)
    env = make_env(expert.spec.task, num_envs=len(commands), seed=seed)
    settled, velocities = round(4.0 / CONTROL_DT), []
    down = torch.zeros(len(commands), dtype=torch.bool)
    for step in rollout(env, Alone(expert, commands), round(seconds / CONTROL_DT)):
        down |= torch.from_numpy(env.measurement["head_position"][:, 2] < DOWN_HEAD)
        if step.index >= settled:
            qpos, qvel = robot_state(step.after[keys.OBSERVATION], env.task.layout)
            yaw = frames.heading(frames.rotation_matrix(qpos[:, 3:7]))
            velocities.append(torch.cat([frames.to_heading(yaw, qvel[:, :3])[:, :2], qvel[:, 5:6]], dim=-1))
    error = (torch.stack(velocities).mean(dim=0) - commands).abs().amax(dim=0)
    return {
        "commands": len(commands),
        "command_falls": int(down.sum()),
        "forward_error_max": float(error[0]),
        "sideways_error_max": float(error[1]),
        "turning_error_max": float(error[2]),
    }
