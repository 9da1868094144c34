"""Demonstrations as training data of one expert: features and labels, split into training and validation episodes."""

from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as pl
import torch
from tensordict import TensorDict
from torch.utils.data import DataLoader, IterableDataset

from mwl import keys
from mwl.errors import BadInput, SpecMismatch
from mwl.experts.spec import COMMANDS, ExpertSpec
from mwl.motion.demonstrations import Demonstrations
from mwl.simulation import get_task


class Batches(IterableDataset):
    """Random batches of a TensorDict `[T]`, `count` of them per epoch, drawn in one indexing operation each."""

    def __init__(self, data: TensorDict, batch_size: int, count: int) -> None:
        self.data, self.batch_size, self.count = data, batch_size, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[TensorDict]:
        for _ in range(self.count):
            yield self.data[torch.randint(len(self.data), (self.batch_size,))]


class DemonstrationData(pl.LightningDataModule):
    """Loads demonstration files and hands out batches of features and clean action labels.

    Args:
        files: demonstration files (.npz), all of the kind the expert can read.
        batch_size: steps per batch.
        batches_per_epoch: an epoch is this many random batches.
        validation_share: share of the episodes, the last ones, kept for validation.
        memmap: folder in which the steps are memory-mapped; None keeps them in memory.
    """

    def __init__(
        self,
        files: list[str],
        batch_size: int = 256,
        batches_per_epoch: int = 500,
        validation_share: float = 0.1,
        memmap: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if not files:
            raise BadInput("data.files is empty: name at least one demonstration file")
        if not 0 <= validation_share < 1:
            raise BadInput(f"data.validation_share is {validation_share}, it must lie in [0, 1)")
        self.files = [Path(file) for file in files]
        self.batch_size, self.batches_per_epoch, self.validation_share = batch_size, batches_per_epoch, validation_share
        self.memmap = memmap
        self.manifests: list[dict] = []
        self.train: TensorDict | None = None
        self.validation: TensorDict | None = None

    def prepare(self, spec: ExpertSpec) -> None:
        """Read the files and compute the features of an expert.

        Raises:
            SpecMismatch: the expert takes a command that the data do not hold, or the data are of another robot.
        """
        parts = [self._read(file, spec) for file in self.files]
        train: TensorDict = torch.cat([train for train, _ in parts])  # type: ignore[assignment]
        self.train = train if self.memmap is None else train.memmap(self.memmap)
        self.validation = torch.cat([validation for _, validation in parts])

    def _read(self, file: Path, spec: ExpertSpec) -> tuple[TensorDict, TensorDict]:
        demonstrations = Demonstrations.load(file)
        self.manifests.append(demonstrations.manifest)
        layout = get_task(demonstrations.manifest["task"]).layout
        unknown = spec.command is not None and COMMANDS[spec.command].from_observation not in layout.slices
        if unknown and demonstrations.command is None:
            raise SpecMismatch(f"{file}: holds no commands, but expert {spec.name} takes {spec.command!r}")
        if demonstrations.action.shape[-1] != spec.action_size:
            raise SpecMismatch(f"{file}: has {demonstrations.action.shape[-1]} actions, the robot {spec.action_size}")
        features = spec.featurise(demonstrations.observation, layout, demonstrations.command)
        data = TensorDict({keys.FEATURES: features, keys.ACTION: demonstrations.action}, batch_size=[len(features)])
        last = demonstrations.episode.max() + 1
        held_out = demonstrations.episode >= last - round(self.validation_share * int(last))
        return data[~held_out], data[held_out]

    def train_dataloader(self) -> DataLoader:
        """Random batches of the training episodes."""
        assert self.train is not None, "prepare before training"
        batches = Batches(self.train, self.batch_size, self.batches_per_epoch)
        return DataLoader(batches, batch_size=None, collate_fn=as_is)

    def val_dataloader(self) -> DataLoader:
        """All steps of the validation episodes as one batch (none without validation episodes)."""
        assert self.validation is not None, "prepare before validation"
        held_out = [self.validation] if len(self.validation) else []
        return DataLoader(held_out, batch_size=None, collate_fn=as_is)  # type: ignore[arg-type]


def as_is(batch: TensorDict) -> TensorDict:
    """A batch needs no collating; torch's default would take a TensorDict apart."""
    return batch
