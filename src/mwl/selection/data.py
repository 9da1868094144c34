"""Recorded states with the expert they came from: what the gate learns from before any world model exists."""

from functools import partial
from typing import Any

import torch
from tensordict import TensorDict

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.core.ranges import Between0And1, Count
from mwl.datasets.demonstrations import Demonstrations
from mwl.demonstrators.registry import load_demonstrations
from mwl.experts.cloning.batches import BatchedSteps
from mwl.experts.cloning.interleaved import record_interleaved
from mwl.experts.library import ExpertLibrary
from mwl.experts.spec import ExpertSpec
from mwl.selection.context import gate_context
from mwl.simulation import get_task


class GateData(BatchedSteps):
    """Hands out batches of contexts and expert numbers, every expert equally often.

    Of a demonstrator that shows several skills in turn, an expert's are the steps that call for the skill of its name;
    where it is recorded now, the experts of the library act in turn, see `mwl.experts.cloning.interleaved`.

    Args:
        demonstrations: files (.npz), or configurations of demonstrators (.yaml), by expert name; null leaves one out.
        batch_size: states per batch.
        batches_per_epoch: an epoch is this many random batches.
        validation_share: share of each file's episodes, the last ones, kept for validation.
    """

    def __init__(
        self,
        demonstrations: dict[str, list[str] | None],
        batch_size: Count = 256,
        batches_per_epoch: Count = 200,
        validation_share: Between0And1 = 0.1,
    ) -> None:
        super().__init__(batch_size, batches_per_epoch)
        self.save_hyperparameters()
        shown = {name: files for name, files in demonstrations.items() if files is not None}
        if len(shown) < 2 or not all(shown.values()):
            raise BadInput("data.demonstrations needs at least two experts, each with at least one file")
        if not 0 < validation_share < 1:
            raise BadInput(f"data.validation_share is {validation_share}; it must lie in (0, 1)")
        self.demonstrations = shown
        self.validation_share = validation_share
        self.sources: list[str] = []

    def prepare(self, library: ExpertLibrary) -> None:
        """Read or record; EXPERT_ID counts in the order of the library.

        Raises:
            BadInput: files for an expert that the library does not have.
        """
        names = library.names
        unknown = [name for name in self.demonstrations if name not in names]
        if unknown:
            raise BadInput(f"data.demonstrations names {', '.join(unknown)}; the experts are {', '.join(names)}")
        every = dict.fromkeys(file for files in self.demonstrations.values() for file in files)
        shown = {file: load_demonstrations(file, partial(record_interleaved, library=library)) for file in every}
        self.sources = [recorded.manifest.get("sha256", file) for file, recorded in shown.items()]
        parts = [
            self._steps_of(shown[file].of(name), library.experts[names.index(name)].spec, names.index(name))
            for name, files in self.demonstrations.items()
            for file in files
        ]
        self.validation = torch.cat([held_out for _, held_out in parts])
        self.train = _balanced(torch.cat([kept for kept, _ in parts]))

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the states come from."""
        return {"demonstrations": self.sources}

    def _steps_of(self, recorded: Demonstrations, spec: ExpertSpec, expert: int) -> tuple[TensorDict, TensorDict]:
        told = {} if spec.command is None or recorded.command is None else {spec.command: recorded.command}
        features = gate_context(recorded.observation, get_task(recorded.manifest["task"]).layout, told)
        data = TensorDict(
            {keys.FEATURES: features, keys.EXPERT_ID: torch.full((len(features),), expert)}, batch_size=[len(features)]
        )
        episodes = int(recorded.episode.max()) + 1
        held_out = recorded.episode >= episodes - max(1, round(self.validation_share * episodes))
        return data[~held_out], data[held_out]


def _balanced(data: TensorDict) -> TensorDict:
    """Rows repeated so that every expert has as many as the one with most."""
    expert: torch.Tensor = data[keys.EXPERT_ID]
    longest = int(torch.bincount(expert).max())
    parts = [data[expert == i] for i in expert.unique()]
    return torch.cat([part[torch.arange(longest) % len(part)] for part in parts])
