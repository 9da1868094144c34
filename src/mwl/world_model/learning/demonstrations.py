"""Recorded demonstrations as transitions that the world model learns from beside its own experience."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tensordict import TensorDict

from mwl.core import keys
from mwl.core.errors import BadInput, SpecMismatch
from mwl.datasets.demonstrations import Demonstrations
from mwl.selection import Guidance


def transitions(paths: Sequence[Path | str], task: str, observation_size: int) -> TensorDict:
    """Transitions `[T]` of all files, with episodes numbered below zero, so that none is taken for an own one.

    Raises:
        BadInput: a file was recorded without rewards, or holds no two steps of an episode.
        SpecMismatch: a file was recorded on another task.
        MissingFile, CorruptFile: see `Demonstrations.load`.
    """
    parts, last_episode = [], -1
    for path in paths:
        recorded = Demonstrations.load(path)
        if recorded.manifest.get("task") != task or recorded.observation.shape[-1] != observation_size:
            raise SpecMismatch(f"{path}: recorded on {recorded.manifest.get('task')}; the world model learns {task}")
        if recorded.reward is None:
            raise BadInput(f"{path}: recorded without rewards; record it again to learn values from it")
        follows = recorded.episode[1:] == recorded.episode[:-1]
        if not follows.any():
            raise BadInput(f"{path}: no two steps of one episode")
        moved = recorded.action if recorded.executed_action is None else recorded.executed_action
        count = int(follows.sum())
        begins = torch.cat([torch.tensor([True]), ~follows]).nonzero().squeeze(-1)
        age = torch.arange(len(recorded.episode)) - begins.repeat_interleave(
            torch.diff(begins, append=torch.tensor([len(recorded.episode)]))
        )
        parts.append(
            TensorDict(
                {
                    keys.OBSERVATION: recorded.observation[:-1][follows],
                    keys.ACTION: moved[:-1][follows],
                    keys.EPISODE: last_episode - recorded.episode[:-1][follows],
                    keys.STEP_COUNT: age[:-1][follows].unsqueeze(-1),
                    keys.NEXT: {
                        keys.OBSERVATION: recorded.observation[1:][follows],
                        keys.REWARD: recorded.reward[:-1][follows].unsqueeze(-1),
                        keys.TERMINATED: torch.zeros(count, 1, dtype=torch.bool),
                    },
                },
                batch_size=[count],
            )
        )
        last_episode -= int(recorded.episode.max()) + 1
    return torch.cat(parts)


def with_reference_actions(rows: TensorDict, guidance: Guidance) -> TensorDict:
    """The same transitions `[T]` with the reference actions in them, as own experience has it."""
    library, memory = guidance.library, None
    if library.memory_size:
        memory = library.memories(rows[keys.OBSERVATION], rows[keys.EPISODE], guidance.layout)
        rows[keys.MEMORY] = memory
    age = rows[keys.STEP_COUNT].squeeze(-1)
    guide = guidance.reference(rows[keys.OBSERVATION], memory=memory, age=age)
    for key in (keys.EXPERT_ACTION, keys.REFERENCE_ACTION):
        rows[key] = guide[key]
    memory = guide.get((keys.NEXT, keys.MEMORY))
    after = guidance.reference(rows[keys.NEXT, keys.OBSERVATION], memory=memory, age=age + 1)
    rows[keys.NEXT, keys.REFERENCE_ACTION] = after[keys.REFERENCE_ACTION]
    return rows
