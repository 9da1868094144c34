"""Readers of raw motion capture: BVH, ASF/AMC and AMASS, each reduced to where a few landmarks of the body are.

Retargeting needs directions of limbs and the path of the hips, nothing else, so every format ends as the same table of
landmark positions, in metres, z up, x forward at heading 0. No body model is needed.
"""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mwl.errors import BadInput, CorruptFile, MissingFile, MwlError

Array = NDArray[np.float64]
LANDMARKS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
_CMU_UNIT = 0.0254 / 0.45  # m per unit of CMU's skeletons (length 0.45: hundredths of an inch)
_Y_UP_TO_Z_UP = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # forward z -> x, left x -> y, up y -> z


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of a moving body.

    Attributes:
        fps: frames per second.
        positions: `{side_landmark: [T, 3]}`, for example `left_knee`, in m, z up.
        source: file it was read from.
    """

    fps: float
    positions: dict[str, Array]
    source: str


@dataclass
class _Joint:
    """A joint of a skeleton: its parent, offset in the parent's frame, and rotations `[T, 3, 3]` relative to it."""

    parent: str | None
    offset: Array
    rotation: Array


def read_landmarks(path: Path, format: str) -> Landmarks:
    """Read a raw clip.

    Raises:
        MissingFile: no such file, or an `.amc` without `.asf`.
        BadInput: unknown format.
        CorruptFile: truncated, or not of that format.
    """
    readers: dict[str, Callable[[Path], Landmarks]] = {"bvh": _read_bvh, "amc": _read_amc, "amass": _read_amass}
    if format not in readers:
        raise BadInput(f"unknown format {format!r}; known: {', '.join(readers)}")
    if not path.is_file():
        raise MissingFile(f"{path}: no such clip")
    try:
        landmarks = readers[format](path)
    except MwlError:
        raise
    except Exception as error:  # text and archives break in a dozen ways, with errors of numpy, zipfile, zlib ...
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise CorruptFile(f"{path}: cannot be read as {format} ({reason})") from error
    if any(not np.isfinite(track).all() or len(track) < 2 for track in landmarks.positions.values()):
        raise CorruptFile(f"{path}: needs at least two frames of finite positions")
    return landmarks


def _forward(joints: dict[str, _Joint], root: Array, names: dict[str, str]) -> dict[str, Array]:
    """Positions `[T, 3]` of named joints by forward kinematics from root positions `[T, 3]`."""
    rotations: dict[str, Array] = {}
    positions: dict[str, Array] = {}
    for name, joint in joints.items():  # parents come first
        if joint.parent is None:
            rotations[name], positions[name] = joint.rotation, root + joint.offset
        else:
            above = rotations[joint.parent]
            rotations[name] = above @ joint.rotation
            positions[name] = positions[joint.parent] + above @ joint.offset
    return {landmark: positions[name] for landmark, name in names.items()}


def _z_up(positions: dict[str, Array], unit: float) -> dict[str, Array]:
    return {name: unit * track @ _Y_UP_TO_Z_UP.T for name, track in positions.items()}


def _read_bvh(path: Path) -> Landmarks:
    tokens = iter(path.read_text(encoding="ascii").split())
    stack: list[str] = []
    offsets: dict[str, Array] = {}
    parents: dict[str, str | None] = {}
    channels: list[tuple[str, str]] = []
    if next(tokens) != "HIERARCHY":
        raise ValueError("it does not begin with HIERARCHY")
    for token in tokens:
        if token in ("ROOT", "JOINT", "End"):
            name = next(tokens)
            name = f"{stack[-1]}.end" if token == "End" else name
            parents[name] = stack[-1] if stack else None
            stack.append(name)
        elif token == "OFFSET":
            offsets[stack[-1]] = np.array([float(next(tokens)) for _ in range(3)])
        elif token == "CHANNELS":
            channels += [(stack[-1], next(tokens)) for _ in range(int(next(tokens)))]
        elif token == "}":
            stack.pop()
        elif token == "MOTION":
            break
    if (next(tokens), frames := int(next(tokens)), next(tokens), next(tokens))[::2] != ("Frames:", "Frame"):
        raise ValueError("no 'Frames:' and 'Frame Time:' after MOTION")
    step = float(next(tokens))
    values = np.array([float(token) for token in tokens])
    if values.size != frames * len(channels):
        raise ValueError(f"{values.size} numbers for {frames} frames of {len(channels)} channels; truncated?")
    table = values.reshape(frames, len(channels))
    joints = {name: _Joint(parents[name], offsets[name], _bvh_rotation(table, channels, name)) for name in offsets}
    root_columns = [i for i, (_, kind) in enumerate(channels) if kind.endswith("position")][:3]
    positions = _z_up(_forward(joints, table[:, root_columns], _bvh_names(joints)), _CMU_UNIT)
    return Landmarks(1 / step, _without_rest_pose(positions), path.name)


def _without_rest_pose(positions: dict[str, Array]) -> dict[str, Array]:
    """Positions without a first frame that many conversions put there and that is no part of the motion."""
    if len(next(iter(positions.values()))) < 3:
        return positions
    first, second = np.max([np.linalg.norm(np.diff(track[:3], axis=0), axis=1) for track in positions.values()], axis=0)
    jumps = first > 10 * second + 0.1  # m; a body that moves so fast in one frame does not stop in the next
    return {name: track[1:] for name, track in positions.items()} if jumps else positions


def _bvh_rotation(table: Array, channels: list[tuple[str, str]], name: str) -> Array:
    columns = [(i, kind[0]) for i, (joint, kind) in enumerate(channels) if joint == name and kind.endswith("rotation")]
    if not columns:
        return np.broadcast_to(np.eye(3), (len(table), 3, 3))
    order = "".join(axis for _, axis in columns).upper()  # capital letters: about the moving axes
    return Rotation.from_euler(order, table[:, [i for i, _ in columns]], degrees=True).as_matrix()


def _bvh_names(joints: dict[str, _Joint]) -> dict[str, str]:
    spelt = dict(zip(LANDMARKS, ("UpLeg", "Leg", "Foot", "Arm", "ForeArm", "Hand"), strict=True))
    names = {f"{side.lower()}_{mark}": f"{side}{end}" for side in ("Left", "Right") for mark, end in spelt.items()}
    missing = sorted(set(names.values()) - joints.keys())
    if missing:
        raise ValueError(f"no joint named {', '.join(missing)}")
    return names


def _read_amc(path: Path) -> Landmarks:
    skeleton = path.with_suffix(".asf")
    if not skeleton.is_file():  # CMU shares one skeleton among a subject's trials: 01_01.amc goes with 01.asf
        skeleton = path.with_name(path.stem.split("_")[0] + ".asf")
    if not skeleton.is_file():
        raise MissingFile(f"{path}: its skeleton {skeleton.name} must lie beside it")
    bones, parents, unit = _read_asf(skeleton)
    frames: list[dict[str, list[float]]] = []
    for line in path.read_text(encoding="ascii").splitlines():
        words = line.split()
        if len(words) == 1 and words[0].isdigit():
            frames.append({})
        elif frames and words and not line.startswith((":", "#")):
            frames[-1][words[0]] = [float(word) for word in words[1:]]
    if not frames or any(frame.keys() != frames[0].keys() for frame in frames):
        raise ValueError("frames are missing or differ in their bones; truncated?")
    root = np.array([frame["root"] for frame in frames])
    root_rotation = Rotation.from_euler("xyz", root[:, 3:6], degrees=True).as_matrix()
    joints = {"root": _Joint(None, np.zeros(3), root_rotation)}
    for name, parent in parents.items():
        bone = bones[name]
        angles = np.zeros((len(frames), 3))
        for column, axis in enumerate(bone["dof"]):
            angles[:, "xyz".index(axis)] = [frame[name][column] for frame in frames]
        frame_of_axes = Rotation.from_euler("xyz", bone["axis"], degrees=True).as_matrix()
        turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        above = bones[parent]["direction"] * bones[parent]["length"] if parent != "root" else np.zeros(3)
        joints[name] = _Joint(parent, above, frame_of_axes @ turn @ frame_of_axes.T)
    spelt = dict(zip(LANDMARKS, ("femur", "tibia", "foot", "humerus", "radius", "wrist"), strict=True))
    names = {f"{side}_{mark}": side[0] + end for side in ("left", "right") for mark, end in spelt.items()}
    return Landmarks(120.0, _z_up(_forward(joints, root[:, :3], names), unit), path.name)


def _read_asf(path: Path) -> tuple[dict[str, dict], dict[str, str], float]:
    """Bones (direction, length, axis, dof) and parents by name, parents first, and metres per unit of length."""
    bones: dict[str, dict] = {}
    parents: dict[str, str] = {}
    bone: dict = {}
    section, unit = "", _CMU_UNIT
    for line in path.read_text(encoding="ascii").splitlines():
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if words[0].startswith(":"):
            section = words[0]
        elif section == ":units" and words[0] == "length":
            unit = 0.0254 / float(words[1])
        elif section == ":hierarchy" and words[0] not in ("begin", "end"):
            parents.update(dict.fromkeys(words[1:], words[0]))
        elif section == ":bonedata":
            if words[0] == "begin":
                bone = {"dof": []}
            elif words[0] == "name":
                bones[words[1]] = bone
            elif words[0] in ("direction", "axis"):
                bone[words[0]] = np.array([float(word) for word in words[1:4]])
            elif words[0] == "length":
                bone["length"] = float(words[1])
            elif words[0] == "dof":
                bone["dof"] = [word[1] for word in words[1:]]
    return bones, parents, unit


_SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
_SMPL_LANDMARKS = {
    "left_hip": 1, "right_hip": 2, "left_knee": 4, "right_knee": 5, "left_ankle": 7, "right_ankle": 8,
    "left_shoulder": 16, "right_shoulder": 17, "left_elbow": 18, "right_elbow": 19, "left_wrist": 20, "right_wrist": 21,
}  # fmt: skip
_SMPL_OFFSETS = {  # m, y up, x left, z forward: lengths of an average adult; retargeting uses directions alone
    1: (0.09, -0.09, 0.0), 2: (-0.09, -0.09, 0.0), 3: (0.0, 0.12, 0.0), 4: (0.0, -0.40, 0.0), 5: (0.0, -0.40, 0.0),
    6: (0.0, 0.13, 0.0), 7: (0.0, -0.42, 0.0), 8: (0.0, -0.42, 0.0), 9: (0.0, 0.05, 0.0), 12: (0.0, 0.21, 0.0),
    13: (0.08, 0.12, 0.0), 14: (-0.08, 0.12, 0.0), 16: (0.10, 0.04, 0.0), 17: (-0.10, 0.04, 0.0),
    18: (0.26, 0.0, 0.0), 19: (-0.26, 0.0, 0.0), 20: (0.25, 0.0, 0.0), 21: (-0.25, 0.0, 0.0),
}  # fmt: skip


_AMASS_ENTRIES = {"poses", "root_orient", "pose_body", "trans", "mocap_framerate", "mocap_frame_rate"}


def _read_amass(path: Path) -> Landmarks:
    if not zipfile.is_zipfile(path):
        raise ValueError("no .npz archive, or a truncated one")
    with np.load(path, allow_pickle=False) as arrays:
        # only what is needed: some of AMASS's other entries are pickles, which are never read
        content = {name: arrays[name] for name in _AMASS_ENTRIES & set(arrays.files)}
    if "poses" in content:
        poses = content["poses"][:, :66]
    else:
        poses = np.concatenate([content["root_orient"], content["pose_body"]], axis=1)
    fps = float(content["mocap_framerate"] if "mocap_framerate" in content else content["mocap_frame_rate"])
    if poses.shape[1] != 66 or poses.shape[0] != len(content["trans"]):
        raise ValueError(f"poses have shape {list(poses.shape)}, expected 22 joints in axis-angle form")
    turns = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(len(poses), 22, 3, 3)
    joints = {
        str(i): _Joint(
            None if parent < 0 else str(parent), np.array(_SMPL_OFFSETS.get(i, (0.0, 0.0, 0.0))), turns[:, i]
        )
        for i, parent in enumerate(_SMPL_PARENTS)
    }
    names = {landmark: str(index) for landmark, index in _SMPL_LANDMARKS.items()}
    return Landmarks(fps, _forward(joints, content["trans"].astype(np.float64), names), path.name)
