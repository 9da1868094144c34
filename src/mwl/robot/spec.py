"""A robot as a value: what controllers, tasks and data need to know of it, read from its model file (MJCF)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from mwl.core.errors import BadInput
from mwl.robot import CONTROL_HZ
from mwl.robot.model import compile_file

SIDES = ("left", "right")
TIMESTEP = 0.002  # s, physics
FRAME_SKIP = round(1 / CONTROL_HZ / TIMESTEP)  # physics steps per control step
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Names:
    """How a model file calls the parts of a humanoid; `{side}` stands for `left` and `right`."""

    root: str = "pelvis"
    hip: str = "{side}_hip_pitch"
    """Joint that swings the leg; the joints `knee` and `ankle` bend about the same axis."""
    knee: str = "{side}_knee"
    ankle: str = "{side}_ankle"
    foot: str = "{side}_ankle_link"
    """Body that carries the sole."""
    shoulder: str = "{side}_shoulder_pitch"
    """First joint of the arm."""
    arm_out: str = "{side}_shoulder_roll"
    """Joint that lifts the arm aside."""
    elbow: str = "{side}_elbow"
    forearm: str = "{side}_elbow_link"
    """Body that carries the hand."""

    def both(self, part: str) -> tuple[str, str]:
        """Names of a part on the left and on the right."""
        pattern: str = getattr(self, part)
        return pattern.format(side="left"), pattern.format(side="right")


@dataclass(frozen=True, eq=False)
class RobotSpec:
    """A humanoid on position servos, one per hinge joint, behind a free joint at its root.

    Actions in [-1, 1] span each servo's range. Joints are in the order of actions, of `qpos[7:]` and of `qvel[6:]`.

    Args:
        name: as manifests say it, for example `unitree_h1`.
        joints: names of the A joints.
        ctrl_low, ctrl_high: bounds `[A]` of the servos' targets, rad.
        qpos0: pose `[7 + A]` at the beginning of an episode: root in m, its quaternion (wxyz), joint angles in rad.
        sole: corners of a sole in its foot's frame, m: the two at the heel, then the two at the toes.
        hands: of each side, the body that carries the hand, and where in its frame, m.
        axes: unit vectors `[A, 3]` of the joints with all of them at 0, in the root's frame.
        anchors: where the joints lie then, by name, in the root's frame, m.
        names: how its model file calls its parts.
        timestep: of the physics, s.
        frame_skip: physics steps per control step.
    """

    name: str
    joints: tuple[str, ...]
    ctrl_low: NDArray[np.float32] = field(repr=False)
    ctrl_high: NDArray[np.float32] = field(repr=False)
    qpos0: NDArray[np.float64] = field(repr=False)
    sole: tuple[Point, ...]
    hands: tuple[tuple[str, Point], tuple[str, Point]]
    axes: NDArray[np.float64] = field(repr=False)
    anchors: Mapping[str, NDArray[np.float64]] = field(repr=False)
    names: Names = field(default_factory=Names, repr=False)
    timestep: float = TIMESTEP
    frame_skip: int = FRAME_SKIP

    @classmethod
    def from_mjcf(
        cls,
        scene: Path | str,
        name: str,
        *,
        pose: Sequence[float] | None = None,
        names: Names | None = None,
        sole: tuple[Point, ...] | None = None,
        hand: Point | None = None,
        timestep: float = TIMESTEP,
        frame_skip: int = FRAME_SKIP,
    ) -> "RobotSpec":
        """Read a robot from the model file of a scene that it stands in.

        Args:
            scene: MJCF file with the robot, its free joint first.
            name: of the robot.
            pose: `qpos0`; None takes the model's own.
            names: of its parts.
            sole: see above; None takes the lowest corners of what the feet touch the floor with.
            hand: place of the left hand in its body's frame, m; None takes the site `left_hand`.
            timestep: s, of physics.
            frame_skip: physics steps per control step.

        Raises:
            MissingFile: there is no such file.
            BadInput: it is no MJCF, or its robot isn't driven as this class says, or lacks a part.
        """
        model, names = compile_file(Path(scene), timestep), names or Names()
        where = Path(scene).name
        _check_servos(model, where)
        joints = tuple(model.actuator(i).name for i in range(model.nu))
        _check_parts(model, names, joints, where)
        data = mujoco.MjData(model)
        data.qpos[: 7 + model.nu] = 0.0
        data.qpos[3] = 1.0
        mujoco.mj_kinematics(model, data)
        ids = model.actuator_trnid[:, 0]
        root = data.xpos[model.body(names.root).id]
        qpos0 = np.array(model.qpos0[: 7 + model.nu] if pose is None else pose, dtype=np.float64)
        if qpos0.shape != (7 + model.nu,):
            raise BadInput(f"{where}: the pose has {qpos0.size} numbers; {name} takes {7 + model.nu}")
        qpos0.flags.writeable = False
        left, right = names.both("forearm")
        x, y, z = (float(value) for value in (hand or model.site("left_hand").pos))
        return cls(
            name=name,
            joints=joints,
            ctrl_low=model.actuator_ctrlrange[:, 0].astype(np.float32),
            ctrl_high=model.actuator_ctrlrange[:, 1].astype(np.float32),
            qpos0=qpos0,
            sole=sole or _sole(model, names.both("foot")[0]),
            hands=((left, (x, y, z)), (right, (x, 0.0 - y, z))),
            axes=data.xaxis[ids].copy(),
            anchors={joint: data.xanchor[i] - root for joint, i in zip(joints, ids, strict=True)},
            names=names,
            timestep=timestep,
            frame_skip=frame_skip,
        )

    @property
    def action_size(self) -> int:
        """Number A of joints, and so of actions."""
        return len(self.joints)

    @property
    def nq(self) -> int:
        """Numbers of the robot in `qpos`."""
        return 7 + self.action_size

    @property
    def nv(self) -> int:
        """Numbers of the robot in `qvel`."""
        return 6 + self.action_size

    @property
    def control_dt(self) -> float:
        """Length of a control step in s."""
        return self.timestep * self.frame_skip

    @cached_property
    def radians_per_action(self) -> NDArray[np.float32]:
        """How far an action of 1 puts a joint's target from the middle of its range, in rad `[A]`."""
        span: NDArray[np.float32] = (self.ctrl_high - self.ctrl_low) / np.float32(2)
        return span

    def action_to_ctrl(self, action: NDArray[np.floating]) -> NDArray[np.float64]:
        """Joint position targets in rad `[..., A]` of actions in [-1, 1] `[..., A]`.

        The map is linear on each servo's range, in float32 as in HumanoidBench. Action 0 is mid-range, not the reset
        pose.
        """
        action = np.asarray(action, dtype=np.float32)
        return (self.ctrl_low + (action + 1) * self.radians_per_action).astype(np.float64)

    def ctrl_to_action(self, ctrl: NDArray[np.floating]) -> NDArray[np.float32]:
        """Actions `[..., A]` that command joint position targets in rad `[..., A]`; inverse of `action_to_ctrl`."""
        ctrl = np.asarray(ctrl, dtype=np.float64)
        return ((ctrl - self.ctrl_low) / self.radians_per_action - 1).astype(np.float32)

    def index(self, part: str) -> tuple[int, int]:
        """Places among the joints of a joint of `Names`, left and right."""
        left, right = self.names.both(part)
        return self.joints.index(left), self.joints.index(right)

    @cached_property
    def legs_and_trunk(self) -> slice:
        """Places among the joints of those below the arms."""
        return slice(0, min(self.index("shoulder")))

    @cached_property
    def feet(self) -> tuple[tuple[str, Point], ...]:
        """Corners of both soles, left ones first: the foot's body, and the place in its frame, m."""
        return tuple((body, corner) for body in self.names.both("foot") for corner in self.sole)

    @cached_property
    def sole_height(self) -> float:
        """Height of the sole in its foot's frame, m; negative, as it is below."""
        return min(z for _, _, z in self.sole)

    def distance(self, one: str, other: str) -> float:
        """Between the axes of two joints of the left side, all joints at 0, in m: the length of the limb between."""
        first, second = self.names.both(one)[0], self.names.both(other)[0]
        return float(np.linalg.norm(self.anchors[first] - self.anchors[second]))

    @cached_property
    def mirror(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Index `[A]` and sign `[A]` such that `x[..., index] * sign` is the mirror image of joint values `[..., A]`.

        A mirror through the plane of x and z takes a turn about the axis (x, y, z) to one about (-x, y, -z).
        """
        index = np.array([self.joints.index(mirrored_name(name)) for name in self.joints])
        reflected = self.axes * [-1.0, 1.0, -1.0]
        return index, np.sign((reflected * self.axes[index]).sum(axis=1))


def mirrored_name(joint: str) -> str:
    """Name of the joint on the other side of the body; a joint of the trunk is its own mirror image."""
    for side, other in (SIDES, SIDES[::-1]):
        if joint.startswith(f"{side}_"):
            return f"{other}_" + joint.removeprefix(f"{side}_")
    return joint


def _check_servos(model: mujoco.MjModel, where: str) -> None:
    """Refuse a robot that is not a free joint and then one servo per hinge, in order."""
    free, hinge = mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_HINGE
    if model.njnt <= model.nu or model.jnt_type[0] != free or (model.jnt_type[1 : 1 + model.nu] != hinge).any():
        raise BadInput(
            f"{where}: its first joint must be free, and a hinge for each of the {model.nu} actuators follow"
        )
    if model.nu == 0 or (model.actuator_trnid[:, 0] != np.arange(1, 1 + model.nu)).any():
        raise BadInput(f"{where}: its actuators must drive the hinge joints, one each, in their order")
    if (model.actuator_biastype != mujoco.mjtBias.mjBIAS_AFFINE).any() or not model.actuator_ctrllimited.all():
        raise BadInput(f"{where}: its actuators must be position servos with a range")


def _check_parts(model: mujoco.MjModel, names: Names, joints: tuple[str, ...], where: str) -> None:
    bodies = {model.body(i).name for i in range(model.nbody)}
    for part in ("hip", "knee", "ankle", "shoulder", "arm_out", "elbow"):
        if missing := set(names.both(part)) - set(joints):
            raise BadInput(f"{where}: no joint {', '.join(sorted(missing))} for {part}; name it in `names`")
    if missing := {names.root, *names.both("foot"), *names.both("forearm")} - bodies:
        raise BadInput(f"{where}: no body {', '.join(sorted(missing))}; name root, foot and forearm in `names`")


def _sole(model: mujoco.MjModel, foot: str) -> tuple[Point, ...]:
    """Corners of the box around the lowest 0.2 mm of what a foot touches the floor with, m in its frame."""
    points = np.concatenate([_lowest(model, geom) for geom in _touching(model, model.body(foot).id)])
    low = points[points[:, 2] < points[:, 2].min() + 2e-4]
    (x0, y0, z), (x1, y1, _) = low.min(axis=0).round(4), low.max(axis=0).round(4)
    return tuple((float(x), float(y), float(z)) for x in (x0, x1) for y in (y0, y1))


def _touching(model: mujoco.MjModel, body: int) -> list[int]:
    geoms = [g for g in range(model.ngeom) if model.geom_bodyid[g] == body and model.geom_contype[g]]
    if not geoms:
        raise BadInput(f"body {model.body(body).name} touches nothing; give the corners of its sole")
    return geoms


def _lowest(model: mujoco.MjModel, geom: int) -> NDArray[np.float64]:
    """Points `[P, 3]` of a geom in its body's frame, m: corners of a mesh or box, the lowest point of a sphere."""
    size, kind = model.geom_size[geom], mujoco.mjtGeom(model.geom_type[geom])
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        lowest: NDArray[np.float64] = (model.geom_pos[geom] - [0.0, 0.0, size[0]])[None]
        return lowest
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = model.geom_dataid[geom]
        points = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]].astype(np.float64)
    elif kind == mujoco.mjtGeom.mjGEOM_BOX:
        points = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * size
    else:
        raise BadInput(f"geom {geom} of a foot is no sphere, box or mesh; give the corners of the sole")
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
    placed: NDArray[np.float64] = points @ rotation.reshape(3, 3).T + model.geom_pos[geom]
    return placed
