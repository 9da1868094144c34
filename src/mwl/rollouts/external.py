"""Environments that are none of the robot's: of gymnasium, of the DeepMind control suite, or a TorchRL class."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Composite, Unbounded
from torchrl.data.tensor_specs import ContinuousBox
from torchrl.envs import DMControlEnv, EnvBase, GymEnv
from torchrl.envs.libs.dm_control import _has_dmc

from mwl._extensions import import_class
from mwl.core import keys
from mwl.core.errors import BadInput, MissingDependency
from mwl.core.files import shown
from mwl.simulation.task import ObservationLayout, TaskSpec

_LOG = logging.getLogger(__name__)
KINDS = ("gym", "dmc", "class")
_FLAGS = (keys.DONE, keys.TERMINATED, keys.TRUNCATED)


def is_external(name: object) -> bool:
    """Whether a name is of an environment as these are named, and not of a task of the robot."""
    return isinstance(name, str) and name.partition(":")[0] in KINDS and ":" in name


class ExternalEnv(EnvBase):  # type: ignore[misc]
    """N episodes side by side, batch size `[N]`, with the keys that the robot's environments have.

    Observations are put one behind the other into one vector `[N, O]`, float32; actions `[N, A]` in [-1, 1] are scaled
    to the environment's own bounds. Nothing else is changed: no repeated action, no scaled reward, and the episode ends
    where the environment says. Each episode has a seed of its own, by (seed, index of the environment, number of the
    episode), so that what was acted since its beginning brings it back (`restore`).

    Args:
        name: `gym:ID`, `dmc:DOMAIN-TASK`, or `class:MODULE.CLASS` of an `EnvBase` of one episode that is made without
            arguments and says its `max_episode_steps`.
        num_envs: N.
        seed: of all episodes.

    Raises:
        BadInput: there is no such environment, it sees pictures, its actions are not numbers within bounds, or it says
            no limit of steps.
        MissingDependency: the package it is from isn't installed.
    """

    def __init__(self, name: str, num_envs: int = 1, seed: int = 0) -> None:
        super().__init__(device="cpu", batch_size=[num_envs])
        self.name, self.seed_of_all, self.num_envs = name, seed, num_envs
        self.envs = [_made(name) for _ in range(num_envs)]
        first = self.envs[0]
        self._parts = _observed_parts(first, name)
        self._low, self._high = _action_bounds(first, name)
        size = sum(first.observation_spec[key].shape.numel() for key in self._parts)
        self.task = TaskSpec(
            name=name,
            instruction=name,
            description="an environment of another package",
            success_bar=float("inf"),
            layout=ObservationLayout(observation=size),
            max_episode_steps=_limit(first, name),
        )
        self._begun = [0] * num_envs  # episodes
        self._acted: list[list[Tensor]] = [[] for _ in range(num_envs)]  # since they began
        self._now: list[TensorDictBase] = [TensorDict() for _ in range(num_envs)]
        self._restored = False
        self.observation_spec = Composite(
            {
                keys.OBSERVATION: Unbounded(shape=(num_envs, size), dtype=torch.float32),
                keys.STEP_COUNT: Unbounded(shape=(num_envs, 1), dtype=torch.int64),
            },
            shape=(num_envs,),
        )
        self.action_spec = Bounded(-1.0, 1.0, shape=(num_envs, self._low.numel()), dtype=torch.float32)
        self.reward_spec = Unbounded(shape=(num_envs, 1), dtype=torch.float32)
        flags = {key: Binary(n=1, shape=(num_envs, 1), dtype=torch.bool) for key in _FLAGS}
        self.done_spec = Composite(flags, shape=(num_envs,))

    def snapshot(self) -> dict[str, Any]:
        """What brings the episodes back, as plain tensors and numbers."""
        acted = [torch.stack(actions) if actions else torch.zeros(0, self._low.numel()) for actions in self._acted]
        return {"begun": list(self._begun), "acted": acted, "observation": self._observed()[keys.OBSERVATION]}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot: the next full reset returns its states instead of beginning new episodes.

        What was acted is acted again. Where an environment does not repeat itself, new episodes begin.
        """
        for i, (begun, acted) in enumerate(zip(snapshot["begun"], snapshot["acted"], strict=True)):
            self._begun[i] = int(begun) - 1
            self._begin(i)
            for action in acted:
                self._act(i, action)
        self._restored = torch.equal(self._observed()[keys.OBSERVATION], snapshot["observation"])
        if not self._restored:
            _LOG.warning("%s: does not repeat itself when acted in alike; new episodes begin", self.name)

    def _begin(self, i: int) -> None:
        words = np.random.SeedSequence([self.seed_of_all, i, self._begun[i]]).generate_state(1)
        self._begun[i] += 1
        self._acted[i] = []
        self.envs[i].set_seed(int(words[0]) % 2**31, static_seed=True)
        self._now[i] = self.envs[i].reset()

    def _act(self, i: int, action: Tensor) -> TensorDictBase:
        """One step of environment i by an action `[A]` in [-1, 1]; returns what came of it."""
        self._acted[i].append(action)
        own = self._low + (action.clamp(-1, 1) + 1) / 2 * (self._high - self._low)
        spec = self.envs[i].action_spec
        self._now[i].set(self.envs[i].action_key, own.view(spec.shape).to(spec.dtype))
        after: TensorDictBase = self.envs[i].step(self._now[i])[keys.NEXT]
        self._now[i] = after.exclude(self.envs[i].reward_key)
        return after

    def _observed(self, **more: Tensor) -> TensorDict:
        rows = [torch.cat([now[key].flatten().float() for key in self._parts]) for now in self._now]
        entries = {
            keys.OBSERVATION: torch.stack(rows),
            keys.STEP_COUNT: torch.tensor([[len(acted)] for acted in self._acted]),
            **{key: torch.zeros(self.num_envs, 1, dtype=torch.bool) for key in _FLAGS if key not in more},
            **more,
        }
        return TensorDict(entries, batch_size=self.batch_size, device=self.device)

    def _set_seed(self, seed: int | None) -> None:
        self.seed_of_all, self._begun = seed or 0, [0] * self.num_envs

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDict:
        chosen = None if tensordict is None else tensordict.get("_reset", None)
        mask = torch.ones(self.num_envs, dtype=torch.bool) if chosen is None else chosen.reshape(self.num_envs)
        if self._restored and mask.all():
            self._restored = False
        else:
            for i in mask.nonzero().flatten().tolist():
                self._begin(i)
        return self._observed()

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        actions = tensordict[keys.ACTION].detach().cpu().float()
        came = [self._act(i, action.clone()) for i, action in enumerate(actions)]
        limit = torch.tensor([[len(acted) >= self.task.max_episode_steps] for acted in self._acted])
        done = torch.stack([after[keys.DONE].reshape(1) for after in came])
        terminated = torch.stack([after.get(keys.TERMINATED, after[keys.DONE]).reshape(1) for after in came])
        reward = [after[env.reward_key].reshape(1).float() for after, env in zip(came, self.envs, strict=True)]
        truncated = (done | limit) & ~terminated
        return self._observed(
            **{
                keys.REWARD: torch.stack(reward),
                keys.TERMINATED: terminated,
                keys.TRUNCATED: truncated,
                keys.DONE: terminated | truncated,
            }
        )

    def close(self, **kwargs: Any) -> None:
        """Close all environments."""
        for env in self.envs:
            if not env.is_closed:
                env.close()
        super().close(**kwargs)


def _made(name: str) -> EnvBase:
    kind, _, which = name.partition(":")
    if kind == "class":
        env = import_class(which)()
        if not isinstance(env, EnvBase) or env.batch_size:
            raise BadInput(f"{shown(name)}: is no torchrl.envs.EnvBase of one episode, batch size []")
        return env
    if kind == "dmc" and not _has_dmc:
        raise MissingDependency(f"{name}: dm_control isn't installed; `pip install dm_control`")
    try:
        return GymEnv(which, device="cpu") if kind == "gym" else DMControlEnv(*which.split("-", 1), device="cpu")
    except Exception as error:  # whatever gymnasium, the suite and TorchRL say of a name or of spaces
        why = " ".join(str(error).split())[:200]
        raise BadInput(f"{shown(name)}: can't be made ({type(error).__name__}: {why})") from error


def _observed_parts(env: EnvBase, name: str) -> list[Any]:
    found = sorted(env.observation_spec.keys(True, True), key=str)
    parts = [key for key in found if key != keys.STEP_COUNT]
    if not parts or any(len(env.observation_spec[key].shape) > 1 for key in parts):
        raise BadInput(
            f"{name}: shows {', '.join(map(str, found))} of which one is no vector; pictures aren't learned from"
        )
    return parts


def _action_bounds(env: EnvBase, name: str) -> tuple[Tensor, Tensor]:
    space = env.action_spec.space
    if not isinstance(space, ContinuousBox) or not (space.low.isfinite().all() and space.high.isfinite().all()):
        raise BadInput(f"{name}: its actions are no numbers within bounds, so they can't be scaled to [-1, 1]")
    return space.low.flatten().float(), space.high.flatten().float()


def _limit(env: EnvBase, name: str) -> int:
    limit = getattr(env, "max_episode_steps", None)
    if isinstance(env, GymEnv):
        limit = env._env.spec.max_episode_steps or getattr(env._env.unwrapped, "max_episode_steps", None)
    elif isinstance(env, DMControlEnv):
        limit = round(env._env._step_limit)
    if not isinstance(limit, int) or limit < 1:
        raise BadInput(f"{name}: says no limit of steps; register it with max_episode_steps, or give it that attribute")
    return limit
