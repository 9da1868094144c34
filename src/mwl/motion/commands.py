"""What `mwl motion` does, as plain functions: train a teacher, record demonstrations, import and check clips."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mwl.errors import BadInput
from mwl.motion.clips import MotionClip, check_clip, check_file
from mwl.motion.demonstrators import load_demonstration_config, record
from mwl.motion.door_teacher import is_door_config, load_door_config, train_door_teacher
from mwl.motion.teacher import load_config, train_teacher

PREVIEWS = "runs/motion"
Report = Callable[[dict[str, float]], None]


def train(config: str, out: str, report: Report | None = None) -> Path:
    """Train a teacher: of a gait, or at the door.

    Args:
        config: YAML with `teacher:` or `door_teacher:`, for example `conf/demonstrators/walk_teacher.yaml`.
        out: folder to write, for example `data/teachers/walk`; an interrupted training goes on from its checkpoint.
        report: called with the metrics of every iteration; None prints every tenth to stderr.
    """
    report = report or _print_every_tenth
    if is_door_config(config):
        return train_door_teacher(load_door_config(config), out, report)
    return train_teacher(load_config(config), out, report)


def _print_every_tenth(metrics: dict[str, float]) -> None:
    if metrics["iteration"] % 10 == 0:
        print(", ".join(f"{name} {value:.4g}" for name, value in metrics.items()), file=sys.stderr, flush=True)


def demonstrate(config: str, out: str) -> Path:
    """Record demonstrations: noise in the executed action, clean labels.

    Args:
        config: YAML of the demonstrator and the recording, for example `conf/demonstrators/walk.yaml`.
        out: file to write (.npz); its manifest goes beside it (.json).
    """
    return record(load_demonstration_config(config)).save(out)


def import_clip(
    clip: Path | str, format: str, out: Path | str, fps: float | None = None, film: bool = False
) -> dict[str, Any]:
    """Bring a clip to the robot at 50 Hz, write it with a preview beside it, and say how plausible it is.

    Args:
        clip: raw file; an `.amc` needs its `.asf` skeleton beside it.
        format: `amass`, `bvh`, `amc`, or `h1` for poses of this robot (.csv, .npz).
        out: clip to write (.npz).
        fps: frames per second of an `h1` file that does not say.
        film: also write a film (.mp4).

    Returns:
        what `check` says of the clip.

    Raises:
        BadInput: what cannot be read or written; nothing is left half-written.
    """
    from mwl.motion.robot_clips import read_robot_clip

    source = Path(clip)
    if format == "h1":
        moved = read_robot_clip(source, fps)
    else:
        from mwl.motion.readers import read_landmarks
        from mwl.motion.retarget import retarget

        moved = retarget(read_landmarks(source, format))
    try:
        written = moved.save(out)
    except OSError as error:
        raise BadInput(f"{out}: cannot be written ({error.strerror})") from error
    return {"clip": str(written), **check_clip(moved), **_preview(moved, written, film)}


def import_data(folder: Path | str, format: str, out: Path | str, task: str | None = None) -> Path:
    """Read a data set of demonstrations and write it as a recording.

    Args:
        folder: the data set.
        format: `minari` or `lerobot`.
        out: file to write (.npz); its manifest goes beside it (.json).
        task: benchmark task whose observations it holds, where the data set does not say.
    """
    from mwl.motion.exchange import import_demonstrations

    return import_demonstrations(folder, format, task).save(out, half=False)


def export_data(file: Path | str, format: str, out: Path | str) -> Path:
    """Write a recording as a data set of another format, `minari` or `lerobot`, into a new folder."""
    from mwl.motion.exchange import export_demonstrations

    return export_demonstrations(file, format, out)


def check(file: Path | str, film: bool = False, out: Path | str = PREVIEWS) -> dict[str, Any]:
    """Say whether a motion clip or a recording is well-formed, and how plausible a clip is; a clip gets a preview.

    Args:
        file: clip or recording (.npz).
        film: also write a film (.mp4) of a clip.
        out: folder for preview and film, named as the clip; its own folder stays as it is.
    """
    report = check_file(file)
    if "frames" not in report:  # a recording
        return report
    return {**report, **_preview(MotionClip.load(file), Path(out) / Path(file).name, film)}


def _preview(clip: MotionClip, beside: Path, film: bool) -> dict[str, str]:
    """Pictures of a clip, beside a file; a folder that cannot be written is no reason to refuse the clip."""
    from mwl.motion import preview

    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        written = {"preview": str(preview.contact_sheet(clip, beside))}
        if film:
            written["film"] = str(preview.film(clip, beside))
    except OSError as error:
        return {"preview": f"not written ({error.strerror or error})"}
    return written
