"""Any suite as a TorchRL environment: N robots, one TensorDict."""

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
import torch
from numpy.typing import ArrayLike
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Composite, Unbounded
from torchrl.envs import EnvBase

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.simulation.embedded import EmbeddedWorld
from mwl.simulation.engine import Simulation
from mwl.simulation.rendering.renderer import Image
from mwl.simulation.task import Measurement, TaskSpec
from mwl.simulation.world import World


class HumanoidEnv(EnvBase):
    """N parallel episodes of one task, batch size `[N]`, stepped at 50 Hz.

    Observation `[N, O]`, action `[N, A]` and reward `[N, 1]` are float32. Actions outside [-1, 1] act like the nearest
    bound, as the servos clamp their targets; one that is not finite raises `PhysicsError`, a wrong shape `BadInput`.
    `terminated` is a true end (a fall, a task done, or physics that broke), `truncated` the time limit. A copy
    (`copy.deepcopy`, `pickle`) goes on from the same state and the same generators. In the embedded suite every
    environment draws from a generator of its own, seeded by (seed, its index), so that episodes depend neither on N nor
    on the number of threads.

    Args:
        world: the episodes themselves.

    Attributes:
        succeeded: `[N]` bool, where the last step found the task done; an episode that ends so ends in no fall.
    """

    def __init__(self, world: World) -> None:
        super().__init__(device="cpu", batch_size=[world.num_envs])
        self.world = world
        self.succeeded = np.zeros(world.num_envs, dtype=bool)
        self._restored = False
        self._make_specs(world.num_envs)

    def _make_specs(self, num_envs: int) -> None:
        flag = {"shape": (num_envs, 1), "dtype": torch.bool}
        self.observation_spec = Composite(
            {
                keys.OBSERVATION: Unbounded(shape=(num_envs, self.task.layout.size), dtype=torch.float32),
                keys.STEP_COUNT: Unbounded(shape=(num_envs, 1), dtype=torch.int64),
            },
            shape=(num_envs,),
        )
        self.action_spec = Bounded(-1.0, 1.0, shape=(num_envs, self.world.action_size), dtype=torch.float32)
        self.reward_spec = Unbounded(shape=(num_envs, 1), dtype=torch.float32)
        self.done_spec = Composite(
            {key: Binary(n=1, **flag) for key in (keys.DONE, keys.TERMINATED, keys.TRUNCATED)}, shape=(num_envs,)
        )

    def __repr__(self) -> str:
        return f"HumanoidEnv({self.task.name!r}, num_envs={self.num_envs})"

    @property
    def task(self) -> TaskSpec:
        """What to do."""
        return self.world.task

    @property
    def model(self) -> mujoco.MjModel:
        """The compiled model."""
        return self.world.model

    @property
    def simulation(self) -> Simulation:
        """The batched physics of the embedded suite; other suites have none."""
        assert isinstance(self.world, EmbeddedWorld)
        return self.world.simulation

    @property
    def num_envs(self) -> int:
        """N."""
        return self.world.num_envs

    @property
    def unstable_episodes(self) -> int:
        """Episodes that ended because their physics broke."""
        return self.world.unstable_episodes

    @property
    def measurement(self) -> Measurement:
        """Everything measured in the present state."""
        return self.world.measurement

    @property
    def state(self) -> tuple[Tensor, Tensor]:
        """Copies of qpos `[N, nq]` and qvel `[N, nv]`, float64."""
        qpos, qvel = self.world.state
        return torch.from_numpy(qpos), torch.from_numpy(qvel)

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
        valid, model = self.world.valid_state, self.model
        self.world.set_state(
            valid("qpos", qpos, model.nq),
            valid("qvel", qvel, model.nv),
            None if warmstart is None else valid("warmstart", warmstart, model.nv),
            None if goal is None else valid("goal", goal, self.world.measurement.goal.shape[1]),
        )
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
            backend: `raycast`, `egl`, `osmesa`, or None for what `MWL_RENDERER` or `MUJOCO_GL` says, else `raycast`.

        Raises:
            BadInput: no such environment, camera or backend, or a picture without pixels or with too many.
        """
        if not 0 <= index < self.num_envs:
            raise BadInput(f"there is no environment {index}; there are {self.num_envs}, counted from 0")
        return self.world.render(index, width, height, camera, backend)

    def snapshot(self) -> dict[str, Any]:
        """Everything that decides how the episodes go on, as plain tensors, numbers and lists."""
        return {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in self.world.snapshot().items()
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot: the next full reset returns its states instead of beginning new episodes.

        Raises:
            BadInput: it was taken of another number of environments or of another task's model.
        """
        self.world.restore(
            {name: value.numpy() if isinstance(value, Tensor) else value for name, value in snapshot.items()}
        )
        self._restored = True

    def draw_like(self, models: Sequence[int]) -> None:
        """Let environment i draw starts and goals as environment `models[i]` does, until `draw_apart`.

        What differs between environments that draw alike is then how they are acted in.

        Raises:
            BadInput: not one index in [0, N) per environment.
        """
        if len(models) != self.num_envs or not all(0 <= model < self.num_envs for model in models):
            raise BadInput(f"draw_like needs {self.num_envs} indices of environments, not {list(models)}")
        self.world.draw_like(models)

    def draw_apart(self) -> None:
        """Let environments that drew alike draw independently from now on."""
        self.world.draw_apart()

    def _set_seed(self, seed: int | None) -> None:
        self.world.seed(seed)

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDict:
        mask = np.ones(self.num_envs, dtype=bool)
        if tensordict is not None and (chosen := tensordict.get("_reset", None)) is not None:
            mask = chosen.reshape(self.num_envs).numpy()
        if self._restored and mask.all():
            self._restored = False
        else:
            self.world.reset(mask)
        return self._observed()

    def maybe_reset(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Begin new episodes where one is done: what TorchRL's own method does, without its detour through `reset`."""
        done = tensordict.get(keys.DONE).reshape(self.num_envs)
        if done.any():
            self.world.reset(done.numpy())
            tensordict.update(self._observed())
        return tensordict

    def _observed(self, **more: Tensor) -> TensorDict:
        entries = {
            keys.OBSERVATION: torch.from_numpy(self.world.observation()),
            keys.STEP_COUNT: torch.from_numpy(self.world.steps[:, None].copy()),
            **{key: torch.zeros(self.num_envs, 1, dtype=torch.bool) for key in _FLAGS if key not in more},
            **more,
        }
        return TensorDict(entries, batch_size=self.batch_size, device=self.device)

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        action = tensordict.get(keys.ACTION).detach().cpu().numpy()
        outcome = self.world.step(self.world.valid_action(action))
        self.succeeded = outcome.succeeded
        terminated, truncated = outcome.terminated[:, None], outcome.truncated[:, None]
        return self._observed(
            **{
                keys.REWARD: torch.from_numpy(outcome.reward[:, None].astype(np.float32)),
                keys.TERMINATED: torch.from_numpy(terminated),
                keys.TRUNCATED: torch.from_numpy(truncated),
                keys.DONE: torch.from_numpy(terminated | truncated),
            }
        )


_FLAGS = (keys.DONE, keys.TERMINATED, keys.TRUNCATED)
