"""What every stage does beside learning: checkpoints, random numbers, progress, the artifact at the end."""

import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from mwl._renamed import FORMER_ARTIFACT
from mwl.core.artifact import write_artifact
from mwl.core.checkpoints import refuse_changed
from mwl.core.errors import ConfigError, NonFiniteLoss, WriteFailed
from mwl.core.files import write_json, write_text
from mwl.core.machine import peak_memory
from mwl.core.terminal import redacted
from mwl.experiments import tracking
from mwl.experiments.logger import StageLogger
from mwl.training.resume import LAST

CONFIG = "config.yaml"
RUN_ID = "mlflow_run_id"


class PeriodicCheckpoint(Checkpoint):
    """Saves `last.ckpt` at round ends, at most every `every_s` seconds, at the end, and when asked to stop.

    `ModelCheckpoint(train_time_interval=...)` never fires under manual optimisation (lightning 2.6), and a count of
    rounds fits no stage: rounds take from milliseconds to minutes. An epoch's last round is saved once the epoch is
    validated: from a checkpoint before that, Lightning would neither validate nor begin the next epoch as one.
    """

    def __init__(self, folder: str, every_s: float = 30.0) -> None:
        self.path = Path(folder) / LAST
        self.every_s = every_s
        self._saved_at = time.monotonic()
        self._unsaved = self._told_to_stop = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin counting the seconds."""
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Save when the last checkpoint is older than `every_s`."""
        self._unsaved = True
        if not trainer.is_last_batch:
            self._save_if_due(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save when the last checkpoint is older than `every_s`."""
        self._save_if_due(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Let a stop wait until all is validated: Lightning would break off, and half a validation measures nothing."""
        signals = trainer._signal_connector
        self._told_to_stop, signals.received_sigterm = self._told_to_stop or signals.received_sigterm, False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop now, if so told meanwhile."""
        if self._told_to_stop:
            trainer._signal_connector.received_sigterm, self._told_to_stop = True, False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what was reached, from which `--resume` goes on for longer."""
        if self._unsaved:
            self._save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save when asked to stop: Lightning raises that between rounds, so the state is whole. Else keep the last."""
        if isinstance(exception, SIGTERMException) and self._unsaved:
            self._save(trainer)

    def _save_if_due(self, trainer: Trainer) -> None:
        if time.monotonic() - self._saved_at >= self.every_s:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        """Save, unless that would spoil what is there.

        Raises:
            NonFiniteLoss: a weight became NaN or infinite.
        """
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        for name, weight in trainer.lightning_module.named_parameters():
            if not torch.isfinite(weight).all():
                raise NonFiniteLoss(
                    f"{name} is not finite any more, so nothing of it is kept; --resume goes on from the checkpoint "
                    "before, where there is one; a smaller learning rate helps if it recurs"
                )
        trainer.save_checkpoint(self.path)
        self._saved_at, self._unsaved = time.monotonic(), False


class RandomState(Callback):
    """Carries the random number generators in the checkpoint, so that a resumed stage ends as an uninterrupted one.

    Args:
        seed: with which the stage begins; a resumed one goes on with its generators, so it can't have another.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed
        self._restored: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Generators of Python, NumPy and torch as plain lists and tensors, which load with `weights_only=True`."""
        name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
        version, internal, gauss = random.getstate()
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [str(name), np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
            "python": [version, list(internal), gauss],
            "seed": self.seed,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until training starts: setting up draws random numbers as well.

        Raises:
            BadInput: the stage was begun with another seed.
        """
        if self.seed is not None and state_dict.get("seed") is not None:
            refuse_changed("", {"seed_everything": state_dict.get("seed")}, {"seed_everything": self.seed})
        self._restored = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the generators back as they were when the checkpoint was written, before the next batch is drawn.

        Where an epoch is to begin, its data loader has drawn its seed by now; it begins again when it is due.
        """
        if not trainer.fit_loop.restarting:
            trainer.fit_loop._resuming_from_checkpoint = False
        self._put_back()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the generators back where nothing was left to train, before the hand-over draws from them."""
        self._put_back()

    def _put_back(self) -> None:
        if self._restored is None:
            return
        state, self._restored = self._restored, None
        torch.set_rng_state(state["torch"])
        if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
            torch.cuda.set_rng_state_all(state["cuda"])
        name, keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))


class LastFigures(Callback):
    """Carries what was measured last in the checkpoint: a stage stopped after its validation hands it over as well."""

    def __init__(self) -> None:
        self._figures: dict[str, float] = {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the figures."""
        checkpoint["figures"] = {name: float(value) for name, value in trainer.callback_metrics.items()}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take them out; Lightning forgets all figures before training starts."""
        self._figures = checkpoint.get("figures", {})

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give them back where they were not measured anew."""
        for name, value in self._figures.items():
            trainer.callback_metrics.setdefault(name, torch.tensor(value))


_began: dict[Path, tuple[float, float]] = {}  # of each file: when this process wrote it first, and the share then


def write_progress(path: Path, fraction: float, text: str = "") -> None:
    """Tell a watching process how far a stage is; where there is no room for that, the stage goes on.

    It is also what later estimates rest on: seconds from one share to another, and the most memory (bytes) by now.
    """
    since, share = _began.setdefault(path, (time.monotonic(), fraction))
    took = {"from": share, "seconds": time.monotonic() - since, "memory": peak_memory()}
    with suppress(WriteFailed):
        write_json(path, {"fraction": fraction, "text": text, **took})


class ProgressFile(Callback):
    """Writes how far training is to a small file, for the display of the pipeline that runs this stage."""

    def __init__(self, path: str, every_s: float = 1.0) -> None:
        self.path = Path(path)
        self.every_s = every_s
        self._written_at = 0.0

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Write the fraction of rounds done and the metrics meant for the progress bar."""
        if time.monotonic() - self._written_at < self.every_s:
            return
        self._written_at = time.monotonic()
        shown = {name: float(value) for name, value in trainer.progress_bar_metrics.items() if name != "v_num"}
        text = " ".join(f"{name.split('/')[-1]}={value:.4g}" for name, value in list(shown.items())[:4])
        write_progress(self.path, _fraction_done(trainer), text)


def _fraction_done(trainer: Trainer) -> float:
    """Share of training that is done, by epochs and by steps, whichever limit is nearer; 0 when it is open-ended."""
    progress = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    fractions = [0.0]
    if trainer.max_epochs and trainer.max_epochs > 0 and np.isfinite(trainer.num_training_batches):
        within = progress / max(1, trainer.num_training_batches)
        fractions.append((trainer.current_epoch + within) / trainer.max_epochs)
    if trainer.max_steps > 0:
        fractions.append(trainer.global_step / trainer.max_steps)
    return min(1.0, max(fractions))


class SaveConfig(SaveConfigCallback):
    """Writes the complete configuration beside the checkpoints and to MLflow.

    The stock callback needs the logger's `save_dir`, which is None for a sqlite store.
    """

    def __init__(self, *args: Any, folder: str, **kwargs: Any) -> None:
        kwargs["save_to_log_dir"] = False
        super().__init__(*args, **kwargs)
        self.folder = Path(folder)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write `config.yaml`."""
        write_text(self.folder / CONFIG, self._text())

    def _text(self) -> str:
        """The configuration of what is made, without what was said of how to go about it this time.

        The store's address in it may hold a password.
        """
        config = self.config.clone()
        for key, unsaid in (("resume", False), ("force", False), ("progress_file", None)):
            if key in config:
                config[key] = unsaid
        return redacted(self.parser.dump(config, skip_none=False))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the configuration, and write the run's id for a later resume."""
        logger = trainer.logger
        if isinstance(logger, StageLogger):
            logger.begin()
        if isinstance(logger, MLFlowLogger) and logger.run_id:
            logger.experiment.log_text(logger.run_id, self._text(), CONFIG)
            write_text(self.folder / RUN_ID, logger.run_id)


class WriteArtifact(Callback):
    """Writes the artifact once training is complete, and copies it to MLflow."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a module that leaves no artifact, before hours are spent on it.

        Raises:
            ConfigError: the module has no `artifact()`.
        """
        if not (hasattr(pl_module, "artifact") or hasattr(pl_module, FORMER_ARTIFACT)):
            name = type(pl_module).__qualname__
            raise ConfigError(f"model {name} has no artifact() method, so it cannot be fitted as a stage")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Only a training that was not interrupted arrives here; a trial run of the configuration leaves nothing.

        Raises:
            ConfigError: the trainer's limits let nothing be trained.
        """
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if trainer.fit_loop.epoch_loop.batch_progress.total.ready == 0:
            raise ConfigError("nothing was trained: trainer.max_epochs, max_steps or limit_train_batches is 0")
        logger = trainer.logger
        content = getattr(pl_module, "artifact", None) or getattr(pl_module, FORMER_ARTIFACT)
        entries: dict[str, Any] = content()
        if isinstance(logger, MLFlowLogger) and logger.run_id:
            write_artifact(self.folder, mlflow_run_id=logger.run_id, **entries)
            logger.experiment.log_artifacts(logger.run_id, str(self.folder), tracking.ARTIFACT)
        else:
            write_artifact(self.folder, **entries)
