"""Any suite as gymnasium environments: one robot, or N in one vector environment on the batched physics."""

from collections.abc import Mapping
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from mwl.core.errors import BadInput
from mwl.core.files import shown
from mwl.simulation.rendering.renderer import Image
from mwl.simulation.suites import Suite, make_world
from mwl.simulation.task import TaskSpec
from mwl.simulation.world import World, valid_seed

Observation = NDArray[np.float32]
Action = NDArray[np.float32]


def _spaces(world: World) -> tuple[Space[Observation], Space[Action]]:
    observation = Box(-np.inf, np.inf, (world.task.layout.size,), np.float32)
    action = Box(-1.0, 1.0, (world.action_size,), np.float32)
    return cast(Space[Observation], observation), cast(Space[Action], action)


def _check_mode(render_mode: str | None) -> str | None:
    if render_mode not in (None, "rgb_array"):
        raise BadInput(f"render_mode is {shown(render_mode)}; it may be None or 'rgb_array'")
    return render_mode


class _Score:
    """Returns of the episodes so far, and the `info` of a step.

    `success` says whether the return has reached the task's bar, or the task was done and ended; `is_success` is the
    same under the name that stable-baselines3 looks for.
    """

    def __init__(self, world: World) -> None:
        self._bar, self._returns = world.task.success_bar, np.zeros(world.num_envs)
        self._done = np.zeros(world.num_envs, dtype=bool)

    def begin(self, mask: NDArray[np.bool_]) -> None:
        self._returns[mask] = 0.0
        self._done[mask] = False

    def add(self, reward: NDArray[Any], done: NDArray[np.bool_]) -> None:
        self._returns += reward
        self._done |= done

    @property
    def success(self) -> NDArray[np.bool_]:
        return (self._returns >= self._bar) | self._done


class HumanoidGymEnv(gymnasium.Env[Observation, Action]):
    """One episode of a task; observation `[O]` and action `[A]` in [-1, 1], float32.

    Unlike gymnasium's wrappers, the environment counts its steps itself and truncates at the task's limit. Until a
    reset names a seed, episodes are random. `info` holds `success`, whether the return so far has reached the task's
    bar, the same as `is_success`, and `terms`: what the latest reward is the product or the sum of, by name (see
    `mwl.simulation.task.Reward`). A copy (`copy.deepcopy`, `pickle`) steps on as the original does.

    Args:
        task: name, for example `h1-walk`, or the task itself.
        suite: `embedded` or `humanoid_bench`.
        render_mode: None or `rgb_array`.
        width, height: of pictures, in pixels.
        camera: which view is drawn; None takes the task's own.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012  # gymnasium's form

    def __init__(
        self,
        task: str | TaskSpec,
        suite: Suite = "embedded",
        render_mode: str | None = None,
        width: int = 480,
        height: int = 320,
        camera: str | None = None,
    ) -> None:
        self.world = make_world(task, 1, suite, seed=None, num_threads=1)
        self._score = _Score(self.world)
        self.render_mode = _check_mode(render_mode)
        self._picture = (width, height, camera)
        self.observation_space, self.action_space = _spaces(self.world)

    @property
    def task(self) -> TaskSpec:
        """What to do."""
        return self.world.task

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; with a seed, begin the sequence of episodes of that seed."""
        super().reset(seed=None if seed is None else valid_seed(seed))
        if seed is not None:
            self.world.seed(seed)
        begin = np.ones(1, dtype=bool)
        self.world.reset(begin)
        self._score.begin(begin)
        return self.world.observation()[0], self._info({})

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Advance by 20 ms.

        Raises:
            BadInput: the action has another shape.
            PhysicsError: the action is not finite.
        """
        outcome = self.world.step(self.world.valid_action(np.asarray(action)[None]))
        self._score.add(outcome.reward, outcome.terminated & outcome.succeeded)
        return (
            self.world.observation()[0],
            float(outcome.reward[0]),
            bool(outcome.terminated[0]),
            bool(outcome.truncated[0]),
            self._info(outcome.terms),
        )

    def _info(self, terms: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        success = bool(self._score.success[0])
        told = {name: float(value[0]) for name, value in terms.items()}
        return {"success": success, "is_success": success, "terms": told}

    def render(self) -> Image | None:  # type: ignore[override]
        """Picture `[H, W, 3]`, or None without a render mode."""
        if self.render_mode is None:
            return None
        width, height, camera = self._picture
        return self.world.render(0, width, height, camera, None)


class HumanoidVectorEnv(VectorEnv[Observation, Action, NDArray[Any]]):
    """N episodes of a task stepped together; an episode that ended begins anew in the following step.

    Randomness, `info` (as arrays `[N]`) and copies are those of `HumanoidGymEnv`.

    Args:
        task: name, for example `h1-walk`, or the task itself.
        num_envs: N.
        suite: `embedded` or `humanoid_bench`.
        num_threads: threads of the physics; None takes one per core.
        render_mode: None or `rgb_array`.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  # gymnasium's form
        "render_modes": ["rgb_array"],
        "render_fps": 50,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        task: str | TaskSpec,
        num_envs: int = 1,
        suite: Suite = "embedded",
        num_threads: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.world = make_world(task, num_envs, suite, seed=None, num_threads=num_threads)
        self._score = _Score(self.world)
        self.num_envs, self.render_mode = num_envs, _check_mode(render_mode)
        self.single_observation_space, self.single_action_space = _spaces(self.world)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._ended = np.zeros(num_envs, dtype=bool)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode everywhere; environment i draws from the generator of (seed, i)."""
        if seed is not None:
            self.world.seed(seed)
        self._ended[:] = False
        begin = np.ones(self.num_envs, dtype=bool)
        self.world.reset(begin)
        self._score.begin(begin)
        return self.world.observation(), self._info({})

    def step(self, actions: Action) -> tuple[Observation, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Advance by 20 ms; environments whose episode had ended begin a new one instead, with reward 0."""
        outcome = self.world.step(self.world.valid_action(np.asarray(actions)))
        begin = self._ended
        if begin.any():
            self.world.reset(begin)
        reward = np.where(begin, 0.0, outcome.reward)
        terminated, truncated = outcome.terminated & ~begin, outcome.truncated & ~begin
        self._score.begin(begin)
        self._score.add(reward, terminated & outcome.succeeded)
        self._ended = terminated | truncated
        terms = {name: np.where(begin, 0.0, value) for name, value in outcome.terms.items()}
        return self.world.observation(), reward, terminated, truncated, self._info(terms)

    def _info(self, terms: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        present = np.ones(self.num_envs, dtype=bool)  # gymnasium's way to say which environments gave an entry
        success = self._score.success
        told = {"success": success, "is_success": success, "terms": dict(terms)}
        return told | {f"_{name}": present for name in told}

    def render(self) -> tuple[Image, ...] | None:  # type: ignore[override]
        """Pictures of all environments, or None without a render mode."""
        if self.render_mode is None:
            return None
        return tuple(self.world.render(i, 480, 320, None, None) for i in range(self.num_envs))
