"""Whole episodes of one agent, all in one batch, and what is measured along the way."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mwl import keys
from mwl.evaluation.agents import Agent
from mwl.simulation import HumanoidEnv
from mwl.simulation.robot import ACTION_SIZE, CONTROL_DT

if TYPE_CHECKING:
    from torch import Tensor

OnStep = Callable[[int, HumanoidEnv, Agent], None]
Report = Callable[[float, str], None]
JOINTS = slice(6, 6 + ACTION_SIZE)  # of the generalised velocity, after the free root


@dataclass(frozen=True)
class Episodes:
    """One finished episode per environment; arrays over the N episodes."""

    returns: np.ndarray
    lengths: np.ndarray
    fell: np.ndarray
    action_rate: np.ndarray
    jerk: np.ndarray
    energy: np.ndarray
    env_steps_per_s: float


class Motion:
    """Sums of smoothness and effort over the steps of each running episode, in joint space."""

    def __init__(self, num_envs: int) -> None:
        self._velocities: list[np.ndarray] = []
        self._action: np.ndarray | None = None
        self._steps = np.zeros(num_envs)
        self._sums = {name: np.zeros(num_envs) for name in ("action_rate", "jerk", "energy")}

    def add(self, action: np.ndarray, velocity: np.ndarray, torque: np.ndarray, running: np.ndarray) -> None:
        """Account for one step.

        Args:
            action: executed action, [N, A] in [-1, 1].
            velocity: joint velocities after the step, [N, A] in rad/s; kept, so not a view that changes later.
            torque: joint torques during the step, [N, A] in N m.
            running: episodes that this step belongs to and that did not end in it, [N] bool.
        """
        self._velocities = [*self._velocities[-2:], velocity]
        self._steps += running
        if self._action is not None:
            self._add("action_rate", np.abs(action - self._action).mean(1), running)
        self._action = action
        if len(self._velocities) == 3:  # the third derivative of position is the second difference of velocity
            first, second, third = self._velocities
            self._add("jerk", (((third - 2 * second + first) / CONTROL_DT**2) ** 2).mean(1), running)
        self._add("energy", np.abs(torque * velocity).sum(1), running)

    def _add(self, name: str, value: np.ndarray, running: np.ndarray) -> None:
        self._sums[name] += np.where(running, value, 0.0)

    def means(self) -> dict[str, np.ndarray]:
        """Per episode: mean action rate, root mean square jerk, mean power."""
        return {
            "action_rate": self._sums["action_rate"] / np.maximum(self._steps - 1, 1),
            "jerk": np.sqrt(self._sums["jerk"] / np.maximum(self._steps - 2, 1)),
            "energy": self._sums["energy"] / np.maximum(self._steps, 1),
        }


def run_episodes(
    env: HumanoidEnv,
    agent: Agent,
    seed: int = 0,
    on_step: OnStep | None = None,
    report: Report | None = None,
) -> Episodes:
    """Run exactly one episode in each environment of a batch.

    Args:
        env: batched environment of N episodes, made with the seed; an episode that ends early leaves its place empty.
        agent: acts on observations [N, O].
        seed: seeds what the agent draws.
        on_step: called before every step with (step, env, agent), for recording.
        report: called with (fraction done, text).

    Returns:
        Arrays over the N episodes.
    """
    num_envs = env.batch_size[0]
    returns, lengths = np.zeros(num_envs), np.zeros(num_envs, dtype=int)
    fell, running = np.zeros(num_envs, dtype=bool), np.ones(num_envs, dtype=bool)
    motion = Motion(num_envs)
    limit = env.task.max_episode_steps
    started = time.perf_counter()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        state = env.reset()
        agent.reset()
        for step in range(limit):
            action = agent.act(state[keys.OBSERVATION], step)
            if on_step is not None:
                filming = time.perf_counter()
                on_step(step, env, agent)
                started += time.perf_counter() - filming  # the speed is that of acting
            full, state = env.step_and_maybe_reset(state.set(keys.ACTION, action))
            after = full[keys.NEXT]
            returns += np.where(running, _column(after[keys.REWARD]), 0.0)
            lengths += running
            fell |= running & _column(after[keys.TERMINATED]).astype(bool)
            done = _column(after[keys.DONE]).astype(bool)
            running &= ~done
            measured = env.measurement
            motion.add(_array(action), measured.qvel[:, JOINTS].copy(), measured["actuator_force"], running)
            if not running.any():
                break
            if done.any():
                agent.reset(torch.from_numpy(done))
            if report is not None and step % 10 == 0:
                report(step / limit, f"return={returns.mean():.0f}")
    seconds = time.perf_counter() - started
    return Episodes(returns, lengths, fell, env_steps_per_s=float(lengths.sum() / seconds), **motion.means())


def _array(value: "Tensor") -> np.ndarray:
    return np.asarray(value.detach().cpu().numpy(), dtype=float)


def _column(value: "Tensor") -> Any:
    return value.detach().cpu().numpy()[:, 0]
