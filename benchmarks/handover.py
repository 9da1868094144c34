"""How agents take over from one another: falls within six seconds, for every pair, from states in which the first acts.

    python benchmarks/handover.py --agents agent:stand agent:walk agent:run --episodes 64
    python benchmarks/handover.py --agents agent:run agent:stand --between agent:walk --between-steps 150

Every row is who acted first, for two to four seconds from the task's own start; every column who goes on, with
`--between` after another has acted for a while. Falls of that one count, too.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from mwl.core import keys
from mwl.evaluation.agents import resolve
from mwl.evaluation.table import report
from mwl.rollouts import Agent, rollout
from mwl.simulation import HumanoidEnv, make_env

_FROM, _TO, _WATCHED = 100, 200, 300  # control steps


def left_at(env: HumanoidEnv, agent: Agent, seed: int) -> tuple[Tensor, Tensor]:
    """States `[N, nq]`, `[N, nv]` at a random moment while the agent acts, another one for each episode."""
    count = env.num_envs
    when = torch.randint(_FROM, _TO + 1, (count,), generator=torch.Generator().manual_seed(seed))
    env.set_seed(seed)
    qpos, qvel = (torch.zeros_like(part) for part in env.state)
    for step in rollout(env, agent, _TO):
        chosen = when == step.index + 1
        for kept, present in zip((qpos, qvel), env.state, strict=True):
            kept[chosen] = present[chosen]
    return qpos, qvel


def count_falls(env: HumanoidEnv, turns: list[tuple[Agent, int]], states: tuple[Tensor, Tensor]) -> int:
    """How many of the robots fall that agents take over in these states, each for its number of control steps."""
    now = env.set_state(*(part.clone() for part in states))
    fell = torch.zeros(env.num_envs, dtype=torch.bool)
    for agent, steps in turns:
        for step in rollout(env, agent, steps, start=now):
            fell |= step.after[keys.TERMINATED].squeeze(-1)
        now = env.set_state(*env.state, env.simulation.warmstart)  # who fell begins anew, and is counted already
    return int(fell.sum())


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", default=["agent:stand", "agent:walk", "agent:run"])
    parser.add_argument("--between", help="agent that acts between the two")
    parser.add_argument("--between-steps", type=int, default=150, help="control steps for which it does")
    parser.add_argument("--task", default="h1-walk", help="what all of them see; its reward does not matter")
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep the table there, too, as `make results` does")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    env = make_env(options.task, options.episodes, seed=options.seed)
    head, rows = [f"falls of {options.episodes}, from", *(f"to {agent}" for agent in options.agents)], []
    for first in options.agents:
        states = left_at(env, resolve(first).agent, options.seed)
        between = [(resolve(options.between).agent, options.between_steps)] if options.between else []
        turns = [[*between, (resolve(other).agent, _WATCHED)] for other in options.agents]
        rows.append([first, *(str(count_falls(env, turn, states)) for turn in turns)])
    report(head, rows, options.table)


if __name__ == "__main__":
    main()
