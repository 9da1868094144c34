"""Environment steps per second: the embedded suite beside the official package, on this machine, one after the other.

Uniform random actions, episodes begun anew as they end, TorchRL's overhead included. The official package steps one
environment in one process, as its users do; it is left out where it isn't installed. Steps per second of wall time
depend on what else runs on the machine; steps per second of CPU time (summed over threads) hardly do. Each is measured
in turns with the others and the best taken, as other jobs only slow it down; on a busy machine, ask for many short
rounds. The share of physics says how much of the time is left to the environment around it.

    python benchmarks/simulation.py [--seconds 5] [--rounds 3] [--tasks h1-walk h1-door] [--json]
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from mwl import keys
from mwl.errors import MissingDependency
from mwl.simulation import HumanoidEnv, make_env

NUM_ENVS = (1, 16, 64)
THREADS = (1, 2)


class Speed(NamedTuple):
    """Environment steps per second."""

    wall: float
    cpu: float

    def better(self, other: "Speed") -> "Speed":
        """The higher of each."""
        return Speed(max(self.wall, other.wall), max(self.cpu, other.cpu))


def speed(step: Callable[[], int], seconds: float) -> Speed:
    """How fast `step`, which returns how many environment steps it made, goes."""
    steps, started, cpu = 0, time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - started) < seconds:
        steps += step()
    return Speed(steps / elapsed, steps / (time.process_time() - cpu))


def embedded(env: HumanoidEnv) -> Callable[[], int]:
    """One step of all environments under random actions."""
    state = env.reset()

    def step() -> int:
        nonlocal state
        state[keys.ACTION] = 2 * torch.rand(env.num_envs, env.action_spec.shape[-1]) - 1
        _, state = env.step_and_maybe_reset(state)
        return env.num_envs

    return step


def physics_share(env: HumanoidEnv, steps: int = 200) -> float:
    """Part of the time of a random rollout that is spent in the physics engine."""
    simulation, spent = env.simulation, 0.0
    inner = simulation.step

    def timed(ctrl: np.ndarray) -> None:
        nonlocal spent
        started = time.perf_counter()
        inner(ctrl)
        spent += time.perf_counter() - started

    simulation.step = timed  # type: ignore[method-assign]
    step = embedded(env)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return spent / (time.perf_counter() - started)


def official(task: str) -> Callable[[], int]:
    """One step of the package's own environment, reset when its episode ends."""
    from mwl.simulation.official import make_official

    env = make_official(task)
    env.reset(seed=0)
    generator, age = np.random.default_rng(0), 0

    def step() -> int:
        nonlocal age
        _, _, terminated, _, _ = env.step(generator.uniform(-1, 1, env.action_space.shape))
        age += 1
        if terminated or age == env.task.max_episode_steps:
            env.reset()
            age = 0
        return 1

    return step


def measure(task: str, seconds: float, rounds: int) -> dict[str, Any]:
    """Best of some rounds for every setting of one task."""
    candidates: dict[str, Callable[[], int]] = {}
    for num_envs in NUM_ENVS:
        for threads in THREADS if num_envs > 1 else (1,):
            candidates[f"N={num_envs} threads={threads}"] = embedded(make_env(task, num_envs, num_threads=threads))
    try:
        candidates["official"] = official(task)
    except MissingDependency as error:
        print(error, file=sys.stderr)
    best = dict.fromkeys(candidates, Speed(0.0, 0.0))
    for _ in range(rounds):
        for name, step in candidates.items():
            best[name] = best[name].better(speed(step, seconds))
    shares = {
        f"N={num_envs} threads=1": physics_share(make_env(task, num_envs, num_threads=1)) for num_envs in NUM_ENVS
    }
    return {
        "task": task,
        "steps_per_s": {name: value._asdict() for name, value in best.items()},
        "physics_share": shares,
    }


def show(result: dict[str, Any], console: Console) -> None:
    """A table of one task."""
    table = Table("setting", "steps/s", "x official", "steps/CPU-s", "x official", "physics", title=result["task"])
    base = result["steps_per_s"].get("official", {"wall": float("nan"), "cpu": float("nan")})
    for name, value in result["steps_per_s"].items():
        share = result["physics_share"].get(name)
        cells = [f"{value[kind]:,.0f}" for kind in ("wall", "cpu")]
        ratios = [f"{value[kind] / base[kind]:.2f}" for kind in ("wall", "cpu")]
        table.add_row(name, cells[0], ratios[0], cells[1], ratios[1], f"{share:.0%}" if share else "")
    console.print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is repeated")
    parser.add_argument("--tasks", nargs="+", default=["h1-walk", "h1-door"])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = [measure(task, arguments.seconds, arguments.rounds) for task in arguments.tasks]
    if arguments.json:
        print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()[0], "results": results}))
    else:
        for result in results:
            show(result, Console())


if __name__ == "__main__":
    main()
