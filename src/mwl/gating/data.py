"""Recorded states with the expert they came from: what the gate learns from before any world model exists."""

import torch
from tensordict import TensorDict

from mwl import keys
from mwl.errors import BadInput
from mwl.experts.batches import BatchedSteps
from mwl.experts.features import egocentric
from mwl.motion.demonstrators import load_demonstrations
from mwl.simulation import get_task


class GateData(BatchedSteps):
    """Hands out batches of egocentric features and expert numbers, every expert equally often.

    Args:
        demonstrations: files (.npz), or configurations of demonstrators (.yaml), by expert name; null leaves one out.
        batch_size: states per batch.
        batches_per_epoch: an epoch is this many random batches.
        validation_share: share of each file's episodes, the last ones, kept for validation.
    """

    def __init__(
        self,
        demonstrations: dict[str, list[str] | None],
        batch_size: int = 256,
        batches_per_epoch: int = 200,
        validation_share: float = 0.1,
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
        self.sources: list[dict] = []

    def prepare(self, names: list[str]) -> None:
        """Read the files; EXPERT_ID counts in the order of `names`, those of the expert library.

        Raises:
            BadInput: files for an expert that the library does not have.
        """
        unknown = [name for name in self.demonstrations if name not in names]
        if unknown:
            raise BadInput(f"data.demonstrations names {', '.join(unknown)}; the experts are {', '.join(names)}")
        parts = [self._read(file, names.index(name)) for name, files in self.demonstrations.items() for file in files]
        self.validation = torch.cat([held_out for _, held_out in parts])
        self.train = _balanced(torch.cat([kept for kept, _ in parts]))

    def _read(self, file: str, expert: int) -> tuple[TensorDict, TensorDict]:
        recorded = load_demonstrations(file)
        self.sources.append(recorded.manifest)
        features = egocentric(recorded.observation, get_task(recorded.manifest["task"]).layout)
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
