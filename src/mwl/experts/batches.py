"""Recorded steps as random batches: what the data of experts and of the gate have in common."""

from collections.abc import Iterator

import lightning.pytorch as pl
import torch
from tensordict import TensorDict
from torch.utils.data import DataLoader, IterableDataset


class Batches(IterableDataset):
    """Random batches of a TensorDict `[T]`, `count` of them per epoch, drawn in one indexing operation each."""

    def __init__(self, data: TensorDict, batch_size: int, count: int) -> None:
        self.data, self.batch_size, self.count = data, batch_size, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[TensorDict]:
        for _ in range(self.count):
            yield self.data[torch.randint(len(self.data), (self.batch_size,))]


class BatchedSteps(pl.LightningDataModule):
    """Hands out random batches of training steps, and the validation steps as one batch.

    Args:
        batch_size: steps per batch.
        batches_per_epoch: an epoch is this many random batches.

    Attributes:
        train, validation: steps `[T]`, set by the subclass before training; validation may be empty.
    """

    def __init__(self, batch_size: int, batches_per_epoch: int) -> None:
        super().__init__()
        self.batch_size, self.batches_per_epoch = batch_size, batches_per_epoch
        self.train: TensorDict | None = None
        self.validation: TensorDict | None = None
        self._batches: Batches | None = None

    @property
    def steps(self) -> TensorDict:
        """All steps to train on."""
        assert self.train is not None, "prepare before training"
        return self.train

    def train_dataloader(self) -> DataLoader:
        """Random batches of all steps to train on."""
        self._batches = Batches(self.steps, self.batch_size, self.batches_per_epoch)
        return DataLoader(self._batches, batch_size=None, collate_fn=_as_is)

    def val_dataloader(self) -> DataLoader:
        """All validation steps as one batch (none without validation steps)."""
        assert self.validation is not None, "prepare before validation"
        held_out = [self.validation] if len(self.validation) else []
        return DataLoader(held_out, batch_size=None, collate_fn=_as_is)  # type: ignore[arg-type]

    def renew(self) -> None:
        """Let the batches that are being handed out come from the steps as they are now."""
        if self._batches is not None:
            self._batches.data = self.steps


def _as_is(batch: TensorDict) -> TensorDict:
    """A batch needs no collating; torch's default would take a TensorDict apart."""
    return batch
