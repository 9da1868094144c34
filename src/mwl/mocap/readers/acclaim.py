"""Reader of Acclaim motions: an `.amc` of angles and the `.asf` skeleton that goes with it."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mwl.core.errors import MissingFile
from mwl.core.files import shown, without_ending
from mwl.mocap.readers.conventions import Conventions, check_length, clip_text, settle_fps
from mwl.mocap.readers.joint_names import landmark_joints
from mwl.mocap.readers.landmarks import Joint, Landmarks, at_rest, forward_kinematics, in_metres_z_up

Array = NDArray[np.float64]
AMC_FPS = 120.0  # of CMU's trials, whose files do not say; some of them have 60
_ORDER = ("tx", "ty", "tz", "rx", "ry", "rz")


@dataclass
class _Bone:
    """A bone: where it points and how long it is, the frame its angles are given in, and which angles it has."""

    direction: Array = field(default_factory=lambda: np.zeros(3))
    length: float = 0.0
    axis: Array = field(default_factory=lambda: np.zeros(3))
    order: str = "xyz"
    dof: list[str] = field(default_factory=list)


@dataclass
class _Skeleton:
    """What an `.asf` says."""

    bones: dict[str, _Bone] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    unit: float | None = None
    degrees: bool = True
    root_order: list[str] = field(default_factory=lambda: list(_ORDER))
    root_axis: str = "xyz"


def read_amc(path: Path, told: Conventions) -> Landmarks:
    """Landmarks of an `.amc`, whose `.asf` lies beside it.

    Raises:
        MissingFile: no skeleton.
        BadInput: which axis points up has to be told.
        CorruptFile: not of that format, truncated, or of another body.
    """
    told.only("amc", "fps", "up", "unit", "joint_map")
    skeleton = _read_asf(_skeleton_of(path))
    frames, degrees, stated = _read_frames(path, skeleton.degrees)
    fps, of_rate = settle_fps(path, stated, told.fps, AMC_FPS)
    check_length(path, len(frames), fps)
    root = dict(zip(skeleton.root_order, np.array([frame["root"] for frame in frames]).T, strict=True))
    turns = np.stack([root[name] for name in _ORDER[3:]], axis=1)
    joints = {
        "root": Joint(
            None, np.stack([root[name] for name in _ORDER[:3]], axis=1), _turn(turns, skeleton.root_axis, degrees)
        )
    }
    for name, parent in skeleton.parents.items():
        bone = skeleton.bones[name]
        turns = np.zeros((len(frames), 3))
        for column, angle in enumerate(bone.dof):
            turns[:, _ORDER[3:].index(angle)] = [frame[name][column] for frame in frames]
        axes = _turn(bone.axis[None], bone.order, skeleton.degrees)[0]
        above = skeleton.bones.get(parent, _Bone())
        joints[name] = Joint(parent, above.direction * above.length, axes @ _turn(turns, bone.order, degrees) @ axes.T)
    names = landmark_joints(path, {name: joint.parent for name, joint in joints.items()}, told.joint_map)
    positions, notes = in_metres_z_up(
        path,
        forward_kinematics(joints, names),
        at_rest(joints, names),
        up=told.up,
        unit=told.unit,
        stated_unit=skeleton.unit,
    )
    angles = {"angles": "degrees" if degrees else "radians"}
    return Landmarks(fps, positions, path.name, {"fps": of_rate, **notes, **angles})


def _skeleton_of(path: Path) -> Path:
    """CMU shares one skeleton among a subject's trials: 01_01.amc goes with 01.asf."""
    name = without_ending(path, path.suffix).name
    candidates = [path.with_name(f"{stem}.asf") for stem in (name, name.split("_")[0])]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise MissingFile(f"{shown(path)}: its skeleton {candidates[-1].name} must lie beside it")


def _turn(angles: Array, order: str, degrees: bool) -> Array:
    """Rotations `[T, 3, 3]` by angles `[T, 3]` about x, y and z, carried out in `order` about fixed axes."""
    return Rotation.from_euler(order, angles[:, ["xyz".index(axis) for axis in order]], degrees=degrees).as_matrix()


def _read_frames(path: Path, degrees: bool) -> tuple[list[dict[str, list[float]]], bool, float | None]:
    """Numbers per bone of every frame, whether they are degrees, and the rate where the file says it."""
    frames: list[dict[str, list[float]]] = []
    fps = None
    for line in clip_text(path).splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith(":"):
            keyword = words[0].upper()
            if keyword in (":DEGREES", ":RADIANS"):
                degrees = keyword == ":DEGREES"
            elif keyword in (":SAMPLES-PER-SECOND", ":FPS", ":FRAMERATE", ":FRAME-RATE"):
                fps = float(words[1])
        elif len(words) == 1 and words[0].isdigit():
            frames.append({})
        elif frames:
            frames[-1][words[0]] = [float(word) for word in words[1:]]
    if not frames or any(frame.keys() != frames[0].keys() for frame in frames):
        raise ValueError("frames are missing or differ in their bones; truncated?")
    return frames, degrees, fps


def _read_asf(path: Path) -> _Skeleton:
    skeleton = _Skeleton()
    bone, section = _Bone(), ""
    for line in clip_text(path).splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith(":"):
            section = words[0].lower()
        elif section == ":units":
            if words[0] == "length":
                skeleton.unit = 0.0254 / float(words[1])
            elif words[0] == "angle":
                skeleton.degrees = not words[1].lower().startswith("rad")
        elif section == ":root":
            _read_root(skeleton, words)
        elif section == ":hierarchy" and words[0] not in ("begin", "end"):
            skeleton.parents.update(dict.fromkeys(words[1:], words[0]))
        elif section == ":bonedata":
            bone = _Bone() if words[0] == "begin" else bone
            _read_bone(skeleton, bone, words)
    return skeleton


def _read_root(skeleton: _Skeleton, words: list[str]) -> None:
    if words[0] == "order":
        skeleton.root_order = [word.lower() for word in words[1:]]
        if sorted(skeleton.root_order) != sorted(_ORDER):
            raise ValueError(f"the root moves by {shown(' '.join(words[1:]))}")
    elif words[0] == "axis":
        skeleton.root_axis = _axes(words[1])
    elif words[0] == "orientation" and any(float(word) for word in words[1:4]):
        raise ValueError("its root is turned at rest, which this reader does not know")


def _read_bone(skeleton: _Skeleton, bone: _Bone, words: list[str]) -> None:
    if words[0] == "name":
        skeleton.bones[words[1]] = bone
    elif words[0] == "direction":
        bone.direction = np.array([float(word) for word in words[1:4]])
    elif words[0] == "length":
        bone.length = float(words[1])
    elif words[0] == "axis":
        bone.axis = np.array([float(word) for word in words[1:4]])
        bone.order = _axes(words[4]) if len(words) > 4 else "xyz"
    elif words[0] == "dof":
        bone.dof = [word.lower() for word in words[1:]]
        if not set(bone.dof) <= set(_ORDER[3:]):
            raise ValueError(f"a bone moves by {shown(' '.join(words[1:]))}; only rotations are known")


def _axes(word: str) -> str:
    if sorted(word.lower()) != ["x", "y", "z"]:
        raise ValueError(f"{shown(word)} is no order of three axes")
    return word.lower()
