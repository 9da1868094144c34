"""Training of any teacher from its configuration file: of a gait, at the door, of poses, or to a chair."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mwl.core.artifact import MANIFEST, read_checkpoint
from mwl.core.errors import BadInput
from mwl.core.files import output_folder
from mwl.teachers import poses, task
from mwl.teachers.acting import board, seat
from mwl.teachers.acting.board import BoardTeacherConfig, compose_board_teacher
from mwl.teachers.acting.seat import SeatTeacherConfig, compose_seat_teacher
from mwl.teachers.config import parse_config, plain
from mwl.teachers.door import teacher as at_door
from mwl.teachers.door.teacher import DoorTeacherConfig, train_door_teacher
from mwl.teachers.poses import PoseTeacherConfig, train_pose_teacher
from mwl.teachers.task import TaskTeacherConfig, train_task_teacher
from mwl.teachers.teacher import STAGE, TeacherConfig, train_teacher
from mwl.training.schedule import parts, read_part, split
from mwl.training.stage_files import read_yaml

Report = Callable[[dict[str, float]], None]
Config = (
    TeacherConfig | DoorTeacherConfig | PoseTeacherConfig | SeatTeacherConfig | BoardTeacherConfig | TaskTeacherConfig
)
_OTHERS: tuple[tuple[type[Config], str], ...] = (
    (DoorTeacherConfig, at_door.STAGE),
    (PoseTeacherConfig, poses.STAGE),
    (SeatTeacherConfig, seat.STAGE),
    (BoardTeacherConfig, board.STAGE),
    (TaskTeacherConfig, task.STAGE),
)


def train(config: str, out: str, report: Report | None = None, *, force: bool = False) -> Path:
    """Train a teacher: of a gait, at the door, of poses, or on a task's reward; or put one together that acts.

    The parts of a schedule are trained one after the other, all but the last to `<out>.<part>`; those that lie there
    already, of the same configuration, are passed over.

    Args:
        config: YAML with `teacher:`, `door_teacher:`, `pose_teacher:`, `seat_teacher:`, `board_teacher:` or
            `task_teacher:`, as `conf/teachers/walk.yaml`, or `FILE#PART`.
        out: folder to write, for example `data/teachers/walk`; an interrupted training goes on from its checkpoint.
        report: called with the metrics of every iteration; None prints every tenth to stderr.
        force: replace what is in the folder; a training whose checkpoint lies beside it goes on without that.
    """
    out = str(Path(out))
    output_folder(out, force=force or _checkpoint(out).is_file())
    file, part = split(config)
    schedule = [] if part else list(parts(read_yaml(file), config))
    if not schedule:
        return _train(read_teacher_config(config, out.removesuffix(f".{part}")), out, report, force)
    for name in schedule[:-1]:
        settings, folder = read_teacher_config(f"{config}#{name}", out), f"{out}.{name}"
        if not _made_of(settings, Path(folder)):
            _train(settings, folder, report, force)
    return _train(read_teacher_config(f"{config}#{schedule[-1]}", out), out, report, force)


def read_teacher_config(address: Path | str, output: str | None = None) -> Config:
    """The configuration of a teacher from its YAML or a part of it; `output` as in `mwl.training.schedule.read_part`.

    Raises:
        MissingFile: no such file.
        ConfigError: not YAML, no such part, or an entry that the configuration doesn't know.
    """
    return parse_teacher_config(read_part(address, output), str(address))


def parse_teacher_config(content: dict[str, Any], where: str) -> Config:
    """The configuration of plain values under `teacher` or another teacher's key, read from `where`.

    Raises:
        ConfigError: an entry that the configuration doesn't know.
    """
    content = {key: value for key, value in content.items() if value is not None}  # which a variant may leave empty
    kind, key = next((found for found in _OTHERS if found[1] in content), (TeacherConfig, STAGE))
    return parse_config(kind, key, content, where)


def _train(config: Config, out: str, report: Report | None, force: bool) -> Path:
    output_folder(out, force=force or _checkpoint(out).is_file())
    report = report or _print_every_tenth
    if isinstance(config, DoorTeacherConfig):
        return train_door_teacher(config, out, report)
    if isinstance(config, PoseTeacherConfig):
        return train_pose_teacher(config, out, report)
    if isinstance(config, SeatTeacherConfig):
        return compose_seat_teacher(config, out)
    if isinstance(config, BoardTeacherConfig):
        return compose_board_teacher(config, out)
    if isinstance(config, TaskTeacherConfig):
        return train_task_teacher(config, out, report)
    return train_teacher(config, out, report)


def _checkpoint(out: str) -> Path:
    return Path(f"{Path(out)}.training.ckpt")


def _made_of(config: Config, folder: Path) -> bool:
    """Whether a folder holds the teacher of this very configuration."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        settings = read_checkpoint(folder)["hyper_parameters"]
    except BadInput:
        return False
    return plain(asdict(config)) in (settings, settings.get("teacher"))


def _print_every_tenth(metrics: dict[str, float]) -> None:
    if metrics["iteration"] % 10 == 0:
        print(", ".join(f"{name} {value:.4g}" for name, value in metrics.items()), file=sys.stderr, flush=True)
