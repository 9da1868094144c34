"""Readers of raw motion capture: BVH, ASF/AMC and AMASS, each reduced to where a few landmarks of the body are.

Retargeting needs directions of limbs and the path of the hips, nothing else, so every format ends as the same table of
landmark positions, in metres, z up. No body model is needed.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mwl.core.errors import BadInput, CorruptFile, MissingFile, MwlError
from mwl.core.files import shown
from mwl.mocap.readers.acclaim import read_amc
from mwl.mocap.readers.amass import read_amass
from mwl.mocap.readers.bvh import read_bvh
from mwl.mocap.readers.conventions import FARTHEST, Conventions, check_length
from mwl.mocap.readers.landmarks import Landmarks
from mwl.mocap.readers.pickles import refuse_pickle

_READERS: dict[str, Callable[[Path, Conventions], Landmarks]] = {
    "bvh": read_bvh,
    "amc": read_amc,
    "amass": read_amass,
}
_NARROWEST = 1e-4  # m, between joints whose direction counts
_APART = [("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")] + [
    (f"{side}_{above}", f"{side}_{below}")
    for side in ("left", "right")
    for above, below in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
]


def read_landmarks(path: Path | str, format: str, told: Conventions | None = None) -> Landmarks:
    """Read a raw clip.

    Args:
        path: the file; an `.amc` needs its `.asf` beside it.
        format: `bvh`, `amc` or `amass`.
        told: what the user says of rate, unit, axes and joints; what is None is read from the file.

    Raises:
        MissingFile: no such file, or an `.amc` without `.asf`.
        BadInput: unknown format; or the file leaves something open that the user has to say.
        CorruptFile: truncated, or not of that format.
    """
    path = Path(path)
    if format not in _READERS:
        raise BadInput(f"unknown format {shown(format)}; known: {', '.join(_READERS)}")
    if not path.is_file():
        raise MissingFile(f"{shown(path)}: no such clip")
    refuse_pickle(path)
    try:
        landmarks = _READERS[format](path, told or Conventions())
    except MwlError:
        raise
    except Exception as error:  # text and archives break in a dozen ways, with errors of numpy, zipfile, zlib ...
        reason = shown(Path(" ".join(str(error).split()) or type(error).__name__), 200)
        raise CorruptFile(f"{shown(path)}: cannot be read as {format} ({reason})") from error
    for name, track in landmarks.positions.items():
        if not np.isfinite(track).all() or np.abs(track).max() > FARTHEST:
            raise CorruptFile(f"{shown(path)}: the positions of {name} are not finite numbers within {FARTHEST:g} m")
    for one, other in _APART:
        distance = np.linalg.norm(landmarks.positions[one] - landmarks.positions[other], axis=1)
        if not distance.min() > _NARROWEST:
            raise CorruptFile(f"{shown(path)}: {one} and {other} lie in one place in frame {int(distance.argmin())}")
    check_length(path, len(landmarks.positions["left_hip"]), landmarks.fps)
    return landmarks
