"""The Unitree H1: names, servo ranges, reset pose, and the compiled models of the scenes it stands in.

All figures come from the model file itself (`assets/h1.xml`), so there is one place to change them.
"""

from functools import cache
from pathlib import Path
from typing import Literal, Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray


class Scene(Protocol):
    """What has a scene: a task."""

    @property
    def scene(self) -> str:
        """Name of the MJCF file."""


ROBOT = "unitree_h1"
ASSETS = Path(__file__).parents[1] / "simulation" / "assets"
TIMESTEP = 0.002  # s, physics
FRAME_SKIP = 10  # physics steps per control step, so control runs at 50 Hz
CONTROL_DT = TIMESTEP * FRAME_SKIP

_FLAT_SCENE = mujoco.MjModel.from_xml_path(str(ASSETS / "plain.xml"))
JOINT_NAMES: tuple[str, ...] = tuple(_FLAT_SCENE.actuator(i).name for i in range(_FLAT_SCENE.nu))
"""The 19 hinge joints in the order of actions, of `qpos[7:26]` and of `qvel[6:25]`."""

ACTION_SIZE = len(JOINT_NAMES)
CTRL_LOW: NDArray[np.float32] = _FLAT_SCENE.actuator_ctrlrange[:, 0].astype(np.float32)
CTRL_HIGH: NDArray[np.float32] = _FLAT_SCENE.actuator_ctrlrange[:, 1].astype(np.float32)
RADIANS_PER_ACTION: NDArray[np.float32] = (CTRL_HIGH - CTRL_LOW) / np.float32(2)
"""How far an action of 1 puts a joint's target from the middle of its range, in rad `[19]`."""
ROBOT_NQ, ROBOT_NV = 7 + ACTION_SIZE, 6 + ACTION_SIZE

_LEG = (0.0, 0.0, -0.4, 0.8, -0.4)  # hip yaw, roll, pitch, knee, ankle in rad
QPOS0: NDArray[np.float64] = np.array([0.0, 0.0, 0.98, 1.0, 0.0, 0.0, 0.0, *_LEG, *_LEG, *[0.0] * 9])
"""The benchmark's reset pose: root position in m, root quaternion (wxyz), joint angles in rad."""
QPOS0.flags.writeable = False

SOLE_HEIGHT = -0.07  # m, the flat underside of the foot in the ankle frame
FOOT_CORNERS = tuple((x, y, SOLE_HEIGHT) for x in (-0.0953, 0.1956) for y in (-0.0135, 0.0135))
"""Corners of a sole in its ankle's frame, m: the two at the heel, then the two at the toes."""

Contacts = Literal["full", "fast", "arms"]


def action_to_ctrl(action: NDArray) -> NDArray[np.float64]:
    """Joint position targets in rad `[..., 19]` of actions in [-1, 1] `[..., 19]`.

    The map is linear on each servo's range, in float32 as in HumanoidBench. Action 0 is mid-range, not the reset pose.
    """
    action = np.asarray(action, dtype=np.float32)
    return (CTRL_LOW + (action + 1) * RADIANS_PER_ACTION).astype(np.float64)


def ctrl_to_action(ctrl: NDArray) -> NDArray[np.float32]:
    """Actions `[..., 19]` that command joint position targets in rad `[..., 19]`; inverse of `action_to_ctrl`."""
    ctrl = np.asarray(ctrl, dtype=np.float64)
    return ((ctrl - CTRL_LOW) / RADIANS_PER_ACTION - 1).astype(np.float32)


@cache
def build_model(
    task: Scene, contacts: Contacts = "full", timestep: float = TIMESTEP, visual: bool = False
) -> mujoco.MjModel:
    """Compile the scene of a task. Models are shared: treat them as read-only.

    Args:
        task: which scene.
        contacts: `full` is the benchmark-like robot; `fast` lets only feet and shins collide, which suits training in
            which a fall ends the episode anyway, and runs faster; `arms` adds capsules for trunk, thighs and arms that
            touch the world, which suits training to handle things.
        timestep: physics step in s.
        visual: with what is only drawn: shells, cameras and lights. It slows physics by 7 %.
    """
    spec = mujoco.MjSpec.from_file(str(ASSETS / task.scene))
    spec.option.timestep = timestep
    if not visual:
        _strip(spec)
    if contacts != "full":
        _keep_fast_contacts(spec)
    if contacts == "arms":
        _add_capsules(spec)
    return spec.compile()


def _strip(spec: mujoco.MjSpec) -> None:
    """Remove what is only drawn."""
    drawn = [geom for geom in spec.geoms if geom.classname.name == "visual"]
    for element in (*drawn, *spec.cameras, *spec.lights):
        spec.delete(element)


_WORLD, _FOOT, _SHIN = 1, 2, 4  # contact bits of the fast variant
_FOOT_CENTRE, _FOOT_HALF = (0.04985, 0.0, -0.06), (0.14455, 0.012, 0.01)  # m, a box with the blade's four corners
_HIP_EXTENSION = 0.368  # rad of hip pitch at which the thigh meets the hip's housing, whatever the hip's yaw and roll
_SHIN_ENDS, _SHIN_RADIUS = ((0.0145, -0.0007, -0.3788), (0.011, -0.0027, -0.0009)), 0.0424  # m, the left one


def _keep_fast_contacts(spec: mujoco.MjSpec) -> None:
    """Feet are boxes that touch the world and the other leg, shins capsules that touch the other leg; nothing else.

    That the thigh is stopped by the hip's housing stays, as a limit of the joint: it carries load in running.
    """
    for joint in spec.joints:
        if joint.name.endswith("hip_pitch"):
            joint.range = [joint.range[0], _HIP_EXTENSION]
    for geom in spec.geoms:
        link = geom.parent.name
        if geom.contype == 0 and geom.conaffinity == 0:
            continue
        if link.endswith("ankle_link"):
            geom.type, geom.meshname = mujoco.mjtGeom.mjGEOM_BOX, ""
            geom.pos, geom.size = _FOOT_CENTRE, _FOOT_HALF
            geom.contype, geom.conaffinity = _FOOT, _WORLD | _FOOT | _SHIN
        elif link.endswith("knee_link"):
            outward = -1 if link.startswith("right") else 1
            geom.type, geom.meshname = mujoco.mjtGeom.mjGEOM_CAPSULE, ""
            geom.fromto = [value for x, y, z in _SHIN_ENDS for value in (x, outward * y, z)]
            geom.size = [_SHIN_RADIUS, 0, 0]
            geom.contype, geom.conaffinity = _SHIN, _FOOT | _SHIN
        elif link.endswith("_link") or link == "pelvis":
            geom.contype = geom.conaffinity = 0
        else:
            geom.contype = geom.conaffinity = _WORLD


_TRUNK, _ARM = 8, 16
_CAPSULES = {  # link: capsule ends and radius in m, the left one; least-squares fits to the hulls
    "pelvis": ((-0.001, -0.091, -0.0484), (-0.0009, 0.0913, -0.0503), 0.063),
    "torso_link": ((-0.0005, 0.0014, 0.082), (0.04, -0.003, 0.6223), 0.1177),
    "hip_pitch_link": ((-0.0022, -0.0342, 0.0187), (0.0193, -0.0033, -0.3818), 0.061),
    "shoulder_yaw_link": ((0.0195, 0.001, -0.2078), (0.0032, -0.0001, -0.0275), 0.0403),
    "elbow_link": ((0.2743, 0.0003, -0.0181), (-0.0068, 0.0005, -0.0001), 0.0398),
}


def _add_capsules(spec: mujoco.MjSpec) -> None:
    """Trunk, shins and thighs touch the world, arms touch the world, the trunk and each other."""
    for geom in spec.geoms:
        if geom.contype == _SHIN:
            geom.conaffinity |= _WORLD
    for body in spec.bodies:
        link = body.name.removeprefix("left_").removeprefix("right_")
        if link not in _CAPSULES:
            continue
        *ends, radius = _CAPSULES[link]
        outward = -1 if body.name.startswith("right") else 1
        arm, trunk = link in ("shoulder_yaw_link", "elbow_link"), link in ("pelvis", "torso_link")
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            fromto=[value for x, y, z in ends for value in (x, outward * y, z)],
            size=[radius, 0, 0],
            mass=0,
            contype=_ARM if arm else _TRUNK if trunk else 0,
            conaffinity=_WORLD | _TRUNK | _ARM if arm else _WORLD,
        )
