"""The embedded suite as a TorchRL environment: N robots, one TensorDict."""

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Composite, Unbounded
from torchrl.envs import EnvBase

from mwl import keys
from mwl.errors import BadInput, PhysicsError
from mwl.simulation.engine import Simulation
from mwl.simulation.rendering import Image, make_renderer
from mwl.simulation.robot import ACTION_SIZE, FRAME_SKIP, QPOS0, action_to_ctrl, build_model
from mwl.simulation.task import Array, Measurement, SensorIndex, Task

RESET_NOISE = 0.01  # uniform, on every entry of qpos


class HumanoidEnv(EnvBase):
    """N parallel episodes of one task, batch size `[N]`, stepped at 50 Hz.

    Observation `[N, O]`, action `[N, 19]` and reward `[N, 1]` are float32. Actions outside [-1, 1] act like the
    nearest bound, as the servos clamp their targets; one that is not finite raises `PhysicsError`, a wrong shape
    `BadInput`. `terminated` is a true end (a fall, or physics that broke), `truncated` the time limit.
    Every environment draws from a generator of its own, seeded by (seed, its index), so that episodes depend neither on
    N nor on the number of threads.

    Args:
        task: what to do.
        num_envs: N.
        seed: seed of resets and goals.
        num_threads: threads of the physics; None takes one per core.
    """

    def __init__(self, task: Task, num_envs: int = 1, seed: int = 0, num_threads: int | None = None) -> None:
        super().__init__(device="cpu", batch_size=[num_envs])
        self.task = task
        self.model = build_model(task)
        self.simulation = Simulation(self.model, num_envs, FRAME_SKIP, num_threads)
        self.unstable_episodes = 0
        self._index = SensorIndex(self.model)
        self._qpos0 = np.concatenate([QPOS0, task.object_qpos0])
        self._goal = np.zeros((num_envs, task.goal_size))
        self._progress = np.zeros(num_envs, dtype=np.int64)
        self._steps = np.zeros(num_envs, dtype=np.int64)
        self._restored = False
        self._drawn: mujoco.MjData | None = None
        self._make_specs(num_envs)
        self._set_seed(seed)

    def _make_specs(self, num_envs: int) -> None:
        flag = {"shape": (num_envs, 1), "dtype": torch.bool}
        self.observation_spec = Composite(
            {
                keys.OBSERVATION: Unbounded(shape=(num_envs, self.task.layout.size), dtype=torch.float32),
                keys.STEP_COUNT: Unbounded(shape=(num_envs, 1), dtype=torch.int64),
            },
            shape=(num_envs,),
        )
        self.action_spec = Bounded(-1.0, 1.0, shape=(num_envs, ACTION_SIZE), dtype=torch.float32)
        self.reward_spec = Unbounded(shape=(num_envs, 1), dtype=torch.float32)
        self.done_spec = Composite(
            {key: Binary(n=1, **flag) for key in (keys.DONE, keys.TERMINATED, keys.TRUNCATED)}, shape=(num_envs,)
        )

    @property
    def num_envs(self) -> int:
        """N."""
        return self.batch_size[0]

    @property
    def measurement(self) -> Measurement:
        """Everything measured in the present state."""
        simulation = self.simulation
        return Measurement(
            simulation.qpos, simulation.qvel, simulation.sensordata, self._goal, self._progress, self._index
        )

    @property
    def state(self) -> tuple[Tensor, Tensor]:
        """Copies of qpos `[N, nq]` and qvel `[N, nv]`, float64."""
        return torch.tensor(self.simulation.qpos), torch.tensor(self.simulation.qvel)

    def set_state(
        self, qpos: ArrayLike, qvel: ArrayLike, warmstart: ArrayLike | None = None, goal: ArrayLike | None = None
    ) -> TensorDict:
        """Put all environments into given states at step 0 of an episode; returns what a reset would.

        Args:
            qpos: `[N, nq]`.
            qvel: `[N, nv]`.
            warmstart: `[N, nv]` accelerations from which the solver starts; None starts from zero.
            goal: `[N, G]` in m, world frame; None keeps the present goals.

        Raises:
            BadInput: a shape doesn't fit, or a value is not finite.
        """
        everywhere = np.ones(self.num_envs, dtype=bool)
        if goal is not None:
            self._goal = self._checked("goal", goal, self.task.goal_size)
        start = None if warmstart is None else self._checked("warmstart", warmstart, self.model.nv)
        positions, velocities = (
            self._checked("qpos", qpos, self.model.nq),
            self._checked("qvel", qvel, self.model.nv),
        )
        self.simulation.reset(everywhere, positions, velocities, start)
        self._steps[:] = 0
        self._progress[:] = 0
        return self._observed()

    def render(
        self,
        index: int = 0,
        width: int = 480,
        height: int = 320,
        camera: str | None = None,
        backend: str | None = None,
    ) -> Image:
        """Picture `[H, W, 3]` of one environment.

        Args:
            index: which environment.
            width, height: in pixels.
            camera: `follow`, `side`, `head` (what the robot sees) or one of the scene; None takes the task's own.
            backend: `raycast`, `egl`, `osmesa`, or None for what `MWL_RENDERER` says (`raycast` unless set).

        Raises:
            BadInput: no such camera.
        """
        cameras = [self.model.camera(i).name for i in range(self.model.ncam)]
        camera = camera or self.task.camera
        if camera not in cameras:
            raise BadInput(f"no camera {camera!r}; cameras: {', '.join(cameras)}")
        if self._drawn is None:
            self._drawn = mujoco.MjData(self.model)
        self._drawn.qpos[:] = self.simulation.qpos[index]
        if self.model.nmocap:
            self._drawn.mocap_pos[0] = self._goal[index]
        mujoco.mj_kinematics(self.model, self._drawn)
        mujoco.mj_comPos(self.model, self._drawn)  # the cameras follow the centre of mass
        mujoco.mj_camlight(self.model, self._drawn)
        return make_renderer(self.model, width, height, backend).render(self._drawn, camera)

    def snapshot(self) -> dict[str, Any]:
        """Everything that decides how the episodes go on, as plain tensors, numbers and lists."""
        return {
            **{name: torch.tensor(array) for name, array in self.simulation.snapshot().items()},
            "goal": torch.tensor(self._goal),
            "progress": torch.tensor(self._progress),
            "steps": torch.tensor(self._steps),
            "generators": [generator.bit_generator.state for generator in self._generators],
            "unstable_episodes": self.unstable_episodes,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot: the next full reset returns its states instead of beginning new episodes.

        Raises:
            BadInput: it was taken of another number of environments or of another task's model.
        """
        arrays = {name: snapshot[name].numpy() for name in self.simulation.snapshot()}
        if any(arrays[name].shape != array.shape for name, array in self.simulation.snapshot().items()):
            raise BadInput(f"{self.task.name}: the snapshot is of another model or not of {self.num_envs} environments")
        self.simulation.restore(arrays)
        self._goal = snapshot["goal"].numpy().copy()
        self._progress = snapshot["progress"].numpy().copy()
        self._steps = snapshot["steps"].numpy().copy()
        for generator, state in zip(self._generators, snapshot["generators"], strict=True):
            generator.bit_generator.state = state
        self.unstable_episodes = int(snapshot["unstable_episodes"])
        self._restored = True

    def _checked(self, name: str, value: ArrayLike, width: int) -> Array:
        array = np.asarray(value, dtype=np.float64)
        expected = (self.num_envs, width)
        if array.shape != expected:
            raise BadInput(f"{name} has shape {list(array.shape)}, expected {list(expected)}")
        if not np.isfinite(array).all():
            raise BadInput(f"{name} holds values that are not finite")
        return array

    def _set_seed(self, seed: int | None) -> None:
        self._generators = [np.random.default_rng([seed or 0, i]) for i in range(self.num_envs)]

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDict:
        mask = np.ones(self.num_envs, dtype=bool)
        if tensordict is not None and (chosen := tensordict.get("_reset", None)) is not None:
            mask = chosen.reshape(self.num_envs).numpy()
        if self._restored and mask.all():
            self._restored = False
            return self._observed()
        qpos = np.zeros((self.num_envs, self.model.nq))
        for i in np.flatnonzero(mask):
            generator = self._generators[i]
            qpos[i] = self._qpos0 + generator.uniform(-RESET_NOISE, RESET_NOISE, self.model.nq)
            self._goal[i] = generator.uniform(self.task.goal_low, self.task.goal_high)
        self.simulation.reset(mask, qpos, np.zeros((self.num_envs, self.model.nv)))
        self._steps[mask] = 0
        self._progress[mask] = 0
        return self._observed()

    def _observed(self) -> TensorDict:
        entries: dict[str, Tensor] = {
            keys.OBSERVATION: torch.from_numpy(self.task.observation(self.measurement)),
            keys.STEP_COUNT: torch.from_numpy(self._steps.copy()).unsqueeze(-1),
        }
        for key in (keys.DONE, keys.TERMINATED, keys.TRUNCATED):
            entries[key] = torch.zeros(self.num_envs, 1, dtype=torch.bool)
        return TensorDict(entries, batch_size=self.batch_size)

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        self.simulation.step(action_to_ctrl(self._valid(tensordict.get(keys.ACTION))))
        self._steps += 1
        measured = self.measurement
        unstable = self.simulation.unstable
        self.unstable_episodes += int(unstable.sum())
        reward = np.where(unstable, 0.0, self.task.reward(measured))
        terminated = self.task.terminated(measured) | unstable
        truncated = ~terminated & (self._steps >= self.task.max_episode_steps)
        self._progress = self.task.advance(measured)
        out = self._observed()
        out[keys.REWARD] = torch.from_numpy(reward.astype(np.float32)).unsqueeze(-1)
        out[keys.TERMINATED] = torch.from_numpy(terminated).unsqueeze(-1)
        out[keys.TRUNCATED] = torch.from_numpy(truncated).unsqueeze(-1)
        out[keys.DONE] = out[keys.TERMINATED] | out[keys.TRUNCATED]
        return out

    def _valid(self, action: Tensor) -> NDArray[Any]:
        expected = (self.num_envs, ACTION_SIZE)
        if tuple(action.shape) != expected:
            raise BadInput(f"{self.task.name}: the action has shape {list(action.shape)}, expected {list(expected)}")
        values = action.detach().cpu().numpy()
        finite = np.isfinite(values).all(axis=-1)
        if not finite.all():
            where = np.flatnonzero(~finite).tolist()
            raise PhysicsError(f"{self.task.name}: the action is not finite in environments {where}")
        return values
