"""The replay buffer: transitions in streams, one per environment, sampled as slices that never cross an episode."""

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import LazyTensorStorage, ReplayBuffer, SliceSampler

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.world_model.learning.losses import Batch
from mwl.world_model.observation import Observer

_KEPT = (
    keys.OBSERVATION,
    keys.ACTION,
    keys.EPISODE,
    keys.STEP_COUNT,
    keys.EXPERT_ACTION,
    keys.REFERENCE_ACTION,
    keys.MEMORY,
    (keys.NEXT, keys.OBSERVATION),
    (keys.NEXT, keys.REWARD),
    (keys.NEXT, keys.TERMINATED),
    (keys.NEXT, keys.REFERENCE_ACTION),
)

Reference = Callable[[Tensor, Tensor | None, Tensor], TensorDict]
"""Reference actions at observations `[T, O]` with memories `[T, M]` and ages `[T]`, see `Guidance.reference`."""


class Replay:
    """TorchRL replay buffer of `[time, environment]` transitions.

    Args:
        capacity: transitions kept; the oldest go first.
        num_envs: N.
        horizon: length H of a slice.
        batch_size: slices B per sample.
    """

    def __init__(self, capacity: int, num_envs: int, horizon: int, batch_size: int) -> None:
        self.num_envs, self.horizon, self.batch_size = num_envs, horizon, batch_size
        self.demonstrations: ReplayBuffer | None = None
        self.share = 0.0  # of each batch that is drawn from the demonstrations
        self.steps_kept = max(capacity // num_envs, 1)  # of every environment
        self.buffer = ReplayBuffer(
            storage=LazyTensorStorage(self.steps_kept * num_envs, ndim=2),
            sampler=SliceSampler(slice_len=horizon, traj_key=keys.EPISODE, strict_length=True),
            batch_size=batch_size * horizon,
            dim_extend=0,
        )

    def __len__(self) -> int:
        return len(self.buffer)

    def extend(self, frames: TensorDictBase) -> None:
        """Add transitions `[N, k]` of k steps."""
        kept = frames.select(*_KEPT, strict=False)
        self.buffer.extend(kept.transpose(0, 1).contiguous())

    def ready(self) -> bool:
        """Whether there is a slice to draw: H steps of one episode."""
        held = len(self.buffer) // self.num_envs
        if held < self.horizon:
            return False
        newest = int(self.buffer._writer.state_dict()["_cursor"]) - 1
        for steps in (min(held, 4 * self.horizon), held):  # most often the newest steps are enough
            rows = (newest - torch.arange(steps)) % held
            if _longest(self.buffer[:held][keys.EPISODE][rows]) >= self.horizon:
                return True
        return False

    def add_demonstrations(self, rows: TensorDict) -> None:
        """Keep transitions `[T]` apart, of which `share` of every batch is drawn.

        TorchRL's `OfflineToOnlineReplayBuffer` does the same for storages of one dimension and no slices.

        Raises:
            BadInput: no episode of them is as long as a slice.
        """
        longest = _longest(rows[keys.EPISODE])
        if longest < self.horizon:
            raise BadInput(
                f"learning.demonstrations: no episode is longer than {longest} steps, but learning.horizon is "
                f"{self.horizon}"
            )
        self.demonstrations = ReplayBuffer(
            storage=LazyTensorStorage(len(rows)),
            sampler=SliceSampler(slice_len=self.horizon, traj_key=keys.EPISODE, strict_length=True),
        )
        self.demonstrations.extend(rows)

    def relabel(self, reference: Reference) -> None:
        """Write anew the reference actions of all transitions held, after they changed.

        Args:
            reference: reference actions at observations and ages and, where experts have such, with their memories.
        """
        held = [self.buffer[: len(self.buffer) // self.num_envs]]  # new tensordicts around the storage's own memory
        if self.demonstrations is not None:
            held.append(self.demonstrations[:])
        for rows in held:
            if keys.REFERENCE_ACTION in rows:
                self._advise(rows, reference)

    @staticmethod
    def _advise(rows: TensorDictBase, reference: Reference) -> None:
        memory, age = rows.get(keys.MEMORY), rows[keys.STEP_COUNT].flatten()
        now = reference(rows[keys.OBSERVATION].flatten(0, -2), None if memory is None else memory.flatten(0, -2), age)
        after = reference(rows[keys.NEXT, keys.OBSERVATION].flatten(0, -2), now.get((keys.NEXT, keys.MEMORY)), age + 1)
        for key in (keys.EXPERT_ACTION, keys.REFERENCE_ACTION):
            rows[key].copy_(now[key].view_as(rows[key]))
        held = rows[keys.NEXT, keys.REFERENCE_ACTION]
        held.copy_(after[keys.REFERENCE_ACTION].view_as(held))

    def sample(self) -> TensorDict:
        """Transitions `[H, B]` of B slices, each within one episode."""
        taught = round(self.share * self.batch_size) if self.demonstrations is not None else 0
        rows = self.buffer.sample((self.batch_size - taught) * self.horizon)
        if taught:
            assert self.demonstrations is not None
            others = self.demonstrations.sample(taught * self.horizon)
            rows = torch.cat([rows, others.select(*rows.keys(True, True))])
        return rows.view(self.batch_size, self.horizon).transpose(0, 1)

    def sample_batch(self, observer: Observer) -> Batch:
        """B slices as the losses take them."""
        rows = self.sample()
        after = rows[keys.NEXT]
        observation = torch.cat([rows[keys.OBSERVATION][:1], after[keys.OBSERVATION]])
        reference = expert_action = None
        if keys.REFERENCE_ACTION in rows:
            reference = torch.cat([rows[keys.REFERENCE_ACTION][:1], after[keys.REFERENCE_ACTION]])
            expert_action = rows[keys.EXPERT_ACTION]
        return Batch(
            features=observer(observation),
            action=rows[keys.ACTION],
            reward=after[keys.REWARD].squeeze(-1),
            terminated=after[keys.TERMINATED].squeeze(-1),
            reference=reference,
            expert_action=expert_action,
        )

    def state_dict(self) -> dict[str, Any]:
        """The transitions held and where the next goes; the empty rest of the storage is left out."""
        filled = len(self.buffer) // self.num_envs
        writer = self.buffer._writer.state_dict()
        if not filled:
            return {"rows": None, "writer": writer}
        rows = self.buffer[:filled]
        return {"rows": {_joined(key): value.clone() for key, value in rows.items(True, True)}, "writer": writer}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave; under another capacity in order of age, the newest as far as they fit."""
        if state["rows"] is None:
            return
        first = next(iter(state["rows"].values()))
        rows = TensorDict({_split(key): value for key, value in state["rows"].items()}, batch_size=first.shape[:2])
        held, cursor = len(rows), int(state["writer"]["_cursor"])
        round_about = cursor < held  # the ring was full: the row at the cursor is the oldest
        if round_about and held == self.steps_kept:
            self.buffer.extend(rows)
            self.buffer._writer.load_state_dict(state["writer"])
            return
        if round_about:
            rows = rows[(torch.arange(held) + cursor) % held]
        self.buffer.extend(rows[-self.steps_kept :])


def _longest(episode: Tensor) -> int:
    """Steps of the longest of the episodes that rows are of."""
    return int(torch.unique(episode, return_counts=True)[1].max())


def _joined(key: str | tuple[str, ...]) -> str:
    return key if isinstance(key, str) else "/".join(key)


def _split(key: str) -> tuple[str, ...]:
    return tuple(key.split("/"))
