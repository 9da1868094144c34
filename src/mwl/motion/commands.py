"""What `mwl motion` does, as plain functions: train a teacher, record demonstrations, import and check clips."""

import sys
from pathlib import Path

from mwl.motion.demonstrators import load_demonstration_config, record
from mwl.motion.teacher import load_config, train_teacher


def train(config: str, out: str) -> Path:
    """Train a tracking teacher.

    Args:
        config: YAML of the teacher, for example `conf/demonstrators/walk_teacher.yaml`.
        out: folder to write, for example `data/teachers/walk`; an interrupted training goes on from its checkpoint.
    """

    def report(metrics: dict[str, float]) -> None:
        if metrics["iteration"] % 10 == 0:
            shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            print(shown, file=sys.stderr, flush=True)

    return train_teacher(load_config(config), out, report)


def demonstrate(config: str, out: str) -> Path:
    """Record demonstrations: noise in the executed action, clean labels.

    Args:
        config: YAML of the demonstrator and the recording, for example `conf/demonstrators/walk.yaml`.
        out: file to write (.npz); its manifest goes beside it (.json).
    """
    return record(load_demonstration_config(config)).save(out)
