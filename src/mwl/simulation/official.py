"""The official HumanoidBench behind this package's interface: N of its environments, stepped one after the other."""

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from mwl.core.errors import BadInput, UnknownTask
from mwl.core.files import shown
from mwl.simulation.compatibility import import_humanoid_bench
from mwl.simulation.rendering.renderer import Image, make_renderer
from mwl.simulation.task import Array, Measurement, ObservationLayout, SensorIndex, TaskSpec
from mwl.simulation.tasks import TASKS
from mwl.simulation.world import Mask, Outcome, World

_SITES = {"head_position": "head", "left_hand_position": "left_hand", "right_hand_position": "right_hand"}
_CAMERA = "cam_default"


class OfficialWorld(World):
    """N environments of one id of the official package, `<robot>-<task>`, for example `h1hand-push`.

    Each environment is seeded by a generator of (seed, its index). The package draws goals from numpy's global
    generator; it is seeded for each reset and put back afterwards, so that goals are reproducible here.

    Args:
        task: name, `<robot>-<task>`.
        num_envs: N.
        seed: seed of resets and goals; None takes one from the system.

    Raises:
        MissingDependency: the package isn't installed.
        UnknownTask: it has no such robot or task, or no scene for that pair.
    """

    def __init__(self, task: str, num_envs: int, seed: int | None = 0) -> None:
        self.num_envs = num_envs
        self._envs = [make_official(task) for _ in range(num_envs)]
        first = self._envs[0]
        self.model = first.model
        self.action_size = int(first.action_space.shape[0])
        self.task = _spec(task, first)
        self.steps = np.zeros(num_envs, dtype=np.int64)
        self._sites = {name: site for name, site in _SITES.items() if _has_site(self.model, site)}
        sizes = {"actuator_force": self.model.nu, **dict.fromkeys(self._sites, 3)}
        self._index = SensorIndex.of_sizes(**sizes)
        self._drawn: mujoco.MjData | None = None
        self.seed(seed)

    def __reduce__(self) -> tuple[Any, ...]:
        return OfficialWorld, (self.task.name, self.num_envs), self.snapshot()

    def __setstate__(self, snapshot: Mapping[str, Any]) -> None:
        self.restore(snapshot)

    def reset(self, mask: Mask) -> None:
        kept = np.random.get_state()  # noqa: NPY002  # the package uses the global generator
        for i in np.flatnonzero(mask):
            seed = int(self._generators[i].integers(2**31))
            np.random.seed(seed)  # noqa: NPY002
            self._envs[i].reset(seed=seed)
            self.steps[i] = 0
        np.random.set_state(kept)  # noqa: NPY002

    def step(self, action: NDArray[Any]) -> Outcome:
        reward = np.zeros(self.num_envs)
        terminated, unstable, succeeded = (np.zeros(self.num_envs, dtype=bool) for _ in range(3))
        for i, env in enumerate(self._envs):
            before = env.data.time
            _, reward[i], terminated[i], _, info = env.step(np.clip(action[i], -1, 1).astype(np.float32))
            succeeded[i] = bool(info.get("success", False))
            unstable[i] = env.data.time <= before or not np.isfinite(reward[i])  # MuJoCo restarts what diverged
        self.steps += 1
        self.unstable_episodes += int(unstable.sum())
        terminated |= unstable
        truncated = ~terminated & (self.steps >= self.task.max_episode_steps)
        reward[unstable] = 0.0
        return Outcome(reward, terminated, truncated, succeeded & ~unstable, {"reward": reward})

    def observation(self) -> NDArray[np.float32]:
        return np.stack([env.task.get_obs() for env in self._envs]).astype(np.float32)

    @property
    def measurement(self) -> Measurement:
        qpos, qvel = self.state
        sensors = [self._sensors(env.data) for env in self._envs]
        progress = np.zeros(self.num_envs, dtype=np.int64)
        return Measurement(qpos, qvel, np.stack(sensors), self._goals(), progress, self._index)

    def _sensors(self, data: mujoco.MjData) -> Array:
        return np.concatenate([data.actuator_force, *(data.site(site).xpos for site in self._sites.values())])

    def _goals(self) -> Array:
        goals = [np.ravel(getattr(env.task, "goal", ())) for env in self._envs]
        return np.asarray(goals, dtype=np.float64)

    @property
    def state(self) -> tuple[Array, Array]:
        return np.stack([env.data.qpos for env in self._envs]), np.stack([env.data.qvel for env in self._envs])

    def set_state(self, qpos: Array, qvel: Array, warmstart: Array | None, goal: Array | None) -> None:
        for i, env in enumerate(self._envs):
            if goal is not None and goal.size:
                env.task.goal = goal[i].copy()
            env.data.time = 0.0
            env.set_state(qpos[i], qvel[i])
            env.data.qacc_warmstart[:] = 0.0 if warmstart is None else warmstart[i]
        self.steps[:] = 0

    def snapshot(self) -> dict[str, Any]:
        """State, goals and generators; what a task of the package counts beside that (stages) is not part of it."""
        qpos, qvel = self.state
        return {
            "qpos": qpos,
            "qvel": qvel,
            "warmstart": np.stack([env.data.qacc_warmstart for env in self._envs]),
            "goal": self._goals(),
            "steps": self.steps.copy(),
            "generators": [generator.bit_generator.state for generator in self._generators],
            "unstable_episodes": self.unstable_episodes,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        if snapshot["qpos"].shape != (self.num_envs, self.model.nq):
            raise BadInput(f"{self.task.name}: the snapshot is of another model or not of {self.num_envs} environments")
        self.reset(np.ones(self.num_envs, dtype=bool))
        self.set_state(snapshot["qpos"], snapshot["qvel"], snapshot["warmstart"], snapshot["goal"])
        self.steps = snapshot["steps"].copy()
        for generator, state in zip(self._generators, snapshot["generators"], strict=True):
            generator.bit_generator.state = state
        self.unstable_episodes = int(snapshot["unstable_episodes"])

    def render(self, index: int, width: int, height: int, camera: str | None, backend: str | None) -> Image:
        camera = camera or _CAMERA
        cameras = [self.model.camera(i).name for i in range(self.model.ncam)]
        if camera not in cameras:
            raise BadInput(f"no camera {shown(camera)}; cameras: {', '.join(cameras)}")
        if self._drawn is None:
            self._drawn = mujoco.MjData(self.model)
        self._drawn.qpos[:] = self._envs[index].data.qpos
        mujoco.mj_fwdPosition(self.model, self._drawn)
        return make_renderer(self.model, width, height, backend).render(self._drawn, camera)


def make_official(task: str) -> Any:
    """One environment of the package, without the wrappers and the OpenGL context that `gymnasium.make` would add."""
    official = import_humanoid_bench()
    robot, _, name = task.partition("-")
    if robot not in official.ROBOTS or name not in official.TASKS:
        robots, tasks = ", ".join(official.ROBOTS), ", ".join(official.TASKS)
        raise UnknownTask(f"no task {shown(task)} in HumanoidBench; robots: {robots}; tasks: {tasks}")
    control = "torque" if robot == "g1" else "pos"
    kwargs = dict(official.TASKS[name]().kwargs)
    try:
        return official.HumanoidEnv(robot=robot, control=control, task=name, render_mode=None, **kwargs)
    except OSError as error:
        raise UnknownTask(f"HumanoidBench has no scene for {shown(task)} ({error})") from error


def _spec(name: str, env: Any) -> TaskSpec:
    size = int(env.observation_space.shape[0])
    embedded = TASKS.get(name)
    if embedded is not None and embedded.layout.size == size:
        return embedded
    verb = name.partition("-")[2].replace("_", " ")
    return TaskSpec(
        name=name,
        instruction=embedded.instruction if embedded else verb,
        description=f"HumanoidBench's task {name}.",
        success_bar=float(getattr(env.task, "success_bar", np.nan)),
        layout=ObservationLayout(observation=size),
        max_episode_steps=int(env.task.max_episode_steps),
    )


def _has_site(model: mujoco.MjModel, name: str) -> bool:
    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, name) >= 0
