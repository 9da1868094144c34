"""The one loop in which policies act in whole episodes, all in one batch, and what is measured along the way."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from mwl.core import keys
from mwl.rollouts.external import ExternalEnv
from mwl.rollouts.falls import DOWN_HEAD, fell
from mwl.rollouts.metrics import Motion
from mwl.rollouts.pushes import Pushes
from mwl.rollouts.statistics import ci95
from mwl.rollouts.success import succeeded
from mwl.simulation import HumanoidEnv

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


class Agent(Protocol):
    """Whatever chooses actions."""

    last: "TensorDict | None"
    """What the last `act` computed (weights, reference action), for logs and videos; optional."""

    def reset(self, done: "Tensor | None" = None) -> None:
        """Forget the past of environments that begin a new episode, `done` `[N]` bool; None = all."""

    def act(self, observation: "Tensor", step: int | None = None) -> "Tensor":
        """Actions `[N, A]` in [-1, 1] for observations `[N, O]`; `[A]` for `[O]`."""

    # An agent may have `remember(reward)`, too: it is then told the rewards `[N]` of its last actions.


Env = HumanoidEnv | ExternalEnv
OnStep = Callable[[int, HumanoidEnv, Agent], None]
Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Step:
    """One control step of N episodes side by side, before anything begins anew.

    Args:
        index: number of the step, from 0.
        observation: `[N, O]` that the agent saw.
        action: `[N, A]` that it chose.
        after: what came of it: observation, reward, terminated, truncated, done.
        running: `[N]`, whether the step belongs to the environment's episode; false once that is over.
    """

    index: int
    observation: "Tensor"
    action: "Tensor"
    after: "TensorDict"
    running: NDArray[np.bool_]


@torch.no_grad()
def rollout(
    env: Env,
    agent: Agent,
    steps: int | None = None,
    *,
    start: "TensorDict | None" = None,
    pushes: Pushes | None = None,
    on_step: OnStep | None = None,
) -> Iterator[Step]:
    """Let an agent act for one episode in each of the N environments; ends when all are over.

    An episode that ends early leaves its place empty: the environment begins anew, and `running` is false there.

    Args:
        env: of N episodes.
        agent: acts.
        steps: at most so many; None takes the task's own limit.
        start: what `env.set_state` returned, to begin there; None begins as the benchmark does.
        pushes: velocity pushes between steps, in the embedded suite.
        on_step: called with (step, env, agent) when the agent has chosen and nothing has moved yet, for recording the
            robot.

    Yields:
        every step once it is done; `env.measurement` is then that of the states reached.
    """
    running = np.ones(env.num_envs, dtype=bool)
    now = env.reset() if start is None else start
    agent.reset()
    remember = getattr(agent, "remember", None)
    for index in range(env.task.max_episode_steps if steps is None else steps):
        observation = now[keys.OBSERVATION]
        action = agent.act(observation, index)
        if on_step is not None and isinstance(env, HumanoidEnv):
            on_step(index, env, agent)
        after = env.step(now.set(keys.ACTION, action))[keys.NEXT]
        yield Step(index, observation, action, after, running.copy())
        done = after[keys.DONE].squeeze(-1)
        running &= ~done.numpy()
        if remember is not None:
            remember(after[keys.REWARD].squeeze(-1))
        if not running.any():
            return
        now = after.exclude(keys.REWARD)
        if done.any():
            env.maybe_reset(now)
            agent.reset(done)
        if pushes is not None and isinstance(env, HumanoidEnv) and pushes(env.simulation, index):
            now[keys.OBSERVATION] = torch.from_numpy(env.world.observation())


@dataclass(frozen=True)
class Episodes:
    """One finished episode per environment; arrays over the N episodes.

    Args:
        returns: undiscounted.
        lengths: control steps.
        fell: ended by a fall, see `mwl.rollouts.falls`.
        ended_well: ended because the task was done.
        down: the head was near the floor at some time, whether or not that ended the episode.
        env_steps_per_s: speed of acting and simulating together.
        action_rate, jerk, energy, foot_skate: see `mwl.rollouts.metrics`; no skating of robots whose feet aren't known,
            nothing of it where there is no robot.
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    fell: NDArray[np.bool_]
    ended_well: NDArray[np.bool_]
    down: NDArray[np.bool_]
    env_steps_per_s: float
    action_rate: NDArray[np.float64] | None = None
    jerk: NDArray[np.float64] | None = None
    energy: NDArray[np.float64] | None = None
    foot_skate: NDArray[np.float64] | None = None

    def succeeded(self, success_bar: float) -> NDArray[np.bool_]:
        """Which episodes were a success `[N]`, see `mwl.rollouts.success`."""
        return succeeded(self.returns, self.ended_well, success_bar)

    def figures(self, success_bar: float) -> dict[str, Any]:
        """What records and manifests say of the episodes, by name."""
        interval = ci95(self.returns.tolist())
        of_robot = {name: getattr(self, name) for name in ("action_rate", "jerk", "energy", "foot_skate")}
        robot = self.jerk is not None
        of_robot |= {"fall_rate": self.fell if robot else None, "down_rate": self.down if robot else None}
        return {
            "return_mean": float(self.returns.mean()),
            "return_std": float(self.returns.std()),
            "return_ci95": None if interval is None else list(interval),
            "length_mean": float(self.lengths.mean()),
            "success_rate": float(self.succeeded(success_bar).mean()) if isfinite(success_bar) else None,
            **{name: None if value is None else float(value.mean()) for name, value in of_robot.items()},
        }


def run_episodes(
    env: Env,
    agent: Agent,
    seed: int = 0,
    on_step: OnStep | None = None,
    report: Report | None = None,
    pushes: Pushes | None = None,
) -> Episodes:
    """Run exactly one episode in each environment of a batch.

    Args:
        env: batched environment of N episodes, made with the seed.
        agent: acts on observations `[N, O]`.
        seed: seeds what the agent draws.
        on_step: called before every step with (step, env, agent), for recording; its time does not count.
        report: called with (fraction done, text).
        pushes: velocity pushes while it acts.

    Returns:
        Arrays over the N episodes.
    """
    num_envs, limit = env.num_envs, env.task.max_episode_steps
    returns, lengths = np.zeros(num_envs), np.zeros(num_envs, dtype=np.int64)
    fallen, well, down = (np.zeros(num_envs, dtype=bool) for _ in range(3))
    motion = _Watched(env) if isinstance(env, HumanoidEnv) else None
    watched = 0.0

    def watch(step: int, env: HumanoidEnv, agent: Agent) -> None:
        nonlocal watched
        if on_step is not None:
            began = time.perf_counter()
            on_step(step, env, agent)
            watched += time.perf_counter() - began

    started = time.perf_counter()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for step in rollout(env, agent, pushes=pushes, on_step=watch):
            running = step.running
            returns += np.where(running, _column(step.after[keys.REWARD]), 0.0)
            lengths += running
            if motion is not None:
                terminated, succeeded = _column(step.after[keys.TERMINATED]), motion.env.succeeded
                fallen |= running & fell(terminated, succeeded)
                well |= running & terminated & succeeded
                down |= running & motion.see(step)
            if report is not None and step.index % 10 == 0:
                report(step.index / limit, f"return={returns.mean():.0f}")
    speed = float(lengths.sum() / (time.perf_counter() - started - watched))
    return Episodes(returns, lengths, fallen, well, down, speed, **({} if motion is None else motion.means()))


class _Watched:
    """What is measured of a robot's motion, step by step."""

    def __init__(self, env: HumanoidEnv) -> None:
        self.env, self.motion = env, Motion(env.num_envs)
        self.actuators, self.joints = _actuated(env.model)
        self.ours = "robot_qpos" in env.task.layout.slices

    def see(self, step: Step) -> NDArray[np.bool_]:
        """Account for a step; returns where the head is near the floor `[N]`."""
        measured = self.env.measurement
        action, torque = step.action.detach().cpu().numpy().astype(float), measured["actuator_force"]
        pose = measured.qpos if self.ours else None
        self.motion.add(action, measured.qvel[:, self.joints], torque[:, self.actuators], step.running, pose)
        if "head_position" not in measured.index.slices:
            return np.zeros(self.env.num_envs, dtype=bool)
        return measured["head_position"][:, 2] < DOWN_HEAD

    def means(self) -> dict[str, Any]:
        """The figures of each episode `[N]`; no skating of robots whose feet aren't known."""
        return {
            name: value if self.ours or name != "foot_skate" else None for name, value in self.motion.means().items()
        }


def _actuated(model: mujoco.MjModel) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Actuators that move a joint directly, and where in `qvel` its velocity lies."""
    actuators = np.flatnonzero(model.actuator_trntype == mujoco.mjtTrn.mjTRN_JOINT)
    return actuators, model.jnt_dofadr[model.actuator_trnid[actuators, 0]].astype(np.int64)


def _column(value: "Tensor") -> Any:
    return value.detach().cpu().numpy()[:, 0]
