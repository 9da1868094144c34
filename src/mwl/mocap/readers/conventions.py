"""What motion files leave open: their rate, their unit, and which way is up. Read from the file or told, and said.

Formats differ in what they state. What a file states holds unless the user says otherwise; what it does not state is
taken from the motion itself where only one answer fits; all else is asked for. Every decision is a note in the report.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mwl.core.errors import BadInput, CorruptFile
from mwl.core.files import shown
from mwl.robot import CONTROL_HZ

Array = NDArray[np.float64]
FPS = float(CONTROL_HZ)  # of imported clips
MIN_FPS, MAX_FPS = 1.0, 1000.0
MAX_SECONDS = 1200.0
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254, "cmu": 0.0254 / 0.45}  # m each; CMU's skeletons: length 0.45
_MAX_TEXT = 64 * 2**20  # bytes
_LEG = (0.55, 1.15)  # m, legs of people from hip to ankle
_ANY_LEG = (0.3, 2.0)  # m, that a stated unit may make of them
_CLEARLY = 0.8  # cosine of the mean angle between body and axis
_HIGHEST = 10.0  # m, of hips over the floor
FARTHEST = 1e4  # m, from the origin: beyond it nothing is meant
TO_Z_UP = {  # forward x, left y, up z, from files that look along z (y up) or along -y (z up), as most do
    "y": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    "z": np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
}


@dataclass(frozen=True)
class Conventions:
    """What the user says of a motion file; None where the file itself is to say.

    Attributes:
        fps: frames per second; overrides what the file states.
        up: axis that points up, `y` or `z`.
        unit: of lengths, one of `UNITS`.
        quaternion: order of a root quaternion, `wxyz` or `xyzw`.
        joint_map: `{side_landmark: joint}` of a file whose joints have names of their own.
    """

    fps: float | None = None
    up: str | None = None
    unit: str | None = None
    quaternion: str | None = None
    joint_map: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.fps is not None and not MIN_FPS <= self.fps <= MAX_FPS:
            raise BadInput(f"--fps {self.fps:g}: between {MIN_FPS:g} and {MAX_FPS:g} frames per second are read")
        known = {"up": ("y", "z"), "unit": tuple(UNITS), "quaternion": ("wxyz", "xyzw")}
        for name, values in known.items():
            value = getattr(self, name)
            if value is not None and value not in values:
                raise BadInput(f"--{name} {shown(value)}: one of {', '.join(values)}")

    def only(self, format: str, *names: str) -> None:
        """Refuse what a format has no use for, so that no flag is ignored in silence.

        Raises:
            BadInput: something else than `names` is stated.
        """
        for entry in fields(self):
            if entry.name not in names and getattr(self, entry.name):
                raise BadInput(f"--{entry.name.replace('_', '-')} means nothing for --format {format}")


def settle_fps(where: Path, stated: float | None, told: float | None, usual: float | None = None) -> tuple[float, str]:
    """Frames per second of a file, and a note where they are from.

    Args:
        where: the file.
        stated: what the file says; told: what the user says, which overrides it.
        usual: what files of this format have that never say.

    Raises:
        BadInput: nothing says it.
        CorruptFile: the file states a rate out of bounds.
    """
    if told is not None:
        differs = stated is not None and abs(stated - told) > 0.005 * told
        return told, f"{told:g} (--fps; the file says {stated:.6g})" if differs else f"{told:g} (--fps)"
    if stated is not None:
        if not MIN_FPS <= stated <= MAX_FPS:
            raise CorruptFile(
                f"{shown(where)}: states {stated:.4g} frames per second (a frame time of {_inverse(stated)} s); "
                f"{MIN_FPS:g} to {MAX_FPS:g} are read; --fps N overrides"
            )
        return stated, f"{stated:.6g} (the file says)"
    if usual is not None:
        return usual, f"{usual:g} (assumed: the file does not say; --fps N overrides)"
    raise BadInput(f"{shown(where)}: does not say how many frames per second it has; --fps N does")


def _inverse(value: float) -> str:
    return f"{1 / value:.4g}" if value else "inf"


def check_length(where: Path, frames: int, fps: float) -> None:
    """Refuse what is too short for two frames at 50 Hz, or too long.

    Raises:
        CorruptFile: see above.
    """
    seconds = (frames - 1) / fps
    if seconds < 1 / FPS - 1e-9:
        raise CorruptFile(f"{shown(where)}: {frames} frames at {fps:g} Hz are less than two frames at {FPS:g} Hz")
    if seconds > MAX_SECONDS:
        raise CorruptFile(
            f"{shown(where)}: lasts {seconds:.0f} s ({frames} frames at {fps:.4g} Hz); at most {MAX_SECONDS:g} s are "
            "read; cut it, or correct its rate with --fps N"
        )


_RATE = re.compile(r"(^|_)(fps|hz|freq|frequency|rate|framerate|samplerate|frames_per_second)$")
_STEP = re.compile(r"(^|_)(dt|timestep|time_step|frame_?time|frame_interval)$")
_TIMES = re.compile(r"^(t|times?|time_?stamps?)$")
_LENGTH = re.compile(r"(^|_)(time_length|duration)$")


def is_about_time(name: str) -> bool:
    """Whether an array of this name says how fast a file's frames follow each other."""
    return any(pattern.search(name.lower()) for pattern in (_RATE, _STEP, _TIMES, _LENGTH))


def stated_fps(where: Path, arrays: Mapping[str, NDArray[Any]], frames: int) -> float | None:
    """Frames per second that an archive's arrays state: as a rate, a step, times or a length; None where none does.

    Raises:
        CorruptFile: they are no numbers, contradict each other, or times are uneven.
    """
    found: dict[str, float] = {}
    for name, array in arrays.items():
        if not is_about_time(name):
            continue
        if array.dtype.kind not in "iuf" or array.size == 0:
            raise CorruptFile(f"{shown(where)}: {shown(name)} holds no number; --fps N says the rate")
        values = array.astype(np.float64).ravel()
        if _TIMES.search(name.lower()) or (_STEP.search(name.lower()) and values.size > 1):
            steps = np.diff(values) if _TIMES.search(name.lower()) else values
            step = float(np.median(steps)) if steps.size else 0.0
            if not step > 0 or (abs(steps - step) > 0.05 * step).any():
                raise CorruptFile(f"{shown(where)}: the times in {shown(name)} are uneven; resample it first")
            found[name] = 1 / step
        elif values.size > 1 and (values != values[0]).any():
            raise CorruptFile(f"{shown(where)}: {shown(name)} holds {values.size} different numbers, one is a rate")
        elif _RATE.search(name.lower()):
            found[name] = float(values[0])
        else:
            span = 1.0 if _STEP.search(name.lower()) else frames
            found[name] = span / float(values[0]) if values[0] else np.inf
    exact = {name: fps for name, fps in found.items() if not _LENGTH.search(name.lower())} or found
    if not exact:
        return None
    rates = list(exact.values())
    if len(rates) > 1 and not max(rates) - min(rates) <= 0.01 * abs(max(rates)):
        says = ", ".join(f"{name} {fps:.4g}" for name, fps in list(exact.items())[:4])
        raise CorruptFile(f"{shown(where)}: contradicts itself about its rate ({says}); --fps N says it")
    return rates[0]


def settle_unit(where: Path, leg: float, told: str | None, stated: float | None = None) -> tuple[float, str]:
    """Metres per unit of a skeleton whose legs are `leg` units long, and a note where that is from.

    Args:
        where: the file.
        leg: units from hip to ankle.
        told: the unit that the user says; stated: metres per unit that the file says.

    Raises:
        BadInput: the unit that is told makes no person of it.
        CorruptFile: the limbs have no length.
    """
    if not (np.isfinite(leg) and leg > 1e-9):
        raise CorruptFile(f"{shown(where)}: its legs have no length")
    if told is not None:
        if not _ANY_LEG[0] <= leg * UNITS[told] <= _ANY_LEG[1]:
            raise BadInput(f"--unit {told}: the legs of {shown(where)} would be {leg * UNITS[told]:.3g} m long")
        return UNITS[told], f"{told} (--unit)"
    if stated is not None and _ANY_LEG[0] <= leg * stated <= _ANY_LEG[1]:
        return stated, f"{stated:.4g} m (the file says)"
    for name, unit in UNITS.items():
        if _LEG[0] <= leg * unit <= _LEG[1]:
            return unit, f"{name} (the legs are {leg * unit:.2f} m long then)"
    return 0.85 / leg, f"{0.85 / leg:.4g} m (so that the legs are 0.85 m long)"


def settle_up(
    where: Path, body: Array, told: str | None, rest: Array | None = None, usual: str | None = None
) -> tuple[str, str]:
    """Axis that points up, `y` or `z`, and a note how it was found.

    Args:
        where: the file.
        body: directions `[T, 3]` from feet to shoulders.
        told: what the user says.
        rest: that direction `[3]` in the skeleton's rest pose.
        usual: what the format says, for motions that do not stand.

    Raises:
        BadInput: the motion does not tell.
    """
    if told is not None:
        return told, f"{told} (--up)"
    mean = (body / np.maximum(np.linalg.norm(body, axis=1, keepdims=True), 1e-9)).mean(axis=0)
    upright = [axis for axis in "yz" if mean["xyz".index(axis)] > _CLEARLY]
    resting = [] if rest is None else [axis for axis in "yz" if rest["xyz".index(axis)] > 0.9 * np.linalg.norm(rest)]
    if upright and (not resting or resting == upright):
        return upright[0], f"{upright[0]} (the body stands along it)"
    if not upright and usual is not None:
        return usual, f"{usual} (of this format; the body stands along no axis)"
    why = f"it stands along {upright[0]}, but rests along {resting[0]}" if upright else "the body stands along neither"
    raise BadInput(f"{shown(where)}: can't tell whether y or z points up ({why}); --up y or --up z says it")


def check_path(where: Path, height: Array) -> None:
    """Refuse hips that are tens of metres above the floor: their path is in another unit than the format's.

    Raises:
        BadInput: see above.
    """
    if np.median(np.abs(height)) > _HIGHEST:
        raise BadInput(
            f"{shown(where)}: its hips are {np.median(np.abs(height)):.4g} m high; --unit cm (or another) says in what "
            "its path is"
        )


def clip_text(path: Path) -> str:
    """A raw clip's text, whatever wrote it: UTF-8 or UTF-16, with or without a byte order mark, or Latin-1.

    Raises:
        CorruptFile: larger than 64 MiB.
    """
    if path.stat().st_size > _MAX_TEXT:
        raise CorruptFile(f"{shown(path)}: larger than the {_MAX_TEXT / 2**20:.0f} MiB that a clip may have")
    raw = path.read_bytes()
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
