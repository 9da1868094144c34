"""Environment steps per second: the embedded suite beside the official package, on this machine, one after the other.

Two kinds of behaviour, because fallen robots touch everything: `expert` (the shipped walking expert on h1-walk, the
standing one elsewhere) and `random` (uniform actions, under which a robot lies within two seconds). Only environment
steps are timed, not the policy; episodes begin anew as they end; TorchRL's overhead is included. The official package
steps one environment in one process, as its users do; it is left out where it isn't installed. Steps per second of wall
time depend on what else runs on the machine; steps per second of CPU time (summed over threads) hardly do. Each is
measured in turns with the others and the best taken, as other jobs only slow it down; on a busy machine, ask for many
short rounds. The share of physics says how much of the time is left to the environment around it.

    python benchmarks/simulation.py [--seconds 5] [--rounds 3] [--tasks h1-walk h1-door] [--table FILE]
"""

import argparse
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mwl.core import keys
from mwl.core.errors import MissingDependency
from mwl.evaluation.table import report
from mwl.experts.library import ExpertLibrary
from mwl.robot.h1 import ACTION_SIZE
from mwl.simulation import get_task, make_env

DATA = Path(__file__).parents[1] / "data"
Policy = Callable[[Tensor], Tensor]
NUM_ENVS = (1, 16, 64)
THREADS = (1, 2)


class Speed(NamedTuple):
    """Environment steps per second."""

    wall: float
    cpu: float

    def better(self, other: "Speed") -> "Speed":
        """The higher of each."""
        return Speed(max(self.wall, other.wall), max(self.cpu, other.cpu))


class Runner(ABC):
    """Environments under a policy; only `step` is timed."""

    num_envs = 1

    @abstractmethod
    def act(self) -> None:
        """Choose the next actions."""

    @abstractmethod
    def step(self) -> None:
        """Take one control step with them and begin new episodes where one ended."""


class Embedded(Runner):
    """The embedded suite through TorchRL."""

    def __init__(self, task: str, num_envs: int, threads: int, policy: Policy) -> None:
        self.env, self.num_envs, self._policy = make_env(task, num_envs, num_threads=threads), num_envs, policy
        self._state = self.env.reset()

    def act(self) -> None:
        self._state[keys.ACTION] = self._policy(self._state[keys.OBSERVATION])

    def step(self) -> None:
        _, self._state = self.env.step_and_maybe_reset(self._state)


class Official(Runner):
    """The package's own environment."""

    def __init__(self, task: str, policy: Policy) -> None:
        from mwl.simulation.official import make_official

        self._env, self._policy, self._age = make_official(task), policy, 0
        self._observation, _ = self._env.reset(seed=0)

    def act(self) -> None:
        observation = torch.as_tensor(self._observation, dtype=torch.float32).unsqueeze(0)
        self._action = self._policy(observation)[0].numpy()

    def step(self) -> None:
        self._observation, _, terminated, _, _ = self._env.step(self._action)
        self._age += 1
        if terminated or self._age == self._env.task.max_episode_steps:
            self._observation, _ = self._env.reset()
            self._age = 0


def random_policy(observation: Tensor) -> Tensor:
    """Uniform actions `[N, A]`."""
    return 2 * torch.rand(len(observation), ACTION_SIZE) - 1


def expert_policy(task: str) -> Policy:
    """The shipped expert that keeps the robot on its feet on this task."""
    expert = ExpertLibrary.load([DATA / "experts" / ("walk" if task == "h1-walk" else "stand")])

    layout = get_task(task).layout

    @torch.no_grad()
    def act(observation: Tensor) -> Tensor:
        return expert.actions(observation, layout)[:, 0]

    return act


def speed(runner: Runner, seconds: float) -> Speed:
    """How fast a runner's steps go, over about `seconds` of them."""
    steps, elapsed, cpu = 0, 0.0, 0.0
    while elapsed < seconds:
        runner.act()
        started, cpu_started = time.perf_counter(), time.process_time()
        runner.step()
        elapsed += time.perf_counter() - started
        cpu += time.process_time() - cpu_started
        steps += runner.num_envs
    return Speed(steps / elapsed, steps / cpu)


def physics_share(runner: Embedded, steps: int = 200) -> float:
    """Part of the time of a rollout that is spent in the physics engine."""
    simulation, physics, whole = runner.env.simulation, 0.0, 0.0
    inner = simulation.step

    def timed(ctrl: np.ndarray) -> None:
        nonlocal physics
        started = time.perf_counter()
        inner(ctrl)
        physics += time.perf_counter() - started

    simulation.step = timed  # type: ignore[method-assign]
    for _ in range(steps):
        runner.act()
        started = time.perf_counter()
        runner.step()
        whole += time.perf_counter() - started
    return physics / whole


def measure(task: str, behaviour: str, seconds: float, rounds: int) -> dict[str, Any]:
    """Best of some rounds for every setting of one task."""
    policy = random_policy if behaviour == "random" else expert_policy(task)
    candidates: dict[str, Runner] = {}
    for num_envs in NUM_ENVS:
        for threads in THREADS if num_envs > 1 else (1,):
            candidates[f"N={num_envs} threads={threads}"] = Embedded(task, num_envs, threads, policy)
    try:
        candidates["official"] = Official(task, policy)
    except MissingDependency as error:
        print(error, file=sys.stderr)
    best = dict.fromkeys(candidates, Speed(0.0, 0.0))
    for runner in candidates.values():  # past the start, where robots still stand
        speed(runner, seconds)
    for _ in range(rounds):
        for name, runner in candidates.items():
            best[name] = best[name].better(speed(runner, seconds))
    shares = {f"N={num_envs} threads=1": physics_share(Embedded(task, num_envs, 1, policy)) for num_envs in NUM_ENVS}
    return {
        "task": task,
        "behaviour": behaviour,
        "steps_per_s": {name: value._asdict() for name, value in best.items()},
        "physics_share": shares,
    }


def cells(result: dict[str, Any]) -> list[list[str]]:
    """A row of the table for each setting; "x" is how many times as fast as the official package."""
    speeds, rows = result["steps_per_s"], []
    for name, value in speeds.items():
        row = [f"{result['task']}, {result['behaviour']}", name]
        for kind in ("wall", "cpu"):
            base = speeds.get("official")
            row += [f"{value[kind]:.0f}", f"{value[kind] / base[kind]:.2f}" if base else "-"]
        share = result["physics_share"].get(name)
        rows.append([*row, f"{share:.0%}" if share else "-"])
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is repeated")
    parser.add_argument("--tasks", nargs="+", default=["h1-walk", "h1-door"])
    parser.add_argument("--behaviours", nargs="+", default=["expert", "random"], choices=["expert", "random"])
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep the table there, too, as `make results` does")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = [
        measure(task, behaviour, arguments.seconds, arguments.rounds)
        for task in arguments.tasks
        for behaviour in arguments.behaviours
    ]
    head = ("task, actions", "setting", "steps/s", "x", "steps/CPU-s", "x", "physics")
    report(head, [row for result in results for row in cells(result)], arguments.table)


if __name__ == "__main__":
    main()
