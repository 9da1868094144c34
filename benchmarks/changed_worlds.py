"""What experts lose in worlds that changed, and what adapting to them in 50,000 control steps wins back.

    python benchmarks/changed_worlds.py                                  # twelve cases, in which today's experts lose
    python benchmarks/changed_worlds.py --cases run:delay=0.02 --seeds 0 1 2

A row for each case and seed, all measured on the same new starts: the expert in the world as it was and in this one;
after a search of an action correction (CMA-ES, conf/adaptation.yaml); with a residual (conf/adaptation.yaml#residual);
with a search on top of the residual (conf/adaptation.yaml#shifted), which together take as many steps as the search
alone. Beside each the share of the loss that is won back.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from mwl.evaluation.agents import load_agent
from mwl.evaluation.table import report
from mwl.rollouts import Agent, run_episodes
from mwl.simulation import Shift, make_env

CASES = {
    "walk": ("motors=0.5", "friction=0.2", "slope=10", "delay=0.02"),
    "run": ("payload=10", "motors=0.7", "friction=0.4", "delay=0.02"),
    "stand": ("payload=10", "motors=0.7", "slope=-5", "delay=0.02"),
}  # where the experts of November 2026 lost most among those that can be endured
SEARCH_STEPS, RACE_STEPS = 37_200, 12_800
EVALUATION_SEED = 1000


def fitted(part: str, expert: str, shift: str, seed: int, output: Path, settings: dict[str, object]) -> Path:
    """The artifact of one stage in a changed world."""
    arguments = [f"--{key}={value}" for key, value in settings.items()]
    own = ["--seed_everything", str(seed), "--data.init_args.seed", str(seed), "--data.init_args.task", f"h1-{expert}"]
    told = ["--config", f"conf/adaptation.yaml{part}", "--output", str(output), "--data.init_args.shift", shift]
    command = [sys.executable, "-m", "mwl", "fit", *told, *own, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[3:])}\n{done.stderr[-800:]}")
    return output


def adapted(expert: str, shift: str, seed: int, folder: Path) -> dict[str, Path]:
    """Artifacts by the name of their column."""
    alone = {
        "model.init_args.guidance.experts": f"data/experts/{expert}",
        "model.init_args.guidance.semantic_weights": f"{{{expert}: 1.0}}",
    }
    steps = {"data.init_args.search_steps": SEARCH_STEPS, "data.init_args.race_steps": RACE_STEPS}
    residual = fitted("#residual", expert, shift, seed, folder / "residual", alone)
    return {
        "search": fitted("", expert, shift, seed, folder / "search", {**alone, **steps}),
        "residual": residual,
        "both": fitted(
            "#shifted", expert, shift, seed, folder / "both", {"model.init_args.guidance.experts": residual}
        ),
    }


def measured(task: str, agent: Agent, shift: str | None, episodes: int) -> float:
    """Mean return of whole episodes."""
    env = make_env(task, episodes, seed=EVALUATION_SEED, shift=None if shift is None else Shift.parse(shift))
    return float(run_episodes(env, agent, EVALUATION_SEED).returns.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [f"{expert}:{shift}" for expert, shifts in CASES.items() for shift in shifts]
    parser.add_argument("--cases", nargs="+", default=every, metavar="EXPERT:SHIFT")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep the table there, too, as `make results` does")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for case in options.cases:
        expert, shift = case.split(":", 1)
        task, own = f"h1-{expert}", load_agent(f"expert:{expert}")
        before, now = (measured(task, own, world, options.episodes) for world in (None, shift))
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as folder:
                found = adapted(expert, shift, seed, Path(folder))
                returns = {
                    name: measured(task, load_agent(path), shift, options.episodes) for name, path in found.items()
                }
            cells = [f"{value:.0f} ({(value - now) / (before - now):.0%})" for value in returns.values()]
            rows.append([expert, shift, str(seed), f"{before:.0f}", f"{now:.0f}", *cells])
            print(*rows[-1], sep="  ", flush=True)
    head = ("expert", "world", "seed", "as it was", "in this world", "search", "residual", "residual and search")
    report(head, rows, options.table)


if __name__ == "__main__":
    main()
