"""What experts lose in worlds that changed, and what adapting to them in 50,000 control steps wins back.

    python benchmarks/changed_worlds.py --fit                                   # fits what is missing: hours
    python benchmarks/changed_worlds.py                                         # measures what is there
    python benchmarks/changed_worlds.py --fit --cases run:delay=0.02 --seeds 1  # one case, one seed

A row for each case, all measured on the same new starts: the expert in the world as it was and in this one; after
fine-tuning (PPO, conf/adaptation.yaml#fine_tuned); after a search of an action correction (CMA-ES,
conf/adaptation.yaml); with a residual (conf/adaptation.yaml#residual); with a search on top of the residual
(conf/adaptation.yaml#shifted), which together take as many steps as the search alone. Beside each the share of the
loss that is won back. Fits lie in `runs/changed_worlds/EXPERT-WORLD-SEED`, and a run goes on where it was stopped.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch

from mwl.evaluation.agents import load_agent
from mwl.evaluation.table import report
from mwl.rollouts import Agent, run_episodes
from mwl.rollouts.statistics import ci95
from mwl.simulation import Shift, make_env

FOLDER = Path("runs/changed_worlds")
CASES = {
    "walk": ("motors=0.5", "friction=0.2", "slope=10", "delay=0.02"),
    "run": ("payload=10", "motors=0.7", "friction=0.4", "delay=0.02"),
    "stand": ("payload=10", "motors=0.7", "slope=-5", "delay=0.02"),
}  # where the experts of November 2026 lost most among those that can be endured
WAYS = {"fine-tuning": "#fine_tuned", "search": "", "residual": "#residual", "residual and search": "#shifted"}
SEARCH_STEPS, RACE_STEPS = 37_200, 12_800
EVALUATION_SEED = 1000


def folder(expert: str, shift: str, seed: int, way: str) -> Path:
    """Where one fit lies."""
    return FOLDER / f"{expert}-{shift}-{seed}" / way.replace(" ", "_")


def fit(expert: str, shift: str, seed: int, way: str) -> None:
    """Fit one way in a changed world, unless that is done."""
    output = folder(expert, shift, seed, way)
    if output.is_dir():
        return
    settings: dict[str, object] = {"data.init_args.shift": shift, "data.init_args.seed": seed}
    if way == "fine-tuning":
        settings |= {"model.init_args.expert": f"data/experts/{expert}", "model.init_args.name": expert}
    else:
        settings |= {"data.init_args.task": f"h1-{expert}"}
    if way in ("search", "residual"):
        settings |= {
            "model.init_args.guidance.experts": f"data/experts/{expert}",
            "model.init_args.guidance.semantic_weights": f"{{{expert}: 1.0}}",
        }
    if way == "search":
        settings |= {"data.init_args.search_steps": SEARCH_STEPS, "data.init_args.race_steps": RACE_STEPS}
    if way == "residual and search":
        settings |= {"model.init_args.guidance.experts": folder(expert, shift, seed, "residual")}
    told = ["--config", f"conf/adaptation.yaml{WAYS[way]}", "--output", str(output), f"--seed_everything={seed}"]
    command = [sys.executable, "-m", "mwl", "fit", *told, *(f"--{key}={value}" for key, value in settings.items())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[3:])}\n{done.stderr[-800:]}")


def measured(task: str, agent: Agent, shift: str | None, episodes: int) -> float:
    """Mean return of whole episodes."""
    env = make_env(task, episodes, seed=EVALUATION_SEED, shift=None if shift is None else Shift.parse(shift))
    return float(run_episodes(env, agent, EVALUATION_SEED).returns.mean())


def row(expert: str, shift: str, seeds: list[int], episodes: int) -> tuple[list[str], list[float]]:
    """What is told of a case, and the share of the loss that each way won back, the mean over seeds."""
    task, own = f"h1-{expert}", load_agent(f"expert:{expert}")
    before, now = (measured(task, own, world, episodes) for world in (None, shift))
    cells, shares = [expert, shift, f"{before:.0f}", f"{now:.0f}"], []
    for way in WAYS:
        there = [folder(expert, shift, seed, way) for seed in seeds]
        returns = [measured(task, load_agent(path), shift, episodes) for path in there if path.is_dir()]
        shares.append((sum(returns) / len(returns) - now) / (before - now) if returns else float("nan"))
        ends = ci95(returns) if len(returns) > 1 else None
        interval = "" if ends is None else f" [{ends[0]:.0f}, {ends[1]:.0f}]"
        cells.append(f"{sum(returns) / len(returns):.0f}{interval}, {shares[-1]:.0%}" if returns else "not run")
    print(*cells, sep="  ", file=sys.stderr, flush=True)
    return cells, shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [f"{expert}:{shift}" for expert, shifts in CASES.items() for shift in shifts]
    parser.add_argument("--fit", action="store_true", help="fit what is missing first")
    parser.add_argument("--cases", nargs="+", default=every, metavar="EXPERT:SHIFT")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep the table there, too, as `make results` does")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = [case.partition(":")[::2] for case in options.cases]
    for seed in options.seeds if options.fit else ():
        for expert, shift in cases:
            for way in WAYS:
                fit(expert, shift, seed, way)
    told = [row(expert, shift, options.seeds, options.episodes) for expert, shift in cases]
    rows = [cells for cells, _ in told]
    halves = [sum(shares[way] >= 0.5 for _, shares in told) for way in range(len(WAYS))]
    rows.append(["half won back", "", "", "", *(f"{half} of {len(told)}" for half in halves)])
    report(("expert", "world", "as it was", "in this world", *WAYS), rows, options.table)


if __name__ == "__main__":
    main()
