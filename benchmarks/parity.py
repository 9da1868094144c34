"""How close the embedded suite is to the official HumanoidBench, by agent: one step ahead, and in whole episodes.

An agent runs episodes on the official package, which must be installed (docs/guide/simulation.md). Then each control
step is taken again here from the state recorded before it, and the agent runs again here from the same starts and
goals. A difference of two returns from one start says far more than one of two means over starts of their own: where
a random goal lies decides most of a return. The interval is Student's, over the pairs.

    python benchmarks/parity.py --agents agent:reach expert:walk [--episodes 40] [--steps 1000] [--seed 0]
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from tensordict import TensorDict

from mwl.core import keys
from mwl.core.errors import MissingDependency
from mwl.evaluation.agents import resolve
from mwl.evaluation.table import report
from mwl.rollouts import Agent
from mwl.simulation import HumanoidEnv, make_env

Array = NDArray[np.float64]


@dataclass
class Record:
    """N episodes of T control steps; states before each step, and the last one."""

    states: dict[str, Array]  # [N, T + 1, .]
    action: NDArray[np.float32]  # [N, T, A]
    reward: Array  # [N, T]
    terminated: NDArray[np.bool_]  # [N, T]

    @property
    def running(self) -> NDArray[np.bool_]:
        """Which steps `[N, T]` belong to the episode: all up to its true end."""
        ended = np.cumsum(self.terminated, axis=1) - self.terminated
        return ended == 0

    @property
    def returns(self) -> Array:
        """Return `[N]` of each episode."""
        return np.where(self.running, self.reward, 0).sum(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", default=["agent:reach"], help="each on the task that it was made for")
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep the table there, too, as `make results` does")
    options = parser.parse_args()
    try:
        rows = [compare(name, options.episodes, options.steps, options.seed) for name in options.agents]
    except MissingDependency as error:
        print(error, file=sys.stderr)
        return
    head = (
        "agent",
        "steps",
        "qpos, median",
        "90 %",
        "reward, median",
        "90 %",
        "official return",
        "embedded",
        "difference",
    )
    report(head, rows, options.table)


def compare(name: str, episode_count: int, steps: int, seed: int) -> list[str]:
    """The row of an agent."""
    named = resolve(name)
    task, agent = named.manifest["task"], named.agent
    official = make_env(task, episode_count, suite="humanoid_bench", seed=seed)
    official.reset()
    start, goal = official.state, official.measurement.goal.copy()
    theirs = episodes(official, agent, start, goal, steps, seed)
    apart = one_step(task, theirs, goal)
    ours = episodes(make_env(task, episode_count), agent, start, goal, steps, seed)
    difference = ours.returns - theirs.returns
    error = stats.t.ppf(0.975, len(difference) - 1) * stats.sem(difference)
    quantiles = [f"{np.quantile(each, q):.1e}" for each in apart for q in (0.5, 0.9)]
    returns = [f"{each.returns.mean():.1f}" for each in (theirs, ours)]
    return [f"{name} on {task}", str(apart[0].size), *quantiles, *returns, f"{difference.mean():+.1f} ± {error:.1f}"]


def state_of(env: HumanoidEnv) -> dict[str, Array]:
    """What a step starts from, `[N, .]` each, copied."""
    qpos, qvel = env.state
    return {"qpos": qpos.numpy(), "qvel": qvel.numpy(), "warmstart": env.snapshot()["warmstart"].numpy().copy()}


def episodes(
    env: HumanoidEnv, agent: Agent, start: tuple[torch.Tensor, torch.Tensor], goal: Array, steps: int, seed: int
) -> Record:
    """Run the agent from given starts and goals `[N, .]`, through ends: what follows one is masked later."""
    env.reset()
    observation = env.set_state(*start, goal=goal if goal.size else None)[keys.OBSERVATION]
    rows = {name: [value] for name, value in state_of(env).items()}
    action, reward, terminated = [], [], []
    agent.reset()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        for step in range(steps):
            action.append(agent.act(observation, step).numpy().copy())
            acted = TensorDict({keys.ACTION: torch.from_numpy(action[-1])}, env.batch_size)
            after = env.step(acted)[keys.NEXT]
            for name, value in state_of(env).items():
                rows[name].append(value)
            reward.append(after[keys.REWARD].numpy()[:, 0])
            terminated.append(after[keys.TERMINATED].numpy()[:, 0])
            observation = after[keys.OBSERVATION]
    states = {name: np.stack(values, axis=1) for name, values in rows.items()}
    return Record(states, *(np.stack(values, axis=1) for values in (action, reward, terminated)))


def one_step(task: str, record: Record, goal: Array) -> tuple[Array, Array]:
    """Differences of qpos (the largest entry) and reward after each recorded step, taken here from the state before."""
    env = make_env(task, record.action.shape[1])
    differences: list[tuple[Array, Array]] = []
    for k, running in enumerate(record.running):
        goals = np.tile(goal[k], (len(running), 1)) if goal.size else None
        env.set_state(*(record.states[name][k, :-1] for name in ("qpos", "qvel", "warmstart")), goals)
        after = env.step(TensorDict({keys.ACTION: torch.from_numpy(record.action[k])}, env.batch_size))[keys.NEXT]
        qpos = np.abs(env.state[0].numpy() - record.states["qpos"][k, 1:]).max(axis=1)
        reward = np.abs(after[keys.REWARD].numpy()[:, 0] - record.reward[k])
        differences.append((qpos[running], reward[running]))
    qpos, reward = (np.concatenate(values) for values in zip(*differences, strict=True))
    return qpos, reward


if __name__ == "__main__":
    main()
