"""Going on from a checkpoint: which one is whole, what the configuration changed since, and what is left to do."""

import os
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer

from mwl.core.checkpoints import load_checkpoint, save_checkpoint
from mwl.core.errors import CorruptFile, MissingFile

LAST = "last.ckpt"
FRESH = ".last.ckpt"  # the last one until it gets its name
BEFORE = "before_last.ckpt"
DAMAGED = ".damaged"  # behind the name of a checkpoint that was set aside


class WholeFiles(TorchCheckpointIO):
    """Writes checkpoints beside their target, flushed, and renames them.

    Lightning writes to the temporary folder and moves from there, which across file systems is a copy over the good
    checkpoint: a full disk or a kill leaves half of one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint whole or not at all; the one that was there becomes the one before.

        Raises:
            WriteFailed: the disk is full, or the place can't be written.
        """
        path = Path(path)
        if path.name != LAST:
            save_checkpoint(path, checkpoint)
            return
        fresh = path.with_name(FRESH)
        save_checkpoint(fresh, checkpoint)
        if path.exists():
            os.replace(path, path.with_name(BEFORE))
        os.replace(fresh, path)


def has_checkpoint(work: Path) -> bool:
    """Whether a stage's work folder holds a checkpoint, whole or not."""
    return any((work / name).is_file() for name in (LAST, FRESH))


def usable_checkpoint(work: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint of a stage, and what to tell the user of damaged ones, which are set aside."""
    notices: list[str] = []
    for name in (LAST, FRESH, BEFORE):
        path = work / name
        if not path.is_file() or (name == BEFORE and not notices):
            continue
        try:
            for state in load_checkpoint(path).values():
                beside = state.get("replay") if isinstance(state, dict) else None
                if isinstance(beside, str):  # a replay buffer in a file of its own
                    load_checkpoint(beside)
        except (CorruptFile, MissingFile, AttributeError) as error:  # the last: it holds no checkpoint at all
            os.replace(path, aside := path.with_name(name + DAMAGED))
            notices.append(f"{error}; set aside as {aside.name}")
            continue
        if notices:
            notices.append(f"{work}: goes on from the checkpoint before the last one")
        return path, notices
    if notices:
        notices.append(f"{work}: no checkpoint is whole, so the stage begins anew")
    return None, notices


class OptimiserSettings(Callback):
    """Lets the configured settings of optimisers hold after a resume: a checkpoint brings those that it was made with.

    What the user changed is taken from the configuration: rates, betas, weight decay, by group. What was not changed
    stays as training left it, as a rate that a schedule or the training itself moves. A schedule goes on at its
    present share of the new rate.
    """

    def __init__(self) -> None:
        self._now: list[list[dict[str, Any]]] = []
        self._then: list[list[dict[str, Any]]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what is configured: optimisers are made, and their states not yet restored."""
        self._now = [[_settings(group) for group in optimizer.param_groups] for optimizer in trainer.optimizers]

    def state_dict(self) -> dict[str, Any]:
        """What is configured now."""
        return {"configured": self._now}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Note what was configured then."""
        self._then = state_dict["configured"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Apply what changed."""
        schedules: list[Any] = [config.scheduler for config in trainer.lr_scheduler_configs]
        for optimizer, now, then in zip(trainer.optimizers, self._now, self._then, strict=False):
            for i, (group, new, old) in enumerate(zip(optimizer.param_groups, now, then, strict=False)):
                changed = {key: value for key, value in new.items() if old.get(key) != value}
                if "initial_lr" in new:  # set by a schedule, which has moved `lr` at once
                    changed.pop("lr", None)
                    if "initial_lr" in changed and old.get("initial_lr"):
                        changed["lr"] = group["lr"] * new["initial_lr"] / old["initial_lr"]
                    for schedule in (each for each in schedules if each.optimizer is optimizer):
                        schedule.base_lrs[i] = new["initial_lr"]
                group.update(changed)
            for schedule in (each for each in schedules if each.optimizer is optimizer):
                schedule._last_lr = [group["lr"] for group in optimizer.param_groups]
        self._then = []


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    """The settings of a group of parameters that are plain values."""
    plain = (bool, int, float, str, tuple, list, type(None))
    return {key: value for key, value in group.items() if key != "params" and isinstance(value, plain)}


class MoreRounds(Callback):
    """Lets a finished stage be resumed for more rounds, where its data count them: Lightning takes it for done."""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint's loops look as in the middle of an epoch, which is what they are in now."""
        if getattr(trainer.datamodule, "rounds_left", 0) <= 0:  # type: ignore[attr-defined]
            return
        loops = checkpoint["loops"]["fit_loop"]
        batches, epochs = loops["epoch_loop.batch_progress"], loops["epoch_progress"]
        batches["is_last_batch"] = False
        for counts in (batches["total"], batches["current"]):
            counts["completed"] = counts["processed"] - 1  # as when a batch just ended
        for counts in (epochs["total"], epochs["current"]):
            counts["processed"] = counts["completed"] = counts["started"] - 1
