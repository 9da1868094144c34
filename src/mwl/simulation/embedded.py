"""The embedded suite: our own model of the robot, all environments advanced in one call."""

import logging
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from mwl.core.errors import BadInput
from mwl.core.files import shown
from mwl.robot.model import build_model
from mwl.simulation.engine import Simulation
from mwl.simulation.rendering.renderer import Image, make_renderer
from mwl.simulation.shift import LateObservations, Shift, Shifts, one_each
from mwl.simulation.task import Array, Measurement, SensorIndex, Task
from mwl.simulation.tasks import SHIPPED, TASKS
from mwl.simulation.world import Mask, Outcome, World

_LOG = logging.getLogger(__name__)
RESET_NOISE = 0.01  # uniform, on every entry of qpos


class EmbeddedWorld(World):
    """N episodes on the embedded model.

    Args:
        task: what to do.
        num_envs: N.
        seed: seed of resets and goals; None takes one from the system.
        num_threads: threads of the physics; None takes one per core.
        shift: what is changed, in all environments or in each; None changes nothing.
    """

    task: Task

    def __init__(
        self,
        task: Task,
        num_envs: int,
        seed: int | None = 0,
        num_threads: int | None = None,
        shift: Shifts | None = None,
    ) -> None:
        self.task, self.num_envs, self.action_size = task, num_envs, task.robot.action_size
        self.model = build_model(task, timestep=task.robot.timestep)
        self.shifts = one_each(shift, num_envs)
        made = {each: each.applied(self.model, task.robot) for each in set(self.shifts)}
        models = [made[each] for each in self.shifts]
        self.simulation = Simulation(self.model, num_envs, task.robot.frame_skip, num_threads, models)
        delays = np.array([each.delay_steps for each in self.shifts])
        self._late = LateObservations(delays, task.layout.size) if delays.any() else None
        self.steps = np.zeros(num_envs, dtype=np.int64)
        self._index = SensorIndex(self.model)
        self._qpos0 = np.concatenate([task.robot.qpos0, task.object_qpos0])
        self._goal = np.zeros((num_envs, task.goal_size))
        self._progress = np.zeros(num_envs, dtype=np.int64)
        self._drawn: mujoco.MjData | None = None
        self.seed(seed)

    def __reduce__(self) -> tuple[Any, ...]:
        shipped = any(self.task is task for task in SHIPPED)
        task = self.task.name if shipped else self.task  # a task is functions, which pickle only by their names
        return _remade, (task, self.num_envs, self.simulation.num_threads, self.shifts), self.snapshot()

    def __setstate__(self, snapshot: Mapping[str, Any]) -> None:
        self.restore(snapshot)

    def reset(self, mask: Mask) -> None:
        qpos = np.zeros((self.num_envs, self.model.nq))
        for i in np.flatnonzero(mask):
            generator = self._generators[i]
            qpos[i] = self._qpos0 + generator.uniform(-RESET_NOISE, RESET_NOISE, self.model.nq)
            self._goal[i] = generator.uniform(self.task.goal_low, self.task.goal_high)
            if self.task.begin is not None:
                qpos[i] = self.task.begin(qpos[i], generator)
        self.simulation.reset(mask, qpos, np.zeros((self.num_envs, self.model.nv)))
        self.steps[mask] = 0
        self._progress[mask] = 0
        self._begin_seeing(mask)

    def step(self, action: NDArray[Any]) -> Outcome:
        self.simulation.step(self.task.robot.action_to_ctrl(action))
        self.steps += 1
        measured, unstable = self.measurement, self.simulation.unstable
        if unstable.any():
            self.unstable_episodes += int(unstable.sum())
            where = np.flatnonzero(unstable).tolist()
            _LOG.warning("%s: physics broke in environments %s; these episodes end here", self.task.name, where)
        reward, terms = self.task.rewarded(measured)
        terminated = self.task.terminated(measured) | unstable
        truncated = ~terminated & (self.steps >= self.task.max_episode_steps)
        self._progress = self.task.advance(measured)
        if self._late is not None:
            self._late.see(self.task.observation(self.measurement))
        reward, *values = (np.where(unstable, 0.0, value) for value in (reward, *terms.values()))
        done = self.task.succeeded(measured) & ~unstable
        return Outcome(reward, terminated, truncated, done, dict(zip(terms, values, strict=True)))

    def observation(self) -> NDArray[np.float32]:
        return self.task.observation(self.measurement) if self._late is None else self._late.shown()

    def _begin_seeing(self, mask: Mask) -> None:
        if self._late is not None:
            self._late.begin(mask, self.task.observation(self.measurement))

    @property
    def measurement(self) -> Measurement:
        physics = self.simulation
        return Measurement(physics.qpos, physics.qvel, physics.sensordata, self._goal, self._progress, self._index)

    @property
    def state(self) -> tuple[Array, Array]:
        return self.simulation.qpos.copy(), self.simulation.qvel.copy()

    def set_state(self, qpos: Array, qvel: Array, warmstart: Array | None, goal: Array | None) -> None:
        if goal is not None:
            self._goal = goal.copy()
        self.simulation.reset(np.ones(self.num_envs, dtype=bool), qpos, qvel, warmstart)
        self.steps[:] = 0
        self._progress[:] = 0
        self._begin_seeing(np.ones(self.num_envs, dtype=bool))

    def snapshot(self) -> dict[str, Any]:
        return {
            **self._arrays(),
            "goal": self._goal.copy(),
            "progress": self._progress.copy(),
            "steps": self.steps.copy(),
            "generators": [generator.bit_generator.state for generator in self._generators],
            "unstable_episodes": self.unstable_episodes,
        }

    def _arrays(self) -> dict[str, NDArray[Any]]:
        late = {} if self._late is None else {"late": self._late.history.copy()}
        return {**self.simulation.snapshot(), **late}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot.

        Raises:
            BadInput: it was taken of another number of environments, of another task's model or with other delays.
        """
        present = self._arrays()
        if any(name not in snapshot or snapshot[name].shape != array.shape for name, array in present.items()):
            raise BadInput(f"{self.task.name}: the snapshot is of another model or not of {self.num_envs} environments")
        self.simulation.restore({name: snapshot[name] for name in present})
        if self._late is not None:
            self._late.history[:] = snapshot["late"]
        self._goal, self._progress = snapshot["goal"].copy(), snapshot["progress"].copy()
        self.steps = snapshot["steps"].copy()
        for generator, state in zip(self._generators, snapshot["generators"], strict=True):
            generator.bit_generator.state = state
        self.unstable_episodes = int(snapshot["unstable_episodes"])

    def render(self, index: int, width: int, height: int, camera: str | None, backend: str | None) -> Image:
        """Picture `[H, W, 3]` of one environment.

        Raises:
            BadInput: no such camera.
        """
        camera = camera or self.task.camera
        model = build_model(self.task, visual=True)
        cameras = [model.camera(i).name for i in range(model.ncam)]
        if camera not in cameras:
            raise BadInput(f"no camera {shown(camera)}; cameras: {', '.join(cameras)}")
        if self._drawn is None:
            self._drawn = mujoco.MjData(model)
        self._drawn.qpos[:] = self.simulation.qpos[index]
        if model.nmocap:
            self._drawn.mocap_pos[0] = self._goal[index]
        mujoco.mj_kinematics(model, self._drawn)
        mujoco.mj_comPos(model, self._drawn)  # the cameras follow the centre of mass
        mujoco.mj_camlight(model, self._drawn)
        return make_renderer(model, width, height, backend).render(self._drawn, camera)


def _remade(task: Task | str, num_envs: int, num_threads: int, shifts: list[Shift]) -> EmbeddedWorld:
    return EmbeddedWorld(TASKS[task] if isinstance(task, str) else task, num_envs, 0, num_threads, shifts)
