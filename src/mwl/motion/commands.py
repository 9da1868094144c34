"""What `mwl motion` does, as plain functions: train a teacher, record demonstrations, import and check clips."""

import sys
from pathlib import Path
from typing import Any

from mwl.motion.clips import check_file
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


def import_clip(clip: Path | str, format: str, out: Path | str) -> Path:
    """Read a raw motion-capture clip, retarget it to the robot at 50 Hz and write it.

    Args:
        clip: raw file; an `.amc` needs its `.asf` skeleton beside it.
        format: `amass`, `bvh` or `amc`.
        out: clip to write (.npz).
    """
    from mwl.motion.readers import read_landmarks
    from mwl.motion.retarget import retarget

    return retarget(read_landmarks(Path(clip), format)).save(out)


def check(file: Path | str) -> dict[str, Any]:
    """Say whether a motion clip or a recording is well-formed, and how plausible a clip is."""
    return check_file(file)
