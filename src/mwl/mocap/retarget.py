"""Retargeting: landmarks of a person become poses of the robot, by inverse kinematics with joint limits (mink).

Directions of limbs are kept and the robot's own segment lengths used, so no measure of the person is needed but the
length of the legs, which scales the path over the floor.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter
from scipy.spatial.transform import Rotation

from mwl.core.errors import MissingDependency
from mwl.mocap.clips import MotionClip
from mwl.mocap.contact_cleanup import hold, level_soles, plant, standing_frames
from mwl.mocap.readers.conventions import FPS
from mwl.mocap.readers.landmarks import Landmarks, leg_length
from mwl.robot.h1 import H1, JOINT_NAMES, QPOS0, ROBOT_NV
from mwl.rollouts.metrics import floor_height, sole_positions
from mwl.simulation import build_model, get_task

Array = NDArray[np.float64]
THIGH, SHANK = H1.distance("hip", "knee"), H1.distance("knee", "ankle")
UPPER_ARM, FOREARM = H1.distance("arm_out", "elbow"), float(np.linalg.norm(H1.hands[0][1]))  # m, down to the hand
HIP_OFFSET = H1.anchors["left_hip_pitch"]  # m, in the pelvis frame
SHOULDER_OFFSET = H1.anchors["left_shoulder_roll"]  # m, as the trunk turns about the pelvis' origin
ABOVE_LEGS = slice(7 + JOINT_NAMES.index("torso"), None)  # of a pose
_FASTEST = 0.46  # rad per frame, of any joint: 23 rad/s, the robot's hips
_ANKLES = list(H1.index("ankle"))
_ANKLE_COST = 0.5
_ITERATIONS = 8
_FIRST_ITERATIONS = 300


def retarget(landmarks: Landmarks) -> MotionClip:
    """The robot's motion at 50 Hz that keeps the directions of a person's limbs.

    Raises:
        MissingDependency: mink is not installed.
    """
    try:
        import mink
    except ImportError as error:
        raise MissingDependency("retargeting needs mink: pip install 'mwl[retarget]'") from error
    tracks = _resample(landmarks)
    root, pelvis, targets = _targets(tracks)
    standing = {side: standing_frames(targets[f"{side}_ankle_link"][0], FPS) for side in ("left", "right")}
    heading = np.unwrap(np.arctan2(pelvis[:, 1, 0], pelvis[:, 0, 0]))
    for side, frames in standing.items():
        facing = Rotation.from_euler("z", hold(heading, frames)[:, None]).as_matrix()
        targets[f"{side}_ankle_link"] = plant(targets[f"{side}_ankle_link"][0], frames), facing
    model = build_model(get_task("h1-stand"))
    configuration = mink.Configuration(model)
    tasks = _tasks(mink)
    posture = mink.PostureTask(model, cost=_posture_cost())
    posture.set_target(QPOS0)
    ranges = mink.ConfigurationLimit(model)
    fastest = _FASTEST * FPS / _ITERATIONS  # every iteration integrates for a whole frame
    speeds = mink.VelocityLimit(model, {f"{name}": np.array([fastest]) for name in JOINT_NAMES})
    start = QPOS0.copy()  # bent knees: from straight ones the solver sticks at the knees' limit
    start[:3], start[3:7] = root[0], _quaternion(pelvis[0])
    configuration.update(start)
    poses = np.zeros((len(root), model.nq))
    for t in range(len(root)):
        for name, (place, rotation) in targets.items():
            turn = mink.SO3(_quaternion(rotation[t]))
            tasks[name].set_target(mink.SE3.from_rotation_and_translation(turn, place[t]))
        for _ in range(_FIRST_ITERATIONS if t == 0 else _ITERATIONS):
            limits = [ranges] if t == 0 else [ranges, speeds]
            velocity = mink.solve_ik(configuration, [*tasks.values(), posture], 1 / FPS, "daqp", limits=limits)
            configuration.integrate_inplace(velocity, 1 / FPS)
        poses[t] = configuration.q
    poses[:, ABOVE_LEGS] = _smooth(poses[:, ABOVE_LEGS])  # legs smoothed joint by joint would let the feet slide
    poses[:, 7:] = np.clip(poses[:, 7:], *model.jnt_range[1:].T)
    poses = level_soles(poses, standing)
    poses[:, 2] -= floor_height(sole_positions(poses))
    provenance = {
        "source": landmarks.source,
        "method": "inverse kinematics of limb directions (mink)",
        "read_as": landmarks.read_as,
    }
    return MotionClip.from_poses(FPS, poses, provenance)


def _resample(landmarks: Landmarks) -> dict[str, Array]:
    """Landmarks at 50 Hz."""
    count = len(next(iter(landmarks.positions.values())))
    old = np.arange(count) / landmarks.fps
    new = np.arange(0, old[-1] + 1e-9, 1 / FPS)
    return {
        name: np.stack([np.interp(new, old, column) for column in track.T], axis=1)
        for name, track in landmarks.positions.items()
    }


def _frames(tracks: dict[str, Array]) -> tuple[Array, Array]:
    """Rotations `[T, 3, 3]` of pelvis and trunk from the lines of hips and shoulders and the spine between them."""
    hips = (tracks["left_hip"] + tracks["right_hip"]) / 2
    shoulders = (tracks["left_shoulder"] + tracks["right_shoulder"]) / 2
    up = _unit(shoulders - hips)
    return (
        _basis(tracks["left_hip"] - tracks["right_hip"], up),
        _basis(tracks["left_shoulder"] - tracks["right_shoulder"], up),
    )


def _basis(left: Array, up: Array) -> Array:
    forward = _unit(np.cross(left, up))
    return np.stack([forward, _unit(np.cross(up, forward)), up], axis=-1)


def _unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def _root_path(tracks: dict[str, Array]) -> Array:
    """Positions `[T, 3]` of the robot's pelvis: the person's hips, scaled by the ratio of leg lengths."""
    hips = (tracks["left_hip"] + tracks["right_hip"]) / 2
    path = hips * (THIGH + SHANK) / leg_length(tracks)
    path[:, :2] -= path[0, :2].copy()
    path[:, 2] -= HIP_OFFSET[2]
    return path


def _targets(tracks: dict[str, Array]) -> tuple[Array, Array, dict[str, tuple[Array, Array]]]:
    """Root path `[T, 3]`, pelvis rotations `[T, 3, 3]`, and world positions and rotations of every tracked body."""
    pelvis, trunk = _frames(tracks)
    root = _root_path(tracks)
    upright = np.broadcast_to(np.eye(3), pelvis.shape)
    targets = {"pelvis": (root, pelvis), "torso_link": (root, trunk)}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        mirror = np.array([1.0, sign, 1.0])
        point = {mark: tracks[f"{side}_{mark}"] for mark in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")}
        knee = root + pelvis @ (HIP_OFFSET * mirror) + THIGH * _unit(point["knee"] - point["hip"])
        ankle = knee + SHANK * _unit(point["ankle"] - point["knee"])
        elbow = root + trunk @ (SHOULDER_OFFSET * mirror) + UPPER_ARM * _unit(point["elbow"] - point["shoulder"])
        hand = elbow + FOREARM * _unit(point["wrist"] - point["elbow"])
        for body, place in (("knee_link", knee), ("ankle_link", ankle), ("elbow_link", elbow), ("hand", hand)):
            targets[f"{side}_{body}"] = (place, upright)
    return root, pelvis, targets


def _tasks(mink: Any) -> dict[str, Any]:
    """One task per tracked body; costs (position, orientation) as measured to keep ankles within millimetres."""
    about_z = np.array([0.0, 0.0, 0.5])  # where a foot faces; the ankle's own joint is set by `level_soles`
    costs: dict[str, tuple[float, Any]] = {"pelvis": (10.0, 10.0), "torso_link": (0.0, 5.0)}
    for side in ("left", "right"):
        costs |= {f"{side}_ankle_link": (20.0, about_z), f"{side}_knee_link": (2.0, 0.0)}
        costs |= {f"{side}_hand": (3.0, 0.0), f"{side}_elbow_link": (2.0, 0.0)}
    return {
        body: mink.FrameTask(body, "body", position_cost=position, orientation_cost=orientation, lm_damping=1e-3)
        for body, (position, orientation) in costs.items()
    }


def _posture_cost() -> Array:
    """Cost `[25]` of leaving the reset's pose: more for the ankles, as no target says how a foot in the air tilts."""
    cost = np.full(ROBOT_NV, 0.1)
    cost[6 + np.array(_ANKLES)] = _ANKLE_COST
    return cost


def _quaternion(rotation: Array) -> Array:
    """Quaternion (wxyz) of a rotation matrix."""
    return Rotation.from_matrix(rotation).as_quat(scalar_first=True)


def _smooth(joints: Array) -> Array:
    """Joint angles without the jumps of single frames."""
    window = min(7, len(joints) - (len(joints) + 1) % 2)
    return savgol_filter(joints, window, 2, axis=0) if window >= 5 else joints
