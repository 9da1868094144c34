"""The trainer of toy trainings: on the CPU, without a word and without a file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback


def fit(
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    epochs: int = 1,
    callbacks: Iterable[Callback] = (),
    checkpoint: str | Path | None = None,
    **settings: Any,
) -> pl.Trainer:
    """Train for some epochs, on from a checkpoint where one is given; the trainer afterwards."""
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **settings,
    )
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return trainer
