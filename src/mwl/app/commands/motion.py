"""What `mwl motion` does with clips and data sets, as plain functions: import, export, check."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mwl.core.errors import WriteFailed
from mwl.core.files import output_file, with_ending, without_ending
from mwl.datasets.demonstrations import recording_file
from mwl.mocap.clips import MotionClip, check_clip, check_file
from mwl.mocap.readers.conventions import Conventions

PREVIEWS = "runs/motion"
Report = Callable[[dict[str, float]], None]


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
    from mwl.mocap.robot_clips import read_robot_clip

    told = told or Conventions(fps=fps)
    target = output_file(with_ending(out, ".npz"), force=force)
    pictures = _pictures_beside(target, film)
    for picture in pictures:
        output_file(picture, force=force)
    if format == "h1":
        moved = read_robot_clip(clip, told=told)
    else:
        from mwl.mocap.readers.read import read_landmarks
        from mwl.mocap.retarget import retarget

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
        reorder: see `mwl.datasets.exchange.import_demonstrations`.
        force: replace a recording that is there.
    """
    from mwl.datasets.exchange import import_demonstrations

    target = recording_file(out, force)
    return import_demonstrations(folder, format, task, reorder=reorder).save(target, half=False)


def export_data(file: Path | str, format: str, out: Path | str, *, force: bool = False) -> Path:
    """Write a recording as a data set of another format, see `mwl.datasets.exchange.export_demonstrations`."""
    from mwl.datasets.exchange import export_demonstrations

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
    from mwl.mocap import preview

    written = {}
    try:
        written["preview"] = str(preview.contact_sheet(clip, pictures[0]))
        for picture in pictures[1:]:
            written["film"] = str(preview.film(clip, picture))
    except (OSError, WriteFailed) as error:
        return {**written, "film" if written else "preview": f"not written ({error})"}
    return written
