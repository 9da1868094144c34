"""What every suite offers: N parallel episodes of one task, in plain numpy. Environments of any library wrap this."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mwl.core.errors import BadInput, PhysicsError
from mwl.core.files import shown
from mwl.simulation.rendering.renderer import Image
from mwl.simulation.task import Array, Measurement, TaskSpec

Mask = NDArray[np.bool_]
MAX_SEED = 2**63 - 1  # what torch and numpy both take


@dataclass(frozen=True)
class Outcome:
    """What a control step brought, besides the state: arrays over N environments.

    Args:
        reward: `[N]` float64.
        terminated: `[N]`, a true end: a fall, a task done, or physics that broke.
        truncated: `[N]`, the time limit.
        succeeded: `[N]`, the task is done; where it ends the episode, that was no fall.
        terms: what the reward is made of, by name, each `[N]`.
    """

    reward: Array
    terminated: Mask
    truncated: Mask
    succeeded: Mask
    terms: Mapping[str, Array]


def valid_seed(seed: int) -> int:
    """The seed itself, as an int.

    Raises:
        BadInput: it is no whole number from 0 to 2**63 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= MAX_SEED:
        raise BadInput(f"the seed is {shown(seed)}; it must be a whole number from 0 to {MAX_SEED}")
    return int(seed)


class World(ABC):
    """N parallel episodes of one task, stepped at 50 Hz.

    A copy (`copy.deepcopy`, `pickle`) is made anew from the task and goes on from the same snapshot, so it steps as the
    original does.

    Attributes:
        task: what to do.
        model: the compiled model.
        num_envs: N.
        action_size: A.
        steps: `[N]` control steps since each episode began.
        unstable_episodes: episodes that ended because their physics broke.
    """

    task: TaskSpec
    model: mujoco.MjModel
    num_envs: int
    action_size: int
    steps: NDArray[np.int64]
    unstable_episodes: int = 0
    _generators: list[np.random.Generator]

    def seed(self, seed: int | None) -> None:
        """Start the generators of resets and goals anew; environment i draws from that of (seed, i).

        Args:
            seed: None takes one from the system, another each time.

        Raises:
            BadInput: it is no whole number from 0 to 2**63 - 1.
        """
        root = secrets.randbits(63) if seed is None else valid_seed(seed)
        self._generators = [np.random.default_rng([root, i]) for i in range(self.num_envs)]

    def draw_like(self, models: Sequence[int]) -> None:
        """Let environment i draw as environment `models[i]` does, until `draw_apart`.

        Environments that drew alike before and have different models from now on draw apart.
        """
        states = [generator.bit_generator.state for generator in self._generators]
        if any(state in states[:i] for i, state in enumerate(states)):
            self.draw_apart()
            states = [generator.bit_generator.state for generator in self._generators]
        for generator, model in zip(self._generators, models, strict=True):
            generator.bit_generator.state = states[model]

    def draw_apart(self) -> None:
        """Let environments that drew alike draw independently from now on."""
        for apart, generator in enumerate(self._generators, start=1):
            bits = generator.bit_generator
            assert isinstance(bits, np.random.PCG64)
            bits.state = bits.jumped(apart).state  # farther on in the sequence than others will ever get

    @abstractmethod
    def reset(self, mask: Mask) -> None:
        """Begin new episodes where `mask [N]` is set."""

    @abstractmethod
    def step(self, action: NDArray[Any]) -> Outcome:
        """Advance by 20 ms under actions `[N, A]`, already checked; outside [-1, 1] they act like the nearest bound."""

    @abstractmethod
    def observation(self) -> NDArray[np.float32]:
        """What the task shows `[N, O]`."""

    @property
    @abstractmethod
    def measurement(self) -> Measurement:
        """Everything measured in the present state."""

    @property
    @abstractmethod
    def state(self) -> tuple[Array, Array]:
        """Copies of qpos `[N, nq]` and qvel `[N, nv]`."""

    @abstractmethod
    def set_state(self, qpos: Array, qvel: Array, warmstart: Array | None, goal: Array | None) -> None:
        """Put all environments into given states at step 0 of an episode."""

    @abstractmethod
    def snapshot(self) -> dict[str, Any]:
        """All that decides how the episodes go on, as arrays, numbers and lists."""

    @abstractmethod
    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from what `snapshot` returned."""

    @abstractmethod
    def render(self, index: int, width: int, height: int, camera: str | None, backend: str | None) -> Image:
        """Picture `[H, W, 3]` of one environment."""

    def valid_action(self, action: NDArray[Any]) -> NDArray[Any]:
        """The action itself.

        Raises:
            BadInput: it is not of shape `[N, A]`.
            PhysicsError: it holds values that are not finite.
        """
        expected = (self.num_envs, self.action_size)
        if action.shape != expected:
            raise BadInput(f"{self.task.name}: the action has shape {list(action.shape)}, expected {list(expected)}")
        finite = np.isfinite(action).all(axis=-1)
        if not finite.all():
            where = np.flatnonzero(~finite).tolist()
            raise PhysicsError(f"{self.task.name}: the action is not finite in environments {where}")
        return action

    def valid_state(self, name: str, value: ArrayLike, width: int) -> Array:
        """The value as a finite float64 array of shape `[N, width]`.

        Raises:
            BadInput: it isn't.
        """
        array = np.asarray(value, dtype=np.float64)
        expected = (self.num_envs, width)
        if array.shape != expected:
            raise BadInput(f"{name} has shape {list(array.shape)}, expected {list(expected)}")
        if not np.isfinite(array).all():
            raise BadInput(f"{name} holds values that are not finite")
        return array
