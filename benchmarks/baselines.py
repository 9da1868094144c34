"""What the methods of `conf/baselines` learn, beside what is published of each after as many steps.

    python benchmarks/baselines.py --fit   # fits what is missing, seed by seed, and goes on where it was stopped: days
    python benchmarks/baselines.py         # measures what is there

Fits lie in `runs/baselines/METHOD-ENV-SEED`. An interval of several seeds is over those, of a single one over its
episodes. `data/published` says where the figures of others are from: on HumanoidBench over training seeds, on the
pendulum over the episodes of a single one.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mwl.evaluation.config import EvaluationConfig
from mwl.evaluation.published import published
from mwl.evaluation.run import evaluate
from mwl.evaluation.table import report, short
from mwl.rollouts.statistics import ci95

FOLDER = Path("runs/baselines")
HEAD = ["environment", "method", "settings", "its steps", "seeds", "return", "95 % CI", "published", "at steps"]
_FEWER = {
    "data.init_args.num_envs": 4,
    "model.init_args.learning.updates_per_step": 0.5,
    "model.init_args.learning.learning_starts": 5000,
}
_RARER = {"model.init_args.learning.train_ratio": 32}  # a night for three seeds


@dataclass(frozen=True)
class Case:
    """A method in an environment: its file, as others call it, for how long, and what is set otherwise."""

    env: str
    config: str
    label: str
    steps: int
    settings: dict[str, float] = field(default_factory=dict)

    def folder(self, seed: int) -> Path:
        """Where the fit of a seed lies; sizes for a CPU have the name of their method."""
        method, _, variant = self.config.removesuffix("#cpu").partition(".yaml")
        return FOLDER / f"{variant.removeprefix('#') or method}-{self.env.replace(':', '_')}-{seed}"

    def fit(self, seed: int) -> None:
        """Fit one seed, or go on with it."""
        if not self.folder(seed).is_dir():
            asked = [f"--{name}={value}" for name, value in self.settings.items()]
            asked += [f"--seed_everything={seed}", f"--data.init_args.seed={seed}", f"--output={self.folder(seed)}"]
            begun = (FOLDER / "_work" / self.folder(seed).name / "last.ckpt").is_file()
            command = ["fit", "--config", f"conf/baselines/{self.config}", "--env", self.env, f"--steps={self.steps}"]
            subprocess.run([sys.executable, "-m", "mwl", *command, *asked, *["--resume"] * begun], check=True)

    def row(self, seeds: int) -> list[str]:
        """What was measured, beside what is published."""
        there = [str(self.folder(seed)) for seed in range(seeds) if self.folder(seed).is_dir()]
        episodes, first = (20, 0) if self.env.startswith("h1-") else (50, 1000)
        records = [evaluate(EvaluationConfig(self.env, agent, episodes=episodes, seed=first)) for agent in there]
        told = ", ".join(f"{name.rpartition('.')[2]} {value:g}" for name, value in self.settings.items()) or "-"
        row = [self.env, self.label, told, *["not run", "0", "-", "-"], *self.published(self.steps)]
        if records:
            steps = max(record.env_steps or 0 for record in records)
            mean = sum(record.return_mean for record in records) / len(records)
            ends = ci95([record.returns for record in records] if len(records) > 1 else records[0].returns)
            interval = "-" if ends is None else f"{ends[0]:.1f} to {ends[1]:.1f}"
            row[3:] = [short(steps), str(len(records)), f"{mean:.1f}", interval, *self.published(steps)]
        return row

    def published(self, steps: int) -> Iterator[str]:
        """Of the same method, at the step closest in ratio."""
        known = (*published(), *published("pendulum.csv"), *published("dmc.csv"))
        found = [entry for entry in known if (entry.task, entry.method) == (self.env, self.label)]
        if not found:
            return iter(("-", "-"))
        near = min(found, key=lambda entry: max(entry.steps / steps, steps / entry.steps))
        return iter((f"{near.mean:.0f} ± {near.sd:.0f}", short(near.steps)))


_PENDULUM = {
    "model.init_args.learning.lr": 1e-3,
    "model.init_args.learning.discount": 0.9,
}  # as rl-baselines3-zoo has it
CASES = [
    Case("gym:Pendulum-v1", "sac.yaml", "SAC", 10_000),
    Case("gym:Pendulum-v1", "sac.yaml#tqc", "TQC", 10_000),
    Case(
        "gym:Pendulum-v1", "ppo.yaml", "PPO", 100_000,
        {**_PENDULUM, "data.init_args.num_envs": 4, "data.init_args.steps_per_round": 1024},
    ),
    Case("gym:Pendulum-v1", "tdmpc2.yaml#cpu", "TD-MPC2", 20_000),
    Case("gym:Pendulum-v1", "dreamer_v3.yaml#cpu", "DreamerV3", 10_000),
    Case("h1-stand", "sac.yaml", "SAC", 150_000, _FEWER),
    Case("h1-stand", "tdmpc2.yaml#cpu", "TD-MPC2", 150_000),
    Case("h1-stand", "dreamer_v3.yaml#cpu", "DreamerV3", 150_000, _RARER),
    Case("h1-stand", "ppo.yaml", "PPO", 150_000),
    Case("dmc:walker-stand", "sac.yaml", "SAC", 40_000, {"model.init_args.learning.updates_per_step": 0.5}),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true", help="fit what is missing first")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep the table there, too, as `make results` does")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in range(options.seeds if options.fit else 0):
        for case in CASES:
            case.fit(seed)
    if not any(case.folder(seed).is_dir() for case in CASES for seed in range(options.seeds)):
        print(f"{FOLDER} holds no fit; python benchmarks/baselines.py --fit makes them", file=sys.stderr)
        return
    report(HEAD, [case.row(options.seeds) for case in CASES], options.table)


if __name__ == "__main__":
    main()
