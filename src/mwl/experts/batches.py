"""Recorded steps as random batches or as sequences: what the data of experts and of the gate have in common."""

from collections.abc import Iterator

import lightning.pytorch as pl
import torch
from tensordict import TensorDict
from torch.utils.data import DataLoader, IterableDataset

from mwl import keys


class Batches(IterableDataset):
    """Random batches of a TensorDict `[T]`, `count` of them per epoch, drawn in one indexing operation each."""

    def __init__(self, data: TensorDict, batch_size: int, count: int) -> None:
        self.data, self.batch_size, self.count = data, batch_size, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[TensorDict]:
        for _ in range(self.count):
            yield self.data[torch.randint(len(self.data), (self.batch_size,))]


class Lanes(Batches):
    """Steps in the order of time: B lanes, evenly spread over the data `[T]`, read them on from batch to batch.

    Batches are `[L, B]`. IS_INIT holds where an episode begins, and where a lane does: what was before is unknown
    there, as it is to an expert that takes over from another.

    Args:
        data: steps of whole episodes, one after the other, with IS_INIT.
        length: L.
        lanes: B.
        count: batches per epoch.
    """

    def __init__(self, data: TensorDict, length: int, lanes: int, count: int) -> None:
        super().__init__(data, length * lanes, count)
        self.length, self.lanes = length, lanes

    def __iter__(self) -> Iterator[TensorDict]:
        total = len(self.data)
        start = torch.randint(total, ()) + torch.arange(self.lanes) * total // self.lanes
        for i in range(self.count):
            steps = torch.arange(i * self.length, (i + 1) * self.length)
            batch = self.data[(start + steps.unsqueeze(-1)) % total]
            if i == 0:
                batch[keys.IS_INIT][0] = True
            yield batch


def in_lanes(data: TensorDict, lanes: int) -> TensorDict:
    """Steps `[T]` as B sequences `[T // B, B]`, each from a memory that begins with it."""
    length = len(data) // lanes
    rows = torch.arange(lanes) * length + torch.arange(length).unsqueeze(-1)
    sequences = data[rows]
    sequences[keys.IS_INIT][0] = True
    return sequences


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
        self._held_out: list[TensorDict] = []

    @property
    def steps(self) -> TensorDict:
        """All steps to train on."""
        assert self.train is not None, "prepare before training"
        return self.train

    def train_dataloader(self) -> DataLoader:
        """Random batches of all steps to train on."""
        self._batches = self.batches_of(self.steps)
        return DataLoader(self._batches, batch_size=None, collate_fn=_as_is)

    def batches_of(self, steps: TensorDict) -> Batches:
        """An epoch's batches of steps `[T]`."""
        return Batches(steps, self.batch_size, self.batches_per_epoch)

    def val_dataloader(self) -> DataLoader:
        """All validation steps as one batch (none without validation steps)."""
        assert self.validation is not None, "prepare before validation"
        self._held_out[:] = [self.validation_batch(self.validation)] if len(self.validation) else []
        return DataLoader(self._held_out, batch_size=None, collate_fn=_as_is)  # type: ignore[arg-type]

    def validation_batch(self, steps: TensorDict) -> TensorDict:
        """The validation steps `[T]` as they are validated."""
        return steps

    def renew(self) -> None:
        """Let the batches that are being handed out come from the steps as they are now."""
        if self._batches is not None:
            self._batches.data = self.steps
        if self._held_out and self.validation is not None:
            self._held_out[:] = [self.validation_batch(self.validation)]


def _as_is(batch: TensorDict) -> TensorDict:
    """A batch needs no collating; torch's default would take a TensorDict apart."""
    return batch
