"""Whole-body control of one supporting leg: which joint targets move pelvis and swinging foot as they are wanted.

Weighted least squares over joint accelerations and contact forces under the robot's equations of motion (operational
space control: Sentis and Khatib, "Synthesis of Whole-Body Behaviors through Hierarchical Control of Behavioral
Primitives", 2005). The torques that come out are turned into targets of the position servos. World frame throughout.
"""

import copy
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from mwl.robot.h1 import CONTROL_DT, H1, JOINT_NAMES, ROBOT_NV

Array = NDArray[np.float64]
_SOLE = np.array([0.0, 0.0, H1.sole_height])  # m, middle of the sole under the ankle's axis, in the foot's frame
_CORNERS = np.array(H1.sole)
_KNEES = H1.index("knee")
_UPPER = slice(6 + JOINT_NAMES.index("torso"), ROBOT_NV)  # velocities of trunk and arms
_FORCES = 5  # what a blade of a foot takes: force x, y, z and the moments about its lateral axis and the vertical
_UNKNOWNS = ROBOT_NV + _FORCES
# Per square of an acceleration, a force and a moment; that about the lateral axis is the ankle's work, and with little
# of it the robot moves as a pendulum does.
_REGULARISATION = np.array([1e-5] * ROBOT_NV + [1e-9, 1e-7, 1e-9, 0.02, 1e-4])
_DAMPING = 0.9  # of the wanted motions' second-order responses
_FASTEST = 150.0  # rad/s^2, up to which an acceleration is believed when the servo's path is predicted


@dataclass(frozen=True)
class WholeBodyConfig:
    """Natural frequencies in rad/s of the wanted motions, their weights, and what the sole can take."""

    attitude_rate: float = 11.0
    """Of the pelvis' orientation and height."""
    attitude_weight: float = 20.0
    """Of roll, pitch and height; turning weighs 1, for a narrow foot holds little."""
    swing_rate: float = 17.3
    """Of the swinging foot, whose position weighs 1."""
    sole_weight: float = 0.1
    """Of keeping the swinging foot level and straight ahead."""
    upper_rate: float = 6.3
    """Of trunk and arms on their way to angle 0, where they need little force."""
    upper_weight: float = 0.5
    knee_least: float = 0.25
    """Bend in rad below which a knee is bent, ever more strongly: a straight leg cannot be steered."""
    knee_rate: float = 12.2
    knee_weight: float = 5.0
    slip_rate: float = 25.0
    """Per second, at which velocity of the supporting foot is to vanish."""
    turn_slip_rate: float = 5.0
    """The same for its turning on the spot."""
    pitch_moment: tuple[float, float] = (-20.0, 30.0)
    """Least and greatest moment in N m about the sole's lateral axis; the ankle's servo has 40."""
    turn_moment: float = 50.0
    """Greatest moment in N m about the vertical; friction holds no more on a blade of 0.29 m."""


@dataclass(frozen=True)
class FootMotion:
    """Wanted motion of the sole's middle: position in m, velocity in m/s, acceleration in m/s^2, each `[3]`."""

    position: Array
    velocity: Array
    acceleration: Array


class WholeBody:
    """Dynamics of one robot at a time: measured by `update`, controlled by `control`.

    After `update`: `soles [2, 3]` are the middles of left and right sole and `clearance [2]` the heights of their
    lowest corners, `com [3]` the centre of mass, all in m, and `mass` in kg.

    Args:
        model: the benchmark's robot model.
        config: gains.
    """

    def __init__(self, model: mujoco.MjModel, config: WholeBodyConfig | None = None) -> None:
        self.config = config or WholeBodyConfig()
        self._model = copy.copy(model)
        # The contact is an unknown of the problem here; MuJoCo need not look for any.
        self._model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT.value
        self._data = mujoco.MjData(self._model)
        self._feet = [model.body(foot).id for foot in H1.names.both("foot")]
        self._pelvis = model.body("pelvis").id
        self._kp, self._kv = model.actuator_gainprm[:, 0].copy(), -model.actuator_biasprm[:, 2]
        self.mass = float(model.body_subtreemass[self._pelvis])
        self.soles, self.clearance, self.com = np.zeros((2, 3)), np.zeros(2), np.zeros(3)

    def update(self, qpos: Array, qvel: Array) -> None:
        """Take over the state of a robot, `qpos` `[26]` and `qvel` `[25]`."""
        model, data = self._model, self._data
        data.qpos[:], data.qvel[:] = qpos, qvel
        data.qpos[3:7] /= np.linalg.norm(qpos[3:7])
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        mujoco.mj_subtreeVel(model, data)
        self.com = data.subtree_com[self._pelvis].copy()
        for side, foot in enumerate(self._feet):
            frame = data.xmat[foot].reshape(3, 3)
            self.soles[side] = data.xpos[foot] + frame @ _SOLE
            self.clearance[side] = (data.xpos[foot] + _CORNERS @ frame.T)[:, 2].min()

    def angular_momentum(self, point: Array) -> Array:
        """Of the whole robot about a point `[3]` at rest, `[3]` in kg m^2/s."""
        velocity = self._data.subtree_linvel[self._pelvis]
        own = self._data.subtree_angmom[self._pelvis]
        return own + self.mass * np.cross(self.com - point, velocity)

    def control(self, stance: int, swing: FootMotion, height: float) -> Array:
        """Joint position targets `[19]` in rad for the next control step.

        Args:
            stance: side of the supporting foot, 0 left or 1 right; the other foot swings.
            swing: wanted motion of the swinging foot.
            height: wanted of the pelvis, m.
        """
        contact, drift = self._contact(stance)
        acceleration, force = self._solve(contact, drift, *self._tasks(1 - stance, swing, height))
        data, inertial = self._data, np.zeros(ROBOT_NV)
        mujoco.mj_mulM(self._model, data, inertial, acceleration)
        torque = (inertial + data.qfrc_bias - data.qfrc_passive - contact.T @ force)[6:]
        # The servo pulls towards a fixed target while the joint moves on: aim at where the joint is on average.
        velocity, joint = data.qvel[6:], acceleration[6:].clip(-_FASTEST, _FASTEST)
        path = data.qpos[7:] + velocity * CONTROL_DT / 2 + joint * CONTROL_DT**2 / 6
        return path + (torque + self._kv * (velocity + joint * CONTROL_DT / 2)) / self._kp

    def _jacobians(self, body: int, point: Array) -> tuple[Array, Array]:
        """Of a point of a body: linear rows, then angular ones, `[6, 25]`, and their change times velocity `[6]`."""
        jacobian, change = np.zeros((6, ROBOT_NV)), np.zeros((6, ROBOT_NV))
        mujoco.mj_jac(self._model, self._data, jacobian[:3], jacobian[3:], point, body)
        mujoco.mj_jacDot(self._model, self._data, change[:3], change[3:], point, body)
        return jacobian, change @ self._data.qvel

    def _contact(self, stance: int) -> tuple[Array, Array]:
        """Rows `[5, 25]` in which the supporting foot is held, and the accelerations `[5]` that hold it."""
        config, foot = self.config, self._feet[stance]
        jacobian, bias = self._jacobians(foot, self.soles[stance])
        hold = np.zeros((_FORCES, 6))  # it rolls over its edge: nothing holds it about its long axis
        hold[:3, :3], hold[3, 3:], hold[4, 5] = np.eye(3), self._data.xmat[foot].reshape(3, 3)[:, 1], 1.0
        rate = np.array([config.slip_rate] * 4 + [config.turn_slip_rate])
        return hold @ jacobian, -rate * (hold @ jacobian @ self._data.qvel) - hold @ bias

    def _tasks(self, side: int, swing: FootMotion, height: float) -> tuple[Array, Array, Array]:
        """Rows `[K, 25]`, wanted accelerations `[K]` and weights `[K]` of all that is to move."""
        config, data = self.config, self._data
        rows: list[Array] = []
        wanted: list[Array] = []
        weights: list[Array] = []

        def add(row: Array, bias: Array, error: Array, rate: float, weight: Array, feed: Array | float = 0.0) -> None:
            rows.append(row)
            wanted.append(feed + rate**2 * error - 2 * _DAMPING * rate * (row @ data.qvel) - bias)
            weights.append(weight)

        jacobian, bias = self._jacobians(self._pelvis, data.xpos[self._pelvis])
        upright, stiff = np.zeros(3), config.attitude_weight
        mujoco.mju_quat2Vel(upright, data.qpos[3:7] * [1, -1, -1, -1], 1.0)
        rise = np.array([height - data.qpos[2]])
        weight = np.array([stiff, stiff, stiff, 1.0])
        add(jacobian[2:], bias[2:], np.concatenate([rise, upright]), config.attitude_rate, weight)

        foot = self._feet[side]
        jacobian, bias = self._jacobians(foot, self.soles[side])
        feed = swing.acceleration + 2 * _DAMPING * config.swing_rate * swing.velocity
        error = swing.position - self.soles[side]
        add(jacobian[:3], bias[:3], error, config.swing_rate, np.ones(3), feed)
        frame = data.xmat[foot].reshape(3, 3)
        turn = np.stack([frame[:, 1], [0.0, 0.0, 1.0]])
        pitch = np.arctan2(-frame[2, 0], np.hypot(frame[0, 0], frame[1, 0]))
        error = -np.array([pitch, np.arctan2(frame[1, 0], frame[0, 0])])
        add(turn @ jacobian[3:], turn @ bias[3:], error, config.swing_rate, np.full(2, config.sole_weight))

        unit, still = np.eye(ROBOT_NV), np.zeros(1)
        upper = unit[_UPPER]
        weight = np.full(len(upper), config.upper_weight)
        add(upper, np.zeros(len(upper)), -data.qpos[1:][_UPPER], config.upper_rate, weight)
        for knee in _KNEES:
            lack = np.array([config.knee_least - data.qpos[7 + knee]])
            urgency = (lack / config.knee_least).clip(min=0) ** 2
            add(unit[6 + knee][None], still, lack, config.knee_rate, config.knee_weight * urgency)
        return np.concatenate(rows), np.concatenate(wanted), np.concatenate(weights)

    def _solve(self, contact: Array, hold: Array, rows: Array, wanted: Array, weight: Array) -> tuple[Array, Array]:
        """Accelerations `[25]` and contact forces `[5]`; a moment beyond what the sole takes is held at its limit."""
        model, data = self._model, self._data
        inertia = np.zeros((6, ROBOT_NV))  # of the free joint, which no motor drives
        for i in range(6):
            mujoco.mj_mulM(model, data, inertia[i], np.eye(ROBOT_NV)[i])
        cost = np.diag(_REGULARISATION)
        cost[:ROBOT_NV, :ROBOT_NV] += rows.T @ (weight[:, None] * rows)
        pull = np.zeros(_UNKNOWNS)
        pull[:ROBOT_NV] = rows.T @ (weight * wanted)
        law = np.zeros((6 + _FORCES, _UNKNOWNS))
        law[:6, :ROBOT_NV], law[:6, ROBOT_NV:], law[6:, :ROBOT_NV] = inertia, -contact.T[:6], contact
        value = np.concatenate([(data.qfrc_passive - data.qfrc_bias)[:6], hold])
        answer = _least_squares(cost, pull, law, value)
        turn = self.config.turn_moment
        for force, (low, high) in ((3, self.config.pitch_moment), (4, (-turn, turn))):
            moment = ROBOT_NV + force
            if not low <= answer[moment] <= high:
                law[6 + force], value[6 + force] = np.eye(_UNKNOWNS)[moment], answer[moment].clip(low, high)
                answer = _least_squares(cost, pull, law, value)
        return answer[:ROBOT_NV], answer[ROBOT_NV:]


def _least_squares(cost: Array, pull: Array, law: Array, value: Array) -> Array:
    """The x `[n]` of least x' cost x / 2 - pull' x for which law x = value, `law` `[m, n]`."""
    n, m = len(pull), len(value)
    system = np.block([[cost, law.T], [law, np.zeros((m, m))]])
    solution: Array = np.linalg.solve(system, np.concatenate([pull, value]))
    return solution[:n]
