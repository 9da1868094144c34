"""Linear-quadratic balance control: a standing demonstrator that needs no learning.

The robot is linearised about a standing pose with MuJoCo's finite differences, over one whole control step; the cost
asks for the centre of mass over the feet. World position and heading are left out of the state: the dynamics do not
depend on them, and a standing robot need not care.
"""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import mujoco
import numpy as np
import scipy.linalg
import scipy.optimize
import torch
from torch import Tensor

from mwl.robot.h1 import H1
from mwl.robot.spec import RobotSpec

FOOT_LEAD = 0.02  # m, how far ahead of the ankles the centre of mass rests; soles reach 0.10 back and 0.20 ahead
_HIP_PER_PITCH = 1.3  # a leaning trunk is balanced by hips that move back
_IGNORED = (0, 1, 5)  # root x, y and yaw in the tangent space
_JOINTS = 3  # where joint angles begin in what is left of it
PROVENANCE = {
    "method": "linear-quadratic regulator about standing poses",
    "source": "made by this project from its robot model",
    "licence": "MIT",
    "training_env_steps": 0,
}


@dataclass(frozen=True)
class LQRConfig:
    """Standing pose and cost of the controller."""

    knee: float = 0.1
    """Bend of the knees in rad that the robot straightens to: straighter legs need less force."""
    rise_time: ClassVar[float] = 1.5  # s, from the reset's bent knees
    poses: ClassVar[int] = 4
    """Poses on the way up at which the robot is linearised."""
    balance_weight: ClassVar[float] = 2000.0
    leg_weight: ClassVar[float] = 3.0
    joint_weight: ClassVar[float] = 0.5
    velocity_weight: ClassVar[float] = 0.05
    effort_weight: float = 1.0
    noise: ClassVar[float] = 0.3  # rad of injected noise per unit, for recordings


@dataclass(frozen=True)
class BalancePoint:
    """A standing pose `qpos` `[Q]`, the servo targets `ctrl` `[A]` that hold it, and gains `[A, 2V - 3]` about it."""

    qpos: np.ndarray
    ctrl: np.ndarray
    gain: np.ndarray


def standing_pose(
    model: mujoco.MjModel, knee: float, pitch: float = 0.0, spread: float = 0.0, robot: RobotSpec = H1
) -> np.ndarray:
    """A pose `qpos` `[Q]` with soles flat and the centre of mass over the ankles.

    Args:
        model: robot with its floor.
        knee: bend of the knees, rad.
        pitch: of the pelvis, rad, forward is positive.
        spread: roll of the shoulders, rad; the arms, else as in the reset pose, are lifted aside by it.
        robot: which one the model is of.
    """
    data = mujoco.MjData(model)
    qpos = robot.qpos0.copy()
    for joint, sign in zip(robot.index("arm_out"), (1, -1), strict=True):
        qpos[7 + joint] += sign * spread
    bends = zip(*(robot.index(part) for part in ("hip", "knee", "ankle")), strict=True)
    legs = [[7 + joint for joint in leg] for leg in bends]
    qpos[3:7] = np.cos(pitch / 2), 0.0, np.sin(pitch / 2), 0.0

    def lead(hip: float) -> float:
        for leg in legs:
            qpos[leg] = hip, knee, -(hip + knee + pitch)
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        return float(data.subtree_com[0, 0] - _support(data, robot)[0] - FOOT_LEAD)

    likely = -knee / 2 - _HIP_PER_PITCH * pitch
    scipy.optimize.brentq(lead, likely - 0.4, likely + 0.4)
    qpos[2] = _resting_height(model, data, qpos, robot)
    return qpos


def pelvis_from_feet(model: mujoco.MjModel, qpos: np.ndarray, robot: RobotSpec = H1) -> np.ndarray:
    """Where the pelvis is, seen from the middle between the ankles, `[3]` in m, in a pose `qpos` `[Q]`."""
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    return qpos[:3] - _support(data, robot)


def _support(data: mujoco.MjData, robot: RobotSpec) -> np.ndarray:
    """The middle between the ankles, `[3]` in m."""
    return sum(data.body(foot).xpos for foot in robot.names.both("foot")) / 2


def _resting_height(model: mujoco.MjModel, data: mujoco.MjData, qpos: np.ndarray, robot: RobotSpec) -> float:
    """Root height in m at which the floor carries the robot's weight in a given pose."""

    def vertical_force(height: float) -> float:
        data.qpos[:], data.qvel[:], data.qacc[:] = qpos, 0, 0
        data.qpos[2] = height
        mujoco.mj_inverse(model, data)
        return float(data.qfrc_inverse[2])

    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    sole = min(data.body(foot).xpos[2] for foot in robot.names.both("foot")) + robot.sole_height
    touching = qpos[2] - sole
    return scipy.optimize.brentq(vertical_force, touching - 0.004, touching + 0.0005)


def balance_point(
    model: mujoco.MjModel, qpos: np.ndarray, config: LQRConfig, frame_skip: int, robot: RobotSpec = H1
) -> BalancePoint:
    """Linearise about a standing pose and solve for the gains.

    Args:
        model: robot with its floor; its time step times `frame_skip` is the control step.
        qpos: standing pose `[Q]`.
        config: cost.
        frame_skip: physics steps per control step.
        robot: which one the model is of.
    """
    model = copy.copy(model)
    model.dof_frictionloss[:] = (
        0.0  # within its friction a joint does not yield, whatever is done: nothing to linearise
    )
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_inverse(model, data)
    kp = model.actuator_gainprm[:, 0]
    ctrl = qpos[7:] + data.qfrc_inverse[6:] / kp
    data.ctrl[:] = ctrl
    mujoco.mj_forward(model, data)
    size, inputs = 2 * model.nv, model.nu
    transition, control = np.zeros((size, size)), np.zeros((size, inputs))
    mujoco.mjd_transitionFD(model, data, 1e-6, True, transition, control, None, None)
    step, effect = np.linalg.matrix_power(transition, frame_skip), np.zeros((size, inputs))
    for _ in range(frame_skip):
        effect = transition @ effect + control
    kept = np.array([i for i in range(size) if i not in _IGNORED])
    cost = _state_cost(model, data, config, robot)[np.ix_(kept, kept)]
    step, effect = step[np.ix_(kept, kept)], effect[kept]
    effort = config.effort_weight * np.eye(inputs)
    value = scipy.linalg.solve_discrete_are(step, effect, cost, effort)
    gain = np.linalg.solve(effort + effect.T @ value @ effect, effect.T @ value @ step)
    return BalancePoint(qpos, ctrl, gain)


def _state_cost(model: mujoco.MjModel, data: mujoco.MjData, config: LQRConfig, robot: RobotSpec) -> np.ndarray:
    """Quadratic cost `[2V, 2V]` on the tangent state: centre of mass over the feet, then posture, then stillness."""
    nv = model.nv
    com, foot = np.zeros((3, nv)), np.zeros((3, nv))
    mujoco.mj_jacSubtreeCom(model, data, com, 1)
    for body in robot.names.both("foot"):
        jacobian = np.zeros((3, nv))
        mujoco.mj_jacBody(model, data, jacobian, None, model.body(body).id)
        foot += jacobian / 2
    offset = (com - foot)[:2]
    posture = np.full(nv, config.joint_weight)
    posture[:2], posture[5] = 0.0, 0.0
    posture[6:][robot.legs_and_trunk] = config.leg_weight
    cost = np.zeros((2 * nv, 2 * nv))
    cost[:nv, :nv] = config.balance_weight * offset.T @ offset + np.diag(posture)
    cost[nv:, nv:] = config.velocity_weight * (config.balance_weight * offset.T @ offset + np.eye(nv))
    return cost


class BalanceTable:
    """Balance about poses between given ones: targets and poses are interpolated, gains are those of the nearest.

    Args:
        model: robot with its floor; frame_skip: physics steps per control step.
        poses: P poses `qpos` `[Q]` in balance, neighbours close to each other.
        config: cost.
        robot: which one the model is of.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        frame_skip: int,
        poses: list[np.ndarray],
        config: LQRConfig,
        robot: RobotSpec = H1,
    ) -> None:
        self._model, self._robot = model, robot
        points = [balance_point(model, pose, config, frame_skip, robot) for pose in poses]
        self._qpos = np.stack([point.qpos for point in points])
        self._ctrl = np.stack([point.ctrl for point in points])
        self._gain = np.stack([point.gain for point in points])

    def control(self, observation: np.ndarray, place: np.ndarray, deliberate: slice = slice(0)) -> np.ndarray:
        """Servo targets `[N, A]` in rad at observations `[N, O]` that begin with the robot's qpos and qvel.

        Args:
            observation: see above.
            place: which pose to hold, `[N]` in [0, P - 1], between poses where it is no whole number.
            deliberate: joints that somebody else poses; the others do not yield to bring these back.
        """
        below = np.minimum(place.astype(int), len(self._qpos) - 2)
        weight = (place - below)[:, None]
        nearest = np.round(place).astype(int)
        blend = lambda table: (1 - weight) * table[below] + weight * table[below + 1]  # noqa: E731
        pose = blend(self._qpos)
        pose[:, 3:7] /= np.linalg.norm(pose[:, 3:7], axis=1, keepdims=True)
        error = self.tangent_error(observation, pose)
        error[:, _JOINTS : _JOINTS + self._robot.action_size][:, deliberate] = 0.0
        return blend(self._ctrl) - np.einsum("nij,nj->ni", self._gain[nearest], error)

    def tangent_error(self, observation: np.ndarray, qpos: np.ndarray) -> np.ndarray:
        """Deviation `[N, 2V - 3]` of observed states from poses `qpos` `[N, Q]`, without world position and heading."""
        count, nq, nv = len(observation), self._robot.nq, self._robot.nv
        error = np.zeros((count, 2 * nv))
        for i in range(count):
            mujoco.mj_differentiatePos(self._model, error[i, :nv], 1.0, qpos[i], _facing_forward(observation[i, :nq]))
        velocity = observation[:, nq : nq + nv]
        error[:, nv:] = velocity
        yaw = np.array([_yaw(row[3:7]) for row in observation])
        error[:, nv], error[:, nv + 1] = (
            np.cos(yaw) * velocity[:, 0] + np.sin(yaw) * velocity[:, 1],
            np.cos(yaw) * velocity[:, 1] - np.sin(yaw) * velocity[:, 0],
        )
        return np.delete(error, _IGNORED, axis=1)


class LQRStand:
    """Demonstrator that stands: rises from the reset's bent knees to a straighter pose and holds it.

    Args:
        model: robot with its floor; frame_skip: physics steps per control step.
        config: pose and cost.
        robot: which one the model is of.
    """

    name = "lqr_stand"
    command: Tensor | None = None

    def __init__(
        self, model: mujoco.MjModel, frame_skip: int, config: LQRConfig | None = None, robot: RobotSpec = H1
    ) -> None:
        self.config, self._robot = config or LQRConfig(), robot
        knees = np.linspace(robot.qpos0[7 + robot.index("knee")[0]], self.config.knee, self.config.poses)
        poses = [standing_pose(model, knee, robot=robot) for knee in knees]
        self._table = BalanceTable(model, frame_skip, poses, self.config, robot)
        self._age = np.zeros(0)
        self.noise_scale = noise_scale(model, self.config)

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Begin to rise anew where `mask` `[N]` holds."""
        if mask is None or len(self._age) != len(observation):
            self._age = np.zeros(len(observation))
        else:
            self._age[mask.numpy()] = 0

    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, A]` in [-1, 1] at observations `[N, O]` that begin with the robot's qpos and qvel."""
        risen = np.clip(self._age * self._robot.control_dt / self.config.rise_time, 0, 1)
        self._age += 1
        targets = self._table.control(observation.double().numpy(), risen * (self.config.poses - 1))
        return torch.from_numpy(self._robot.ctrl_to_action(targets)).clamp(-1, 1)

    def executed(self, action: Tensor) -> None:
        """Nothing to remember: the controller acts on the state alone."""

    def describe(self) -> dict[str, Any]:
        """Provenance: computed from the robot model, no data and no training."""
        return dict(PROVENANCE)


def noise_scale(model: mujoco.MjModel, config: LQRConfig) -> Tensor:
    """Noise in action per unit of injected noise, `[A]`."""
    half_range = np.diff(model.actuator_ctrlrange, axis=1)[:, 0] / 2
    return torch.from_numpy(config.noise / half_range).float()


def _yaw(quaternion: np.ndarray) -> float:
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return float(np.arctan2(2 * (x * y + w * z), 1 - 2 * (y * y + z * z)))


def _facing_forward(qpos: np.ndarray) -> np.ndarray:
    """The same pose `[Q]` turned to heading 0, with a unit quaternion."""
    turned = qpos.copy()
    undo = np.array([np.cos(_yaw(qpos[3:7]) / 2), 0, 0, -np.sin(_yaw(qpos[3:7]) / 2)])
    mujoco.mju_mulQuat(turned[3:7], undo, qpos[3:7] / np.linalg.norm(qpos[3:7]))
    return turned
