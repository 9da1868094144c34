"""Experience as a Lightning data module: a batched environment behind a TorchRL collector, and where both stand."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import lightning.pytorch as pl
import torch
from tensordict import TensorDictBase
from torch.utils.data import DataLoader, IterableDataset
from torchrl.collectors import Collector
from torchrl.envs import EnvBase

from mwl.core import keys
from mwl.core.checkpoints import refuse_changed
from mwl.core.errors import BadInput, NonFiniteLoss, PhysicsError
from mwl.robot.h1 import RADIANS_PER_ACTION, ROBOT
from mwl.rollouts.external import ExternalEnv, is_external
from mwl.simulation import Shift, get_task, make_env

_FINITE = {
    "action": keys.ACTION,
    "observation": keys.OBSERVATION,
    "reward": (keys.NEXT, keys.REWARD),
    "observation that followed": (keys.NEXT, keys.OBSERVATION),
}


@dataclass(frozen=True)
class EnvSpec:
    """What those who learn must know of their environment."""

    task: str
    observation_size: int
    action_size: int
    episode_steps: int
    layout: dict[str, int] | None
    """Names and sizes of the observation's parts, in order; None for a plain vector."""
    unit: tuple[float, ...]
    """Action per radian, by actuator."""
    position: bool = False
    """The scene is fixed, see `mwl.world_model.observation.Observer`."""
    robot: str | None = ROBOT
    """None in an environment of another package."""


class ActingPolicy(Protocol):
    """What acts while experience is collected: a TensorDict module that can be set back."""

    def __call__(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Add an ACTION."""

    def memory(self) -> dict[str, Any]:
        """What is remembered between rounds, as plain values and tensors."""

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on where `memory` was taken."""


class Rounds(IterableDataset[int]):
    """Numbers of the rounds that are left; an interrupted training goes on counting where it stopped."""

    def __init__(self, data: "Experience") -> None:
        self.data = data

    def __len__(self) -> int:
        return self.data.total_rounds

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.data.rounds, self.data.total_rounds))


class Experience(pl.LightningDataModule):
    """Collects one round of experience at a time.

    Args:
        task: benchmark task, or an environment of another package, see `mwl.rollouts.external`.
        env_steps: environment steps of the whole training, counted over all environments.
        num_envs: parallel environments N.
        steps_per_round: steps k of every environment in a round.
        seed: of the environments.
        suite: see `mwl.make_env`.
        num_threads: threads of the physics; None takes one per core.
        shift: what is changed in the world.
    """

    spec: EnvSpec
    hold = 1  # control steps that one step of an environment takes

    def __init__(
        self,
        task: str,
        env_steps: int,
        num_envs: int,
        steps_per_round: int,
        seed: int,
        suite: Literal["embedded", "humanoid_bench"],
        num_threads: int | None,
        shift: Shift | None = None,
    ) -> None:
        super().__init__()
        self.task, self.num_envs, self.steps_per_round, self.seed = task, num_envs, steps_per_round, seed
        self.suite: Literal["embedded", "humanoid_bench"] = suite
        self.num_threads, self.shift = num_threads, shift
        self.frames_per_round = num_envs * steps_per_round
        self.total_rounds = -(-env_steps // (self.frames_per_round * self.hold))
        self.rounds = 0
        self.env: EnvBase | None = None
        self.policy: ActingPolicy | None = None
        self._owner: Collector | None = None
        self._collector: Iterator[TensorDictBase] | None = None

    @property
    def env_steps(self) -> int:
        """Control steps collected so far, those included that a fall spared the rest of a decision."""
        return self.rounds * self.frames_per_round * self.hold

    @property
    def rounds_left(self) -> int:
        """Rounds not yet collected."""
        return self.total_rounds - self.rounds

    def make_env(self) -> tuple[EnvBase, EnvSpec]:
        """The environment and its description; to be replaced for an environment outside the suites.

        Raises:
            BadInput: there is no such environment, or it is of another package and a suite or threads are chosen.
        """
        if is_external(self.task):
            return self._make_external()
        task = get_task(self.task)
        env = make_env(self.task, self.num_envs, self.suite, self.seed, self.num_threads, self.shift)
        spec = EnvSpec(
            task=task.name,
            observation_size=task.layout.size,
            action_size=env.action_spec.shape[-1],
            episode_steps=task.max_episode_steps,
            layout=dict(task.layout.sizes),
            unit=tuple(float(unit) for unit in 1 / RADIANS_PER_ACTION),
            position=task.fixed_scene,
        )
        return env, spec

    def _make_external(self) -> tuple[EnvBase, EnvSpec]:
        if self.suite != "embedded" or self.num_threads is not None or self.shift is not None:
            raise BadInput(
                f"{self.task}: data.suite, data.shift and data.num_threads are of the robot's tasks; leave them out"
            )
        env = ExternalEnv(self.task, self.num_envs, self.seed)
        size, actions, steps = env.task.layout.size, env.action_spec.shape[-1], env.task.max_episode_steps
        return env, EnvSpec(self.task, size, actions, steps, None, (1.0,) * actions, robot=None)

    def setup(self, stage: str) -> None:
        """Make the environment."""
        if self.env is None:
            self.env, self.spec = self.make_env()

    def start(self) -> None:
        """Make the collector, whose reset begins the episodes or, after a resume, goes on with the restored ones."""
        assert self.policy is not None, "say what acts before starting"
        memory = self.policy.memory()
        with torch.random.fork_rng(devices=[]):  # the collector tries the policy once to learn what it writes
            collector = Collector(
                self.env,
                self.policy,
                frames_per_batch=self.frames_per_round,
                total_frames=-1,
                auto_register_policy_transforms=False,
            )
        self.policy.recall(memory)
        self._owner, self._collector = collector, iter(collector)

    def restart(self, draws: Sequence[int] | None = None) -> None:
        """Begin new episodes everywhere.

        Args:
            draws: the environment that each draws its starts like from now on, where they can be told (`draw_like`).
        """
        assert self._owner is not None, "start before restarting"
        draw_like = getattr(self.env, "draw_like", None)
        if draws is not None and draw_like is not None:
            draw_like(draws)
        self._owner.shutdown(close_env=False)  # else it closes the environment once it is forgotten
        self.start()

    def collect(self) -> TensorDictBase:
        """One round: transitions `[N, k]`.

        Raises:
            PhysicsError: a reward or an observation is not finite.
            NonFiniteLoss: an action isn't, as the networks that chose it are broken.
        """
        assert self._collector is not None, "start before collecting"
        frames = next(self._collector)
        self._check(frames)
        self.rounds += 1
        return frames

    def _check(self, frames: TensorDictBase) -> None:
        """Refuse what would spoil all that is learned, and with it every checkpoint from now on."""
        for what, key in _FINITE.items():
            finite = torch.isfinite(frames[key]).flatten(2).all(dim=-1)
            if not finite.all():
                environment, t = torch.nonzero(~finite)[0].tolist()
                step = int(frames[keys.STEP_COUNT][environment, t])
                error = NonFiniteLoss if key == keys.ACTION else PhysicsError
                raise error(
                    f"{self.spec.task}: the {what} of environment {environment} is not finite at step {step} of its "
                    f"episode, after {self.env_steps} environment steps; nothing of it was kept: --resume goes on from "
                    "the last checkpoint"
                )

    def train_dataloader(self) -> DataLoader[int]:
        """The rounds that are left."""
        return DataLoader(Rounds(self), batch_size=None)

    def state_dict(self) -> dict[str, Any]:
        """Environment and policy, as plain values and tensors."""
        if self.policy is None:
            return {}
        snapshot = getattr(self.env, "snapshot", None)
        return {
            "settings": self.settings(),
            "rounds": self.rounds,
            "behaviour": self.policy.memory(),
            "environment": None if snapshot is None else snapshot(),
        }

    def check_resumable(self, state_dict: Mapping[str, Any]) -> None:
        """Refuse to go on from a state of another training.

        Raises:
            BadInput: it was taken of other environments, or more steps are done than are asked for.
        """
        refuse_changed("data.", state_dict.get("settings", {}), self.settings())
        if state_dict["rounds"] > self.total_rounds:
            raise BadInput(
                f"--resume: data.env_steps is {self.total_rounds * self.frames_per_round}, but the checkpoint has "
                f"{state_dict['rounds'] * self.frames_per_round} behind it; ask for more, or fit without --resume"
            )

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken; environments that can't be restored begin new episodes."""
        if not state_dict:
            return
        self.check_resumable(state_dict)
        assert self.policy is not None
        self.rounds = int(state_dict["rounds"])
        self.policy.recall(state_dict["behaviour"])
        if state_dict["environment"] is not None:
            self.env.restore(state_dict["environment"])  # type: ignore[union-attr]

    def settings(self) -> dict[str, Any]:
        """What the environments and all that is counted in rounds depend on."""
        return {
            "task": self.task,
            "suite": self.suite,
            "num_envs": self.num_envs,
            "steps_per_round": self.steps_per_round,
            "seed": self.seed,
            **({} if self.shift is None else {"shift": str(self.shift)}),
        }

    def teardown(self, stage: str) -> None:
        """Close the environment."""
        if stage == "fit" and self.env is not None:
            self._owner = self._collector = None
            self.env.close()
