"""Compiled models of scenes: a robot and what surrounds it, from MJCF files, with the contacts a training needs."""

from functools import cache
from pathlib import Path
from typing import Literal, Protocol

import mujoco

from mwl.core.errors import BadInput, MissingFile
from mwl.core.files import shown

ASSETS = Path(__file__).parents[1] / "simulation" / "assets"
Contacts = Literal["full", "fast", "arms"]
_PARTS = ("floor.xml", "h1.xml", "h1_hulls.xml")  # what a scene anywhere may include by name


class Scene(Protocol):
    """What has a scene: a task."""

    @property
    def scene(self) -> str:
        """Name of the MJCF file in `assets/`, or path of one's own."""


def read_scene(file: Path) -> mujoco.MjSpec:
    """The model of a scene, to be changed or compiled.

    Args:
        file: MJCF; it may include `floor.xml` and `h1.xml` of this package by name, wherever it lies.

    Raises:
        MissingFile: there is no such file.
        BadInput: it is no MJCF.
    """
    if not file.is_file():
        raise MissingFile(f"{shown(file)}: no such scene")
    parts = {name: (ASSETS / name).read_bytes() for name in _PARTS if not (file.parent / name).is_file()}
    try:
        return mujoco.MjSpec.from_file(str(file), include=parts)
    except ValueError as error:
        raise BadInput(f"{shown(file)}: is no scene ({' '.join(str(error).split())[:200]})") from error


def compile_file(file: Path, timestep: float) -> mujoco.MjModel:
    """The compiled model of a scene as it stands in its file.

    Raises:
        MissingFile, BadInput: see `read_scene`.
    """
    spec = read_scene(file)
    spec.option.timestep = timestep
    return _compiled(spec, file)


def _compiled(spec: mujoco.MjSpec, file: Path) -> mujoco.MjModel:
    try:
        return spec.compile()
    except ValueError as error:
        raise BadInput(f"{shown(file)}: can't be compiled ({' '.join(str(error).split())[:200]})") from error


@cache
def build_model(
    task: Scene, contacts: Contacts = "full", timestep: float = 0.002, visual: bool = False
) -> mujoco.MjModel:
    """Compile the scene of a task. Models are shared: treat them as read-only.

    Args:
        task: which scene.
        contacts: `full` is the benchmark-like robot; `fast` lets only feet and shins collide, which suits training in
            which a fall ends the episode anyway, and runs faster; `arms` adds capsules for trunk, thighs and arms that
            touch the world, which suits training to handle things.
        timestep: physics step in s.
        visual: with what is only drawn: shells, cameras and lights. It slows physics by 7 %.

    Raises:
        MissingFile, BadInput: the scene's file; see `read_scene`.
    """
    file = ASSETS / task.scene
    spec = read_scene(file)
    spec.option.timestep = timestep
    if not visual:
        _strip(spec)
    if contacts != "full":
        _keep_fast_contacts(spec)
    if contacts == "arms":
        _add_capsules(spec)
    return _compiled(spec, file)


def _strip(spec: mujoco.MjSpec) -> None:
    """Remove what is only drawn."""
    drawn = [geom for geom in spec.geoms if geom.classname.name == "visual"]
    for element in (*drawn, *spec.cameras, *spec.lights):
        spec.delete(element)


def scene_mjcf(task: Scene, timestep: float = 0.002) -> str:
    """The scene of a task as one MJCF file without includes, to be simulated where this package is not."""
    spec = read_scene(ASSETS / task.scene)
    spec.option.timestep = timestep
    _strip(spec)
    _compiled(spec, ASSETS / task.scene)
    text: str = spec.to_xml()
    return text


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
