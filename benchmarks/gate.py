"""What a gate gives by itself: experts under it, without plans, beside those that the instruction names, same starts.

    python benchmarks/gate.py --agent data/agents/door --alphas 0.4 0.35 0.3 0.25 --episodes 160 --seed 11

Prints one JSON object per alpha, the instruction alone first; gains are in pairs of episodes with the same start.
"""

import argparse
import json

import torch

from mwl.core.artifact import read_checkpoint, read_manifest
from mwl.rollouts.episodes import Episodes, run_episodes
from mwl.selection import ExpertAgent, Guidance
from mwl.simulation import HumanoidEnv, make_env


def play(env: HumanoidEnv, guidance: Guidance, seed: int) -> Episodes:
    """Whole episodes of the experts, from the starts of the seed."""
    env.set_seed(seed)
    return run_episodes(env, ExpertAgent(guidance), seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", default="data/agents/door", help="guided agent, whose experts and gate are taken")
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.35])
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    torch.set_num_threads(1)
    task, entries = read_manifest(options.agent)["task"], read_checkpoint(options.agent)["guidance"]
    if entries is None or entries["gate"] is None or entries["semantic_weights"] is None:
        raise SystemExit(f"{options.agent}: it has no experts with both a gate and an instruction to compare")
    env = make_env(task, options.episodes, seed=options.seed)
    alone = None
    for alpha in (1.0, *options.alphas):
        guidance = Guidance.from_plain({**entries, "alpha": alpha}, env.task.layout)
        episodes = play(env, guidance, options.seed)
        alone = episodes if alone is None else alone
        gain = episodes.returns - alone.returns
        print(
            json.dumps(
                {
                    "alpha": alpha,
                    "return": round(float(episodes.returns.mean()), 1),
                    "falls": int(episodes.fell.sum()),
                    "gain": round(float(gain.mean()), 1),
                    "gain_error": round(float(gain.std(ddof=1)) / options.episodes**0.5, 1),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
