"""What the tests of fine-tuning and of posture share: a quiet fit, and a checkpoint in the middle of one."""

from pathlib import Path

import lightning.pytorch as pl
import quiet_trainer

from mwl.experts.finetuning.module import FineTuningData, FineTuningStage
from mwl.training.callbacks import RandomState


class SaveAfter(pl.Callback):
    """Saves a checkpoint after a number of rounds."""

    def __init__(self, rounds: int, path: Path) -> None:
        self.rounds, self.path = rounds, path

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.datamodule.rounds_done == self.rounds:  # type: ignore[attr-defined]
            trainer.save_checkpoint(self.path)


def run(module: FineTuningStage, data: FineTuningData, checkpoint=None, callbacks=()) -> None:
    quiet_trainer.fit(module, data, callbacks=[RandomState(), *callbacks], checkpoint=checkpoint)
