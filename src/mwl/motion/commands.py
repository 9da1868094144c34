"""What `mwl motion` does, as plain functions: train a teacher, record demonstrations, import and check clips."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mwl.errors import WriteFailed
from mwl.files import output_file, output_folder, with_ending, without_ending
from mwl.motion.clips import MotionClip, check_clip, check_file
from mwl.motion.conventions import Conventions
from mwl.motion.demonstrations import manifest_of
from mwl.motion.demonstrators import load_demonstration_config, record
from mwl.motion.door_teacher import is_door_config, load_door_config, train_door_teacher
from mwl.motion.teacher import load_config, train_teacher

PREVIEWS = "runs/motion"
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


def demonstrate(config: str, out: str, *, force: bool = False) -> Path:
    """Record demonstrations: noise in the executed action, clean labels.

    Args:
        config: YAML of the demonstrator and the recording, for example `conf/demonstrators/walk.yaml`.
        out: file to write (.npz); its manifest goes beside it (.json).
        force: replace a recording that is there.
    """
    target = _recording_file(out, force)
    return record(load_demonstration_config(config)).save(target)


def _recording_file(out: Path | str, force: bool) -> Path:
    """Where a recording is to go, checked together with its manifest."""
    target = output_file(with_ending(out, ".npz"), force=force)
    output_file(manifest_of(target), force=force)
    return target


def import_clip(
    clip: Path | str,
    format: str,
    out: Path | str,
    fps: float | None = None,
    film: bool = False,
    *,
    told: Conventions | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Bring a clip to the robot at 50 Hz, write it with a preview beside it, and say how plausible it is.

    Args:
        clip: raw file; an `.amc` needs its `.asf` skeleton beside it.
        format: `amass`, `bvh`, `amc`, or `h1` for poses of this robot (.csv, .npz).
        out: clip to write (.npz).
        fps: frames per second; overrides what the file states.
        film: also write a film (.mp4).
        told: what the user says of the file; in place of `fps`.
        force: replace clip, preview and film that are there.

    Returns:
        what `check` says of the clip, and `read_as`: rate, unit and axes, and where each is from.

    Raises:
        BadInput: what cannot be read or written; nothing is left half-written.
    """
    from mwl.motion.robot_clips import read_robot_clip

    told = told or Conventions(fps=fps)
    target = output_file(with_ending(out, ".npz"), force=force)
    pictures = _pictures_beside(target, film)
    for picture in pictures:
        output_file(picture, force=force)
    if format == "h1":
        moved = read_robot_clip(clip, told=told)
    else:
        from mwl.motion.readers import read_landmarks
        from mwl.motion.retarget import retarget

        moved = retarget(read_landmarks(clip, format, told))
    written = moved.save(target)
    read_as = moved.provenance["read_as"]
    return {"clip": str(written), "read_as": read_as, **check_clip(moved), **_preview(moved, pictures)}


def import_data(
    folder: Path | str,
    format: str,
    out: Path | str,
    task: str | None = None,
    *,
    reorder: bool = False,
    force: bool = False,
) -> Path:
    """Read a data set of demonstrations and write it as a recording.

    Args:
        folder: the data set.
        format: `minari` or `lerobot`.
        out: file to write (.npz); its manifest goes beside it (.json).
        task: benchmark task whose observations it holds, where the data set does not say.
        reorder: see `mwl.motion.exchange.import_demonstrations`.
        force: replace a recording that is there.
    """
    from mwl.motion.exchange import import_demonstrations

    target = _recording_file(out, force)
    return import_demonstrations(folder, format, task, reorder=reorder).save(target, half=False)


def export_data(file: Path | str, format: str, out: Path | str, *, force: bool = False) -> Path:
    """Write a recording as a data set of another format, see `mwl.motion.exchange.export_demonstrations`."""
    from mwl.motion.exchange import export_demonstrations

    return export_demonstrations(file, format, out, force=force)


def check(
    file: Path | str, film: bool = False, out: Path | str | None = None, *, force: bool = False
) -> dict[str, Any]:
    """Say whether a motion clip or a recording is well-formed, and how plausible a clip is; a clip gets a preview.

    Args:
        file: clip or recording (.npz).
        film: also write a film (.mp4) of a clip.
        out: folder for preview and film, named as the clip; None is `runs/motion`, where older ones are replaced.
        force: replace preview and film in `out`.
    """
    pictures = _pictures_beside(Path(out or PREVIEWS) / Path(file).name, film)
    if out is not None:
        for picture in pictures:
            output_file(picture, force=force)
    report = check_file(file)
    if "frames" not in report:  # a recording
        return report
    return {**report, **_preview(MotionClip.load(file), pictures)}


def _pictures_beside(clip: Path, film: bool) -> list[Path]:
    """Preview, and film if wanted, named as a clip."""
    stem = without_ending(clip, ".npz")
    return [with_ending(stem, ending) for ending in ((".png", ".mp4") if film else (".png",))]


def _preview(clip: MotionClip, pictures: list[Path]) -> dict[str, str]:
    """Pictures of a clip; a folder that cannot be written is no reason to refuse the clip."""
    from mwl.motion import preview

    written = {}
    try:
        written["preview"] = str(preview.contact_sheet(clip, pictures[0]))
        for picture in pictures[1:]:
            written["film"] = str(preview.film(clip, picture))
    except (OSError, WriteFailed) as error:
        return {**written, "film" if written else "preview": f"not written ({error})"}
    return written
