"""How a robot moves, in figures: the same ones for clips, for whole episodes, and for every command that measures.

`action_rate` is the mean absolute change of an action between two control steps, in units of the range [-1, 1]; `jerk`
the root mean square of the joints' third derivative in rad/s^3; `energy` the mean mechanical power in W, the sum over
joints of |torque x velocity|; `foot_skate` the mean speed along the floor of what touches it, in m/s.

`definitions` says by which version of all that something was measured, so that it is measured again when they change.
"""

import hashlib
from functools import cache, lru_cache
from typing import TypeVar

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from mwl.robot.h1 import ASSETS, CONTROL_DT, FOOT_CORNERS, ROBOT_NQ, ROBOT_NV
from mwl.simulation import TASKS, build_model, get_task

Array = NDArray[np.float64]
Series = TypeVar("Series", NDArray[np.float64], torch.Tensor)
CONTACT_HEIGHT = 0.01  # m above the floor, below which a corner of a sole counts as touching
JOINT_VELOCITIES = slice(6, ROBOT_NV)
_VERSION = 1  # counts up when a figure is defined anew
_ROBOT = ("floor.xml", "h1.xml", "h1_hulls.xml")  # what every scene includes
_FEET = ("left_ankle_link", "right_ankle_link")


def second_difference(first: Series, second: Series, third: Series) -> Series:
    """Of three successive values; of velocities, over the squared time step, it is the jerk."""
    return third - 2 * second + first


def joint_jerk(qvel: Array, fps: float) -> float:
    """Root mean square of the joints' third derivative in rad/s^3 for velocities `[T, 25]`; 0 for fewer than three."""
    if len(qvel) < 3:
        return 0.0
    joints = qvel[:, JOINT_VELOCITIES]
    jerk = second_difference(joints[:-2], joints[1:-1], joints[2:]) * fps**2
    return float(np.sqrt(np.square(jerk).mean()))


def sole_positions(qpos: Array) -> Array:
    """World positions `[T, 2, 4, 3]` of the corners of the left and right sole, in m, for poses `[T, 26]`."""
    model, data = _robot()
    corners = np.array(FOOT_CORNERS)
    soles = np.empty((len(qpos), 2, len(corners), 3))
    for pose, sole in zip(qpos, soles, strict=True):
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        for foot, name in zip(sole, _FEET, strict=True):
            body = data.body(name)
            foot[:] = body.xpos + corners @ body.xmat.reshape(3, 3).T
    return soles


@lru_cache(maxsize=1)
def _robot() -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = build_model(get_task("h1-stand"))
    return model, mujoco.MjData(model)


def floor_height(soles: Array) -> float:
    """Height of the floor in m under soles `[T, 2, 4, 3]`: where the lower one usually is."""
    return float(np.quantile(soles[..., 2].min(axis=(1, 2)), 0.1))


def foot_skate(soles: Array, fps: float, floor: float = 0.0) -> float:
    """Mean horizontal speed in m/s of the corners of the soles while they touch the floor.

    A rolling foot touches with its heel, then its toes, and neither moves; a sliding one moves what touches.

    Args:
        soles: `[T, 2, 4, 3]` in m.
        fps: frames per second.
        floor: height of the floor in m.
    """
    speed, touching = _skating(soles[:-1], soles[1:], fps, floor)
    return float(speed[touching].mean()) if touching.any() else 0.0


def _skating(before: Array, after: Array, fps: float, floor: float = 0.0) -> tuple[Array, NDArray[np.bool_]]:
    """Horizontal speeds `[..., 2, 4]` in m/s of the corners, and which of them touch the floor in both frames."""
    level = floor + CONTACT_HEIGHT
    speed = np.linalg.norm(after[..., :2] - before[..., :2], axis=-1) * fps
    return speed, (before[..., 2] < level) & (after[..., 2] < level)


class Motion:
    """Sums of smoothness and effort over the steps of each running episode, in joint space.

    Args:
        num_envs: N.
    """

    def __init__(self, num_envs: int) -> None:
        self._velocities: list[Array] = []
        self._action: Array | None = None
        self._soles: Array | None = None
        self._steps = np.zeros(num_envs)
        self._sums = {name: np.zeros(num_envs) for name in ("action_rate", "jerk", "energy", "skated", "touched")}

    def add(
        self,
        action: Array,
        velocity: Array,
        torque: Array,
        running: NDArray[np.bool_],
        qpos: Array | None = None,
    ) -> None:
        """Account for one step, the last one of an episode included.

        Args:
            action: executed action, `[N, A]` in [-1, 1].
            velocity: joint velocities after the step, `[N, A]` in rad/s; kept, so not a view that changes later.
            torque: joint torques during the step, `[N, A]` in N m.
            running: `[N]` bool, episodes that this step belongs to.
            qpos: poses `[N, 26]` of our robot after the step; None of another robot, whose feet aren't known.
        """
        self._velocities = [*self._velocities[-2:], velocity]
        self._steps += running
        if self._action is not None:
            self._add("action_rate", np.abs(action - self._action).mean(1), running)
        self._action = action
        if len(self._velocities) == 3:
            jerk = second_difference(*self._velocities) / CONTROL_DT**2
            self._add("jerk", (jerk**2).mean(1), running)
        self._add("energy", np.abs(torque * velocity).sum(1), running)
        if qpos is not None:
            self._add_feet(sole_positions(qpos[:, :ROBOT_NQ]), running)

    def _add_feet(self, soles: Array, running: NDArray[np.bool_]) -> None:
        if self._soles is not None:
            speed, touching = _skating(self._soles, soles, 1 / CONTROL_DT)
            self._add("skated", np.where(touching, speed, 0.0).sum(axis=(1, 2)), running)
            self._add("touched", touching.sum(axis=(1, 2)), running)
        self._soles = soles

    def _add(self, name: str, value: Array, running: NDArray[np.bool_]) -> None:
        self._sums[name] += np.where(running, value, 0.0)

    def means(self) -> dict[str, Array]:
        """`action_rate`, `jerk`, `energy` and `foot_skate` of each episode `[N]`."""
        return {
            "action_rate": self._sums["action_rate"] / np.maximum(self._steps - 1, 1),
            "jerk": np.sqrt(self._sums["jerk"] / np.maximum(self._steps - 2, 1)),
            "energy": self._sums["energy"] / np.maximum(self._steps, 1),
            "foot_skate": self._sums["skated"] / np.maximum(self._sums["touched"], 1),
        }


@cache
def definitions(task: str) -> str:
    """Version of the figures' definitions, and the first digits of the sha256 of the robot and the task's scene."""
    scene = hashlib.sha256()
    for name in (*_ROBOT, *([TASKS[task].scene] if task in TASKS else [])):
        scene.update(name.encode() + (ASSETS / name).read_bytes())
    return f"{_VERSION}-{scene.hexdigest()[:12]}"
