"""Measuring an expert on its own task: return, falls, survival of kicks and smoothness, for its manifest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student_t
from torch import Tensor

from mwl import keys
from mwl.experts.features import robot_state
from mwl.experts.measure_door import measure_opening
from mwl.experts.network import Actor, PolicyNetwork
from mwl.experts.spec import ExpertSpec
from mwl.motion import frames
from mwl.motion.demonstrations import kick
from mwl.motion.naturalness import foot_skate, joint_jerk, sole_positions
from mwl.motion.reach import reachable_targets
from mwl.simulation import HumanoidEnv, make_env
from mwl.simulation.robot import CONTROL_DT, QPOS0, ROBOT_NQ

KICK_STD, KICK_INTERVAL = 0.4, 2.0  # m/s in x and y; s
LOWEST_HEAD = 0.7  # m; lower than a robot bends to reach the floor: it has fallen, though not every task ends with that
SEED = 10_000  # far from the seeds of the demonstrations
FORWARD = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.8, 1.1, 1.4, 1.6)
FOLLOWED = [
    *[(forward, 0.0, 0.0) for forward in FORWARD],
    *[(forward, sideways, 0.0) for forward in (0.0, 0.5, 1.0) for sideways in (-0.3, -0.15, 0.15, 0.3)],
    *[(forward, 0.0, turning) for forward in (0.0, 0.5, 1.0) for turning in (-0.6, -0.3, 0.3, 0.6)],
]  # m/s forward, m/s sideways, rad/s: what a velocity expert is asked to follow
Policy = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Episodes:
    """What N episodes showed: undiscounted returns `[N]`, steps survived `[N]`, whether they fell, and smoothness."""

    returns: Tensor
    lengths: Tensor
    fell: Tensor
    action_rate: float
    joint_jerk: float
    foot_skate: float


@torch.no_grad()
def play_episodes(env: HumanoidEnv, policy: Policy, *, kick_std: float = 0.0, seed: int = SEED) -> Episodes:
    """One whole episode in each of the N environments.

    Args:
        env: benchmark task.
        policy: actions `[N, A]` of observations `[N, O]`.
        kick_std: velocity kicks in x and y, m/s, every two seconds.
        seed: of the kicks.

    Returns:
        the episodes; `action_rate` is the mean absolute change of an action per step, `joint_jerk` the root mean
        square of the joints' third derivative in rad/s^3, `foot_skate` the mean speed in m/s of soles that touch the
        floor, all of the episodes up to their ends.
    """
    generator = torch.Generator().manual_seed(seed)
    count, every = env.num_envs, torch.ones(env.num_envs, dtype=torch.bool)
    state = env.reset()
    alive, returns, lengths = every.clone(), torch.zeros(count), torch.zeros(count)
    fell = torch.zeros(count, dtype=torch.bool)
    previous, change, states = None, [], []
    for step in range(1, env.task.max_episode_steps + 1):
        action = policy(state[keys.OBSERVATION])
        if previous is not None:
            change.append((action - previous).abs().mean(dim=-1)[alive].mean())
        previous = action
        reached = env.step(state.set(keys.ACTION, action))[keys.NEXT]
        returns += reached[keys.REWARD].squeeze(-1) * alive
        lengths += alive
        terminated = reached[keys.TERMINATED].squeeze(-1)
        alive, fell = alive & ~terminated, fell | terminated | (_head_height(env) < LOWEST_HEAD)
        if not alive.any():
            break
        states.append(torch.cat(robot_state(reached[keys.OBSERVATION], env.task.layout), dim=-1))
        state = reached.exclude(keys.REWARD)
        if kick_std > 0 and step % round(KICK_INTERVAL / CONTROL_DT) == 0:
            state[keys.OBSERVATION] = kick(env, every, kick_std, generator)
    jerk, skate = _naturalness(torch.stack(states).double().numpy(), lengths) if states else (0.0, 0.0)
    return Episodes(
        returns=returns,
        lengths=lengths,
        fell=fell,
        action_rate=float(torch.stack(change).mean()),
        joint_jerk=jerk,
        foot_skate=skate,
    )


def _naturalness(states: NDArray[np.float64], lengths: Tensor) -> tuple[float, float]:
    """Joint jerk and foot skate, means over N episodes of states `[T, N, 26 + 25]` and their lengths `[N]`."""
    fps = 1 / CONTROL_DT
    jerks, skates = [], []
    for index, length in enumerate(lengths.int().tolist()):
        episode = states[:length, index]
        jerks.append(joint_jerk(episode[:, ROBOT_NQ:], fps))
        skates.append(foot_skate(sole_positions(episode[:, :ROBOT_NQ]), fps))
    return float(np.mean(jerks)), float(np.mean(skates))


def _head_height(env: HumanoidEnv) -> Tensor:
    """Height of the head in m `[N]`."""
    return torch.from_numpy(env.measurement["head_position"][:, 2].copy())


def measure_expert(spec: ExpertSpec, network: PolicyNetwork, episodes: int) -> dict[str, Any]:
    """Metrics for the manifest of an expert, from `episodes` whole episodes on its task, plain and kicked."""
    if episodes < 1:
        return {}
    env = make_env(spec.task, num_envs=episodes, seed=SEED)
    layout = env.task.layout

    def policy() -> Policy:
        actor = Actor(network)
        return lambda observation: actor(spec.featurise(observation, layout))

    plain = play_episodes(env, policy())
    kicked = play_episodes(env, policy(), kick_std=KICK_STD)
    mean, half_width = confidence(plain.returns)
    skill = {}
    if spec.command == "hand_target":
        skill = measure_reaching(policy(), make_env(spec.task, num_envs=50))
    elif spec.command == "velocity":
        skill = measure_following(spec, network)
    elif spec.command == "door":
        skill = measure_opening(policy(), make_env(spec.task, num_envs=episodes, seed=SEED + 1))
    return {
        "task": spec.task,
        "suite": "embedded",
        "episodes": episodes,
        "return_mean": mean,
        "return_ci95": [mean - half_width, mean + half_width],
        "fall_rate": float(plain.fell.float().mean()),
        "action_rate": plain.action_rate,
        "joint_jerk": plain.joint_jerk,
        "foot_skate": plain.foot_skate,
        "kick_std": KICK_STD,
        "kick_return_mean": float(kicked.returns.mean()),
        "kick_survival": float((~kicked.fell).float().mean()),
        **skill,
        "env_steps": int(plain.lengths.sum() + kicked.lengths.sum()),
    }


@torch.no_grad()
def measure_reaching(policy: Policy, env: HumanoidEnv, seconds: float = 5.0, seed: int = SEED) -> dict[str, float]:
    """Share of random targets within standing reach to which the left hand comes within 5 cm, and stays.

    Args:
        policy: actions `[N, A]` of observations `[N, O]`.
        env: the reach task with one environment per target; its goals are replaced.
        seconds: time until the distance is read; it is averaged over the last half second.
    """
    generator = torch.Generator().manual_seed(seed)
    env.reset()
    qpos, qvel = env.state
    goals = reachable_targets(env.model, env.num_envs, generator) + torch.tensor(QPOS0[:3], dtype=torch.float32)
    state = env.set_state(qpos.numpy(), qvel.numpy(), goal=goals.numpy())
    distances = []
    hand = env.task.layout.slices["left_hand"]
    for _ in range(round(seconds / CONTROL_DT)):
        state = env.step(state.set(keys.ACTION, policy(state[keys.OBSERVATION])))[keys.NEXT].exclude(keys.REWARD)
        distances.append((state[keys.OBSERVATION][:, hand] - goals).norm(dim=-1))
    final = torch.stack(distances[-round(0.5 / CONTROL_DT) :]).mean(dim=0)
    return {
        "targets": float(len(final)),
        "within_5_cm": float((final < 0.05).float().mean()),
        "distance_median_m": float(final.median()),
    }


@torch.no_grad()
def measure_following(
    spec: ExpertSpec, network: PolicyNetwork, seconds: float = 12.0, seed: int = SEED
) -> dict[str, Any]:
    """How well an expert follows velocity commands: the largest error of each axis over commands of `FOLLOWED`.

    Velocities are averaged in the heading frame from the fourth second on.
    """
    commands = torch.tensor(FOLLOWED)
    env = make_env(spec.task, num_envs=len(commands), seed=seed)
    layout, state = env.task.layout, env.reset()
    actor, settled, velocities = Actor(network), round(4.0 / CONTROL_DT), []
    fell = torch.zeros(len(commands), dtype=torch.bool)
    for step in range(round(seconds / CONTROL_DT)):
        action = actor(spec.featurise(state[keys.OBSERVATION], layout, commands))
        state = env.step(state.set(keys.ACTION, action))[keys.NEXT].exclude(keys.REWARD)
        fell |= _head_height(env) < LOWEST_HEAD
        if step >= settled:
            qpos, qvel = robot_state(state[keys.OBSERVATION], layout)
            yaw = frames.heading(frames.rotation_matrix(qpos[:, 3:7]))
            velocities.append(torch.cat([frames.to_heading(yaw, qvel[:, :3])[:, :2], qvel[:, 5:6]], dim=-1))
    error = (torch.stack(velocities).mean(dim=0) - commands).abs().amax(dim=0)
    return {
        "commands": len(commands),
        "command_falls": int(fell.sum()),
        "forward_error_max": float(error[0]),
        "sideways_error_max": float(error[1]),
        "turning_error_max": float(error[2]),
    }


def confidence(returns: Tensor) -> tuple[float, float]:
    """Mean and half width of the 95 % confidence interval of the mean (Student's t) of returns `[N]`."""
    count = len(returns)
    if count < 2:
        return float(returns.mean()), 0.0
    return float(returns.mean()), float(student_t.ppf(0.975, count - 1) * returns.std() / count**0.5)
