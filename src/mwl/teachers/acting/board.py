"""A teacher that balances on a board over a fixed ball: linear-quadratic control of robot and board together.

It is computed, not trained. The board's rolling is part of the linearised motion, over one whole control step with its
contacts, so the robot leans and tilts the board as one.
"""

from dataclasses import asdict, dataclass
from math import cos, isfinite, sin
from pathlib import Path

import mujoco
import numpy as np
import scipy.linalg
import scipy.optimize
import torch
from torch import Tensor

from mwl.core.artifact import write_artifact
from mwl.core.errors import ConfigError, CorruptFile
from mwl.robot.h1 import H1, ROBOT, SOLE_HEIGHT
from mwl.robot.model import build_model
from mwl.simulation.task import Array
from mwl.simulation.tasks import TASKS
from mwl.teachers.acting.base import ActingTeacher, SearchedConfig
from mwl.teachers.config import artifact_of, plain

STAGE = "board_teacher"
_TASK = TASKS["h1-balance_simple"]
_BOARD_POS, _BOARD_DOF = 26, 25  # where the board's entries begin in qpos and qvel
_HALF_THICKNESS = 0.03  # m, of the board
_PRESSED = 0.001  # m by which soles sink in under the robot's weight
_DISCOUNT = 0.9995  # per control step: turning about the ball's top can't be stopped, and its cost must stay finite
_NUDGE = 1e-4  # of a state, for finite differences


@dataclass(frozen=True)
class BoardTeacherConfig(SearchedConfig):
    """Pose on the board, and what deviating from it costs."""

    name: str = "balance_simple"
    knee: float = 0.8
    """Bend of the knees, rad."""
    pitch: float = 0.1
    """Of the pelvis, rad, forward is positive."""
    com: float = 900.0
    """Cost of the centre of mass off the ball, per m²."""
    board: float = 60.0
    """Cost of the board off its place or level, per m² and rad²."""
    joint: float = 0.02
    """Cost of posture, per rad²."""
    velocity: float = 0.15
    """Cost of velocities as a share of that of positions, s²; every joint's counts 1."""
    effort: float = 5.5
    """Cost of servo targets, per rad²."""

    def __post_init__(self) -> None:
        costs = (self.com, self.board, self.joint, self.velocity, self.effort)
        if not all(0 < x < 1e6 for x in costs):
            raise ConfigError(f"{STAGE}: com, board, joint, velocity and effort must be above 0 and below a million")
        if not (isfinite(self.knee) and 0 <= self.knee <= 1.5 and isfinite(self.pitch) and abs(self.pitch) <= 0.5):
            raise ConfigError(f"{STAGE}: knee must be in 0 to 1.5 rad, pitch within 0.5 rad")


def compose_board_teacher(config: BoardTeacherConfig, out: Path | str) -> Path:
    """Find the pose, linearise about it and write the gains as an artifact; takes seconds.

    Raises:
        ConfigError: the robot can't balance in such a pose.
    """
    model = build_model(_TASK)
    qpos, ctrl = _pose(model, config)
    transition, control = _linearised(model, qpos, ctrl)
    cost, effort = _cost(model, qpos, config), config.effort * np.eye(model.nu)
    transition, control = transition * _DISCOUNT**0.5, control * _DISCOUNT**0.5
    value = scipy.linalg.solve_discrete_are(transition, control, cost, effort)
    gain = np.linalg.solve(effort + control.T @ value @ control, control.T @ value @ transition)
    weights = {"qpos": qpos, "ctrl": ctrl, "gain": gain}
    return write_artifact(
        out,
        stage=STAGE,
        name=config.name,
        checkpoint={
            "hyper_parameters": plain(asdict(config)),
            "state_dict": {name: torch.from_numpy(array) for name, array in weights.items()},
        },
        robot=ROBOT,
        task=_TASK.name,
        observation={"size": _TASK.layout.size, "layout": _TASK.layout.sizes},
        action={"size": model.nu, "low": -1.0, "high": 1.0},
        provenance={
            "method": "linear-quadratic regulator about a pose on the board",
            "source": "made by this project from its robot model",
            "licence": "MIT",
            "env_steps": sum(config.searches.values()),
            "training_env_steps": config.searches,
        },
    )


def _pose(model: mujoco.MjModel, config: BoardTeacherConfig) -> tuple[Array, Array]:
    """A pose `qpos` `[Q]` on the level board that nothing pulls over, and the servo targets `[A]` that hold it."""
    data = mujoco.MjData(model)
    assert _TASK.begin is not None
    start = _TASK.begin(np.concatenate([H1.qpos0, _TASK.object_qpos0]), np.random.default_rng(0))
    data.qpos[:] = start
    mujoco.mj_kinematics(model, data)
    foot = H1.names.both("foot")[0]
    place = data.body(foot).xpos[0]  # feet stay where the episode puts them
    hip, knee, ankle = ([7 + joint for joint in H1.index(part)] for part in ("hip", "knee", "ankle"))

    def posed(free: Array) -> Array:
        bend, lift, tilt, sink = free
        qpos = start.copy()
        qpos[3:7] = cos(config.pitch / 2), 0.0, sin(config.pitch / 2), 0.0
        qpos[hip], qpos[knee], qpos[ankle] = bend, config.knee, tilt - config.pitch - bend - config.knee
        qpos[_BOARD_POS + 2] += sink
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        ankle_height = qpos[_BOARD_POS + 2] + _HALF_THICKNESS - SOLE_HEIGHT - _PRESSED + lift
        qpos[0] += place - data.body(foot).xpos[0]
        qpos[2] += ankle_height - data.body(foot).xpos[2]
        return qpos

    def forces(free: Array) -> Array:
        data.qpos[:] = posed(free)
        mujoco.mj_inverse(model, data)
        return data.qfrc_inverse[[2, 4, _BOARD_DOF + 2, _BOARD_DOF + 4]] / 10  # up and in pitch, of root and board

    for bend in np.linspace(-0.9, 0.6, 16):  # the hips that bring the centre of mass over the ball are not known yet
        found = scipy.optimize.least_squares(
            forces, [bend, 0.0, 0.0, -5e-4], x_scale=[0.1, 1e-3, 1e-3, 1e-3], diff_step=1e-6
        )
        if found.cost < 1e-6:
            break
    else:
        raise ConfigError(f"{STAGE}: no balance on the board with knee {config.knee} and pitch {config.pitch}")
    qpos = posed(found.x)
    forces(found.x)
    return qpos, qpos[7 : 7 + model.nu] + data.qfrc_inverse[6 : 6 + model.nu] / model.actuator_gainprm[:, 0]


def _linearised(model: mujoco.MjModel, qpos: Array, ctrl: Array) -> tuple[Array, Array]:
    """How state `[2V, 2V]` and targets `[2V, A]` act on the state a control step later."""
    data, nv = mujoco.MjData(model), model.nv
    columns = []
    for nudge in np.eye(2 * nv + model.nu) * _NUDGE:
        ends = []
        for sign in (1.0, -1.0):
            mujoco.mj_resetData(model, data)
            data.qpos[:] = qpos
            mujoco.mj_integratePos(model, data.qpos, sign * nudge[:nv], 1.0)
            data.qvel[:] = sign * nudge[nv : 2 * nv]
            data.ctrl[:] = ctrl + sign * nudge[2 * nv :]
            mujoco.mj_step(model, data, H1.frame_skip)
            ends.append(_deviation(model, qpos, data.qpos, data.qvel))
        columns.append((ends[0] - ends[1]) / (2 * _NUDGE))
    both = np.stack(columns, axis=1)
    return both[:, : 2 * nv], both[:, 2 * nv :]


def _deviation(model: mujoco.MjModel, pose: Array, qpos: Array, qvel: Array) -> Array:
    """A state as its deviation `[2V]` from resting in a pose `[Q]`, in the tangent space."""
    moved = np.zeros(model.nv)
    mujoco.mj_differentiatePos(model, moved, 1.0, pose, qpos)
    return np.concatenate([moved, qvel])


def _cost(model: mujoco.MjModel, qpos: Array, config: BoardTeacherConfig) -> Array:
    """Quadratic cost `[2V, 2V]`: centre of mass over the ball, board level, posture, stillness."""
    data, nv = mujoco.MjData(model), model.nv
    data.qpos[:] = qpos
    mujoco.mj_forward(model, data)
    com = np.zeros((3, nv))
    mujoco.mj_jacSubtreeCom(model, data, com, model.body(H1.names.root).id)
    off = config.com * com[:2].T @ com[:2]
    posture = np.full(nv, config.joint)
    posture[:3], posture[5] = 0.0, 0.01  # no place, hardly a heading
    posture[_BOARD_DOF:] = config.board * np.array([1, 1, 0, 1, 1, 0])
    posture[-1] = 0.01
    cost = np.zeros((2 * nv, 2 * nv))
    cost[:nv, :nv] = np.diag(posture) + off
    cost[nv:, nv:] = config.velocity * (np.eye(nv) + off)
    return cost + 1e-6 * np.eye(2 * nv)  # the equation wants every state to cost something


class BoardTeacher(ActingTeacher):
    """Acts on h1-balance_simple: servo targets that deviations from a pose on the board move.

    Args:
        qpos: the pose `[Q]`; ctrl: targets `[A]` that hold it; gain: `[A, 2V]`.
    """

    def __init__(self, qpos: Array, ctrl: Array, gain: Array) -> None:
        super().__init__(_TASK.name)
        self._model = build_model(_TASK)
        self._qpos, self._ctrl, self._gain = qpos, ctrl, gain

    @classmethod
    def load(cls, folder: Path | str) -> "BoardTeacher":
        """Load an artifact that `compose_board_teacher` wrote.

        Raises:
            MissingFile, CorruptFile, SpecMismatch: see `mwl.core.artifact.read_manifest`.
        """
        with artifact_of(folder, STAGE) as held:
            held.config(BoardTeacherConfig, STAGE)
            weights = {name: held.checkpoint["state_dict"][name].double().numpy() for name in ("qpos", "ctrl", "gain")}
            teacher = cls(**weights)
            model = teacher._model
            sizes = {"qpos": (model.nq,), "ctrl": (model.nu,), "gain": (model.nu, 2 * model.nv)}
            if any(weights[name].shape != size or not np.isfinite(weights[name]).all() for name, size in sizes.items()):
                raise CorruptFile("its pose or gains do not fit the robot on the board")
            return teacher

    def _act(self, observation: Tensor, begins: Tensor) -> Tensor:
        layout = _TASK.layout
        seen = {name: observation[:, part].double().cpu().numpy() for name, part in layout.slices.items()}
        qpos = np.concatenate([seen["robot_qpos"], seen["board_qpos"]], axis=1)
        qvel = np.concatenate([seen["robot_qvel"], seen["board_qvel"]], axis=1)
        deviation = [_deviation(self._model, self._qpos, *state) for state in zip(qpos, qvel, strict=True)]
        targets = self._ctrl - np.stack(deviation) @ self._gain.T
        return torch.from_numpy(H1.ctrl_to_action(targets)).float().clamp(-1, 1)
