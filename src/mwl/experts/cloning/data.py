"""Demonstrations as training data of one expert: features and labels, split into training and validation episodes."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from tensordict import TensorDict

from mwl.core.errors import BadInput, SpecMismatch
from mwl.core.ranges import Count, ShareBelowOne
from mwl.datasets.demonstrations import check_sizes
from mwl.demonstrators.registry import load_demonstrations
from mwl.experts.cloning.batches import BatchedSteps, Batches, Streams, as_streams
from mwl.experts.cloning.dagger import Dagger, DaggerConfig, Student, labelled
from mwl.experts.cloning.mirror import with_mirror_images
from mwl.experts.spec import COMMANDS, ExpertSpec
from mwl.simulation import get_task


class DemonstrationData(BatchedSteps):
    """Loads demonstration files and hands out batches of features and clean action labels.

    Args:
        files: demonstration files (.npz), all of the kind the expert can read; a demonstrator's configuration (.yaml)
            among them is recorded when the fit begins.
        batch_size: steps per batch.
        batches_per_epoch: an epoch is this many random batches.
        validation_share: share of the episodes, the last ones, kept for validation.
        mirror: train on every step's mirror image as well; only for a skill without sides.
        dagger: let a live demonstrator label what the student itself runs into; None trains on the files alone.
        sequence: steps of one episode in a row through which an expert with memory is trained; a batch holds
            batch_size / sequence such sequences.
    """

    memmap: ClassVar[None] = None  # recordings fit into memory; files that name it still load

    def __init__(
        self,
        files: list[str],
        batch_size: Count = 256,
        batches_per_epoch: Count = 500,
        validation_share: ShareBelowOne = 0.1,
        mirror: bool = False,
        dagger: DaggerConfig | None = None,
        sequence: Count = 32,
    ) -> None:
        super().__init__(batch_size, batches_per_epoch)
        self.save_hyperparameters(ignore=["dagger"])  # a checkpoint holds plain values alone
        if not files:
            raise BadInput("data.files is empty: name at least one demonstration file")
        if not 0 <= validation_share < 1:
            raise BadInput(f"data.validation_share is {validation_share}, it must lie in [0, 1)")
        self.files = [Path(file) for file in files]
        self.sequence, self._in_sequences = sequence, False
        self.validation_share = validation_share
        self.mirror = mirror
        self.dagger = Dagger(dagger, mirror) if dagger is not None else None
        self.manifests: list[dict[str, Any]] = []

    def prepare(self, spec: ExpertSpec) -> None:
        """Read the files and compute the features of an expert.

        Raises:
            SpecMismatch: the expert takes a command that the data do not hold, or the data are of another robot.
            BadInput: mirror images are asked for of a skill that has a side, or sequences do not fit into a batch.
        """
        self._in_sequences = spec.memory > 0
        if self._in_sequences and not 1 <= self.sequence <= self.batch_size:
            raise BadInput(f"data.sequence is {self.sequence}; it must lie in [1, batch_size = {self.batch_size}]")
        self.manifests = []
        parts = [self._read(file, spec) for file in self.files]
        self.train = torch.cat([train for train, _ in parts])
        self.validation = torch.cat([validation for _, validation in parts])

    def _read(self, file: Path, spec: ExpertSpec) -> tuple[TensorDict, TensorDict]:
        demonstrations = load_demonstrations(file).of(spec.name)
        check_sizes(demonstrations, str(file))
        if not len(demonstrations):
            raise BadInput(f"{file}: shows nothing of {spec.name}")
        self.manifests.append(demonstrations.manifest)
        layout = get_task(demonstrations.manifest["task"]).layout
        unknown = spec.command is not None and COMMANDS[spec.command].from_observation not in layout.slices
        if unknown and demonstrations.command is None:
            raise SpecMismatch(f"{file}: holds no commands, but expert {spec.name} takes {spec.command!r}")
        if spec.command is not None and demonstrations.command is not None:
            held = demonstrations.command.shape[-1]
            if held != spec.command_size:
                raise SpecMismatch(
                    f"{file}: its commands have {held} numbers, {spec.command!r} takes {spec.command_size}"
                )
        data = labelled(demonstrations, spec)
        last = demonstrations.episode.max() + 1
        held_out = demonstrations.episode >= last - round(self.validation_share * int(last))
        train = data[~held_out]
        return with_mirror_images(train, spec) if self.mirror else train, data[held_out]

    def batches_of(self, steps: TensorDict) -> Batches:
        """Random steps, or sequences where the expert has a memory."""
        if not self._in_sequences:
            return super().batches_of(steps)
        return Streams(steps, self.sequence, self.batch_size // self.sequence, self.batches_per_epoch)

    def validation_batch(self, steps: TensorDict) -> TensorDict:
        """The validation steps, in sequences where the expert has a memory."""
        if not self._in_sequences:
            return steps
        return as_streams(steps, max(1, min(self.batch_size, len(steps)) // self.sequence))

    def aggregate(self, epoch: int, spec: ExpertSpec, student: Student) -> bool:
        """Add what a live demonstrator says of the student's states, if that is due; says whether it was.

        Args:
            epoch: the epoch about to begin.
            spec: the expert.
            student: its actions `[N, A]` of features `[N, F]` so far.
        """
        if self.dagger is None or not self.dagger.due(epoch):
            return False
        self.dagger.collect(spec, student)
        self.renew()
        return True

    @property
    def steps(self) -> TensorDict:
        """Those of the files, and what was aggregated."""
        recorded = super().steps
        if self.dagger is None or self.dagger.steps is None:
            return recorded
        together: TensorDict = torch.cat([recorded, self.dagger.steps])
        return together

    def state_dict(self) -> dict[str, Any]:
        """What was aggregated, and where sequences are; the files themselves are read again."""
        state = super().state_dict()
        return state if self.dagger is None else {**state, "dagger": self.dagger.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with what had been aggregated, and where sequences were."""
        super().load_state_dict(state_dict)
        if self.dagger is not None and "dagger" in state_dict:
            self.dagger.load_state_dict(state_dict["dagger"])

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """Manifests of the files and of what was aggregated."""
        return [*self.manifests, *([] if self.dagger is None else self.dagger.manifests)]
