"""What a task is: a scene, what it observes, how it rewards, when it ends."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from mwl.robot.h1 import H1
from mwl.robot.spec import RobotSpec

Array = NDArray[np.float64]


class ObservationLayout:
    """Names the parts of a flat observation vector.

    Args:
        parts: sizes by name, in order.
    """

    def __init__(self, **parts: int) -> None:
        self.sizes = dict(parts)
        self.slices: dict[str, slice] = {}
        start = 0
        for name, size in parts.items():
            self.slices[name] = slice(start, start + size)
            start += size
        self.size = start

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObservationLayout) and list(self.sizes.items()) == list(other.sizes.items())

    def __hash__(self) -> int:
        return hash(tuple(self.sizes.items()))

    def __repr__(self) -> str:
        return f"ObservationLayout({', '.join(f'{name}={size}' for name, size in self.sizes.items())})"


class SensorIndex:
    """Where in `sensordata [N, S]` each named sensor of a model lies; actuator forces, where measured, as one block."""

    slices: dict[str, slice]

    def __init__(self, model: mujoco.MjModel) -> None:
        self.slices = {}
        for i in range(model.nsensor):
            start = int(model.sensor_adr[i])
            self.slices[model.sensor(i).name] = slice(start, start + int(model.sensor_dim[i]))
        names = [f"{model.actuator(i).name}_force" for i in range(model.nu)]
        if self.slices.keys() >= set(names):
            self.slices["actuator_force"] = slice(self.slices[names[0]].start, self.slices[names[-1]].stop)

    @classmethod
    def of_sizes(cls, **sizes: int) -> "SensorIndex":
        """Index of sensors of given sizes, one after the other; for models that have no such sensors."""
        index = cls.__new__(cls)
        index.slices = ObservationLayout(**sizes).slices
        return index


@dataclass(frozen=True)
class Measurement:
    """What rewards, terminations and observations are computed from, for all environments at once.

    As in HumanoidBench, `qpos` and `qvel` are those after the control step, while sensors (positions of sites,
    orientations, the centre of mass' velocity, actuator forces) are those at the start of its last physics step, 2 ms
    earlier.

    Args:
        qpos: `[N, nq]`, positions in m, quaternions wxyz, angles in rad.
        qvel: `[N, nv]`, linear velocity in the world frame in m/s, angular in the body frame in rad/s.
        sensordata: `[N, S]`.
        goal: `[N, G]` what the episode asks for, in the world frame in m; G may be 0.
        progress: `[N]` stage of the episode before this step, for tasks that have stages; else 0.
        index: where the sensors lie.
    """

    qpos: Array
    qvel: Array
    sensordata: Array
    goal: Array
    progress: NDArray[np.int64]
    index: SensorIndex

    def __getitem__(self, sensor: str) -> Array:
        """Values `[N, D]` of a sensor."""
        return self.sensordata[:, self.index.slices[sensor]]


def _same_stage(measured: Measurement) -> NDArray[np.int64]:
    return measured.progress


def _not_done(measured: Measurement) -> NDArray[np.bool_]:
    return np.zeros(len(measured.qpos), dtype=bool)


def _robot_state(measured: Measurement) -> Mapping[str, Array]:
    return {"robot_qpos": measured.qpos[:, :26], "robot_qvel": measured.qvel[:, :25]}


@dataclass(frozen=True)
class Reward:
    """A reward of named terms.

    Args:
        terms: `Measurement -> {name: [N]}`.
        combine: what makes the reward of them, `math.prod` or `sum`.
    """

    terms: Callable[[Measurement], Mapping[str, Array]]
    combine: Callable[[Iterable[Array]], Any]

    def __call__(self, measured: Measurement) -> Array:
        """Reward `[N]`."""
        value: Array = self.combine(self.terms(measured).values())
        return value


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """What those who act need to know of a task.

    Args:
        name: for example `h1-walk`.
        instruction: the task in plain words, as one would say it to the robot.
        description: what is rewarded.
        success_bar: return that the benchmark calls a success.
        layout: names and sizes of the observation's parts.
        max_episode_steps: control steps of 20 ms until truncation.
        fixed_scene: walls, poles or steps stand in the world that the observation does not show: it matters where the
            robot is.
    """

    name: str
    instruction: str
    description: str
    success_bar: float
    layout: ObservationLayout = field(default_factory=lambda: ObservationLayout(robot_qpos=26, robot_qvel=25))
    max_episode_steps: int = 1000
    fixed_scene: bool = False


@dataclass(frozen=True, kw_only=True)
class Task(TaskSpec):
    """One task of the embedded suite; pure data and pure functions, batched over N environments.

    Args:
        scene: file in `assets/`, or path of a scene of one's own, which may include `floor.xml` and `h1.xml`.
        reward: `Measurement -> [N]`; a `Reward` tells its terms by name, too.
        terminated: `Measurement -> [N]` bool, a true end.
        succeeded: `Measurement -> [N]` bool, the task is done; for tasks that end with that. Other ends are falls.
        observe: named parts of the observation, `Measurement -> {name: [N, D]}`, in the layout's order.
        goal_low, goal_high: bounds in m of the uniformly drawn goal; empty for tasks without one.
        object_qpos0: reset values of the joints after the robot's.
        begin: where an episode begins: a reset pose `[nq]`, noise included, and a generator to what replaces it; for
            tasks in which the robot begins elsewhere.
        advance: stage of the episode after a step, `Measurement -> [N]`; for tasks that have stages.
        camera: the view that shows the task best.
        film_camera: the view of films, where another one shows the whole of an episode; empty takes `camera`.
        robot: which one stands in the scene.
    """

    scene: str
    reward: Callable[[Measurement], Array] = field(repr=False)
    terminated: Callable[[Measurement], NDArray[np.bool_]] = field(repr=False)
    succeeded: Callable[[Measurement], NDArray[np.bool_]] = field(default=_not_done, repr=False)
    observe: Callable[[Measurement], Mapping[str, Array]] = field(default=_robot_state, repr=False)
    goal_low: tuple[float, ...] = ()
    goal_high: tuple[float, ...] = ()
    object_qpos0: tuple[float, ...] = ()
    begin: Callable[[Array, np.random.Generator], Array] | None = field(default=None, repr=False)
    advance: Callable[[Measurement], NDArray[np.int64]] = field(default=_same_stage, repr=False)
    camera: str = "follow"
    film_camera: str = ""
    robot: RobotSpec = field(default=H1, repr=False, compare=False)

    @cached_property
    def goal_size(self) -> int:
        """Length G of the goal."""
        return len(self.goal_low)

    def rewarded(self, measured: Measurement) -> tuple[Array, dict[str, Array]]:
        """Reward `[N]` and its terms by name, each `[N]`; a reward that names none is a term itself."""
        if isinstance(self.reward, Reward):
            terms = dict(self.reward.terms(measured))
            return self.reward.combine(terms.values()), terms
        value = self.reward(measured)
        return value, {"reward": value}

    def observation(self, measured: Measurement) -> NDArray[np.float32]:
        """Flat observation `[N, O]`, float32."""
        parts = self.observe(measured)
        return np.concatenate([parts[name] for name in self.layout.sizes], axis=-1).astype(np.float32)
