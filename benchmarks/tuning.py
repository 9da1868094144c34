"""What correcting an expert gives by itself: the stage of conf/adaptation.yaml without an artifact.

    python benchmarks/tuning.py --task h1-walk --expert walk --seeds 0 1 2

Prints a row of figures of whole new episodes for the expert as it is, and for each seed as it was tuned, with what the
race said the last stage gains.
"""

import argparse
from pathlib import Path

import torch

from mwl.adaptation.data import AdaptationData
from mwl.adaptation.module import AdaptationModule
from mwl.adaptation.search import SearchConfig
from mwl.evaluation.table import report
from mwl.experts.library import ExpertLibrary
from mwl.rollouts.episodes import run_episodes
from mwl.selection import ExpertAgent, Guidance
from mwl.selection.config import SelectionConfig
from mwl.simulation import make_env

EVALUATION_SEED = 1000


def guide(expert: str) -> Guidance:
    """One expert as it was fitted."""
    return Guidance(ExpertLibrary.load(Path("data/experts") / expert), semantic_weights={expert: 1.0})


def tuned(task: str, expert: str, config: SearchConfig, seed: int) -> AdaptationModule:
    """The stage, run without leaving anything."""
    from lightning.pytorch import Trainer  # behind mwl, which mends torchvision where it is needed

    module = AdaptationModule(SelectionConfig(f"data/experts/{expert}", semantic_weights={expert: 1.0}), config)
    options = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(max_epochs=1, accelerator="cpu", **options)
    trainer.fit(module, datamodule=AdaptationData(task, seed=seed, num_threads=1))
    module.search.decide()
    return module


def measure(task: str, guidance: Guidance, episodes: int) -> list[str]:
    """Return, falls and motion of whole episodes, as cells of a row."""
    env = make_env(task, episodes, seed=EVALUATION_SEED, num_threads=1)
    measured = run_episodes(env, ExpertAgent(guidance), EVALUATION_SEED)
    env.close()
    mean = {name: float(getattr(measured, name).mean()) for name in ("returns", "jerk", "action_rate", "energy")}
    falls = f"{int(measured.fell.sum())} of {episodes}"
    return [
        f"{mean['returns']:.1f}",
        falls,
        f"{mean['jerk']:.0f}",
        f"{mean['action_rate']:.4f}",
        f"{mean['energy']:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="h1-walk")
    parser.add_argument("--expert", default="walk")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--jerk-weight", "--smoothness", type=float, default=0.0)
    parser.add_argument("--window", type=int, default=SearchConfig.window)
    parser.add_argument("--step-size", type=float, default=SearchConfig.step_size)
    parser.add_argument("--not-mirrored", action="store_true")
    parser.add_argument("--start-phase", "--setting-off", type=int, default=0)
    parser.add_argument("--start-steps", "--setting-off-steps", type=int, default=SearchConfig.start_steps)
    parser.add_argument(
        "--start-step-size", "--setting-off-step-size", type=float, default=SearchConfig.start_step_size
    )
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep the table there, too, as `make results` does")
    options = parser.parse_args()
    names = ("window", "step_size", "jerk_weight", "start_phase", "start_steps", "start_step_size")
    config = SearchConfig(mirrored=not options.not_mirrored, **{name: getattr(options, name) for name in names})
    torch.set_num_threads(1)
    rows = [["as it is", *measure(options.task, guide(options.expert), options.episodes), "-"]]
    for seed in options.seeds:
        torch.manual_seed(seed)
        module = tuned(options.task, options.expert, config, seed)
        said, kept = module.search.report(), "" if module.search.race.winner() else "; kept as it is"
        gain = f"{said['gains'][-1]:.4f} ± {said['errors'][-1]:.4f}{kept}"
        rows.append([f"tuned, seed {seed}", *measure(options.task, module.guidance, options.episodes), gain])
    head = (options.expert, "return", "falls", "jerk, rad/s³", "action rate", "power, W", "gain per step in the race")
    report(head, rows, options.table)


if __name__ == "__main__":
    main()
