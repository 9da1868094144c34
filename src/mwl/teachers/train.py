"""Training of any teacher from its configuration file: of a gait, or at the door."""

import sys
from collections.abc import Callable
from pathlib import Path

from mwl.core.files import output_folder
from mwl.teachers.door.teacher import is_door_config, load_door_config, train_door_teacher
from mwl.teachers.teacher import load_config, train_teacher

Report = Callable[[dict[str, float]], None]


def train(config: str, out: str, report: Report | None = None, *, force: bool = False) -> Path:
    """Train a teacher: of a gait, or at the door.

    Args:
        config: YAML with `teacher:` or `door_teacher:`, for example `conf/demonstrators/walk_teacher.yaml`.
        out: folder to write, for example `data/teachers/walk`; an interrupted training goes on from its checkpoint.
        report: called with the metrics of every iteration; None prints every tenth to stderr.
        force: replace what is in the folder; a training whose checkpoint lies beside it goes on without that.
    """
    goes_on = Path(f"{Path(out)}.training.ckpt").is_file()
    output_folder(out, force=force or goes_on)
    report = report or _print_every_tenth
    if is_door_config(config):
        return train_door_teacher(load_door_config(config), out, report)
    return train_teacher(load_config(config), out, report)


def _print_every_tenth(metrics: dict[str, float]) -> None:
    if metrics["iteration"] % 10 == 0:
        print(", ".join(f"{name} {value:.4g}" for name, value in metrics.items()), file=sys.stderr, flush=True)
