"""What the tests of fine-tuning and of posture share: a quiet fit, and a checkpoint in the middle of one."""

from pathlib import Path

import lightning.pytorch as pl

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
    trainer = pl.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", callbacks=[RandomState(), *callbacks],
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
