"""Recorded steps as random batches or as sequences: what the data of experts and of the gate have in common."""

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from tensordict import TensorDict
from torch.utils.data import DataLoader, IterableDataset

from mwl.core import keys


class Batches(IterableDataset[TensorDict]):
    """Random batches of a TensorDict `[T]`, `count` of them per epoch, drawn in one indexing operation each."""

    def __init__(self, data: TensorDict, batch_size: int, count: int) -> None:
        self.data, self.batch_size, self.count = data, batch_size, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[TensorDict]:
        for _ in range(self.count):
            yield self.data[torch.randint(len(self.data), (self.batch_size,))]


class Streams(Batches):
    """Steps in the order of time: B streams, evenly spread over the data `[T]`, read them on from batch to batch.

    Batches are `[L, B]`. IS_INIT holds where an episode begins, and where a stream does: what was before is unknown
    there, as it is to an expert that takes over from another.

    Args:
        data: steps of whole episodes, one after the other, with IS_INIT.
        length: L.
        streams: B.
        count: batches per epoch.
    """

    def __init__(self, data: TensorDict, length: int, streams: int, count: int) -> None:
        super().__init__(data, length * streams, count)
        self.length, self.streams = length, streams
        self.start, self.read = 0, 0  # where the first stream began in this epoch, and batches read since
        self._goes_on = False  # with an epoch that a checkpoint was written in

    def __iter__(self) -> Iterator[TensorDict]:
        total = len(self.data)
        if not self._goes_on:
            self.start, self.read = int(torch.randint(total, ())), 0
        self._goes_on = False
        start = self.start + torch.arange(self.streams) * total // self.streams
        while self.read < self.count:
            steps = torch.arange(self.read * self.length, (self.read + 1) * self.length)
            batch = self.data[(start + steps.unsqueeze(-1)) % total]
            if self.read == 0:
                batch[keys.IS_INIT][0] = True
            self.read += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where the streams are, as plain values."""
        return {"start": self.start, "read": self.read}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Read on from there."""
        self.start, self.read = int(state["start"]), int(state["read"])
        self._goes_on = 0 < self.read < self.count


def as_streams(data: TensorDict, streams: int) -> TensorDict:
    """Steps `[T]` as B sequences `[T // B, B]`, each from a memory that begins with it."""
    length = len(data) // streams
    rows = torch.arange(streams) * length + torch.arange(length).unsqueeze(-1)
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
        self._place: dict[str, Any] = {}  # of a checkpoint, until there are batches
        self._held_out: list[TensorDict] = []

    @property
    def steps(self) -> TensorDict:
        """All steps to train on."""
        assert self.train is not None, "prepare before training"
        return self.train

    def train_dataloader(self) -> DataLoader[TensorDict]:
        """Random batches of all steps to train on."""
        self._batches = self.batches_of(self.steps)
        if isinstance(self._batches, Streams) and self._place:
            self._batches.load_state_dict(self._place)
            self._place = {}
        return _loader(self._batches)

    def batches_of(self, steps: TensorDict) -> Batches:
        """An epoch's batches of steps `[T]`."""
        return Batches(steps, self.batch_size, self.batches_per_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where in an epoch sequences are; random batches are nowhere."""
        return {"streams": self._batches.state_dict()} if isinstance(self._batches, Streams) else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._place = state_dict.get("streams", {})

    def val_dataloader(self) -> DataLoader[TensorDict]:
        """All validation steps as one batch (none without validation steps)."""
        assert self.validation is not None, "prepare before validation"
        self._held_out[:] = [self.validation_batch(self.validation)] if len(self.validation) else []
        return _loader(self._held_out)

    def validation_batch(self, steps: TensorDict) -> TensorDict:
        """The validation steps `[T]` as they are validated."""
        return steps

    def renew(self) -> None:
        """Let the batches that are being handed out come from the steps as they are now."""
        if self._batches is not None:
            self._batches.data = self.steps
        if self._held_out and self.validation is not None:
            self._held_out[:] = [self.validation_batch(self.validation)]


def _loader(batches: Any) -> DataLoader[TensorDict]:
    """Hands out batches as they are.

    At the beginning of an epoch torch draws a seed for workers, of which there are none. It comes from a generator
    aside: a stage resumed at the end of an epoch has begun the next one before its random numbers are put back.
    """
    return DataLoader(batches, batch_size=None, collate_fn=_as_is, generator=torch.Generator())


def _as_is(batch: TensorDict) -> TensorDict:
    """A batch needs no collating; torch's default would take a TensorDict apart."""
    return batch
