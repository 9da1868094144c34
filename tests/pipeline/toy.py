"""The smallest stages there are: a line fitted with manual optimisation, one round per training step."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from multiprocessing import parent_process
from typing import Any, Literal

import lightning.pytorch as lightning
import torch
from torch.utils.data import DataLoader, IterableDataset

from mwl.core.ranges import Share


def first_time() -> bool:
    """True at the first call in this folder, by whichever process."""
    try:
        open("was here", "x").close()
    except FileExistsError:
        return False
    return True


class Line(lightning.LightningModule):
    """Fits `y = 2 x` from random points; `kill_at` ends the process the hard way in that round, once."""

    def __init__(self, lr: float = 0.05, upstream: str | None = None, kill_at: int | None = None) -> None:
        super().__init__()
        self.save_hyperparameters("lr")
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.lr = lr
        self.kill_at = kill_at
        if upstream is not None:
            from mwl.core.artifact import read_checkpoint

            with torch.no_grad():
                self.weight.copy_(read_checkpoint(upstream)["state_dict"]["weight"])

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        if batch_idx == self.kill_at and first_time():
            os.kill(os.getpid(), signal.SIGKILL)
        # drawn here or where the batch is made, so that a resume which forgets the generator is found out
        x = torch.randn(8) if batch.dtype == torch.int64 else batch
        loss = ((self.weight * x - 2 * x) ** 2).mean()
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.log_dict({"train/loss": loss, "step": float(10 * (batch_idx + 1))})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def artifact(self) -> dict[str, Any]:
        return {
            "stage": "toy",
            "name": "line",
            "checkpoint": {"hyper_parameters": dict(self.hparams), "state_dict": self.state_dict()},
            "robot": "unitree_h1",
        }


class Rounds(lightning.LightningDataModule):
    """Counts rounds."""

    def __init__(self, rounds: int = 20) -> None:
        super().__init__()
        self.rounds = rounds

    def train_dataloader(self) -> DataLoader:
        return DataLoader(torch.arange(self.rounds), batch_size=1)


class KillsDriver(Line):
    """Ends the pipeline that runs it, the hard way, and then goes on as if nothing had happened."""

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        if batch_idx == self.kill_at and first_time():
            driver = parent_process()
            os.kill(driver.pid, signal.SIGKILL)  # type: ignore[arg-type, union-attr]
            threading.Event().wait()  # must be ended from outside, or this test never ends
        super().training_step(batch, batch_idx)


class KillsMachine(Line):
    """Ends the Ray worker that it runs below, and the node of that, and then goes on as if nothing had happened."""

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        if batch_idx == self.kill_at and first_time():
            ray_worker = os.getppid()
            node = int(subprocess.check_output(["ps", "-o", "ppid=", "-p", str(ray_worker)]))
            os.kill(node, signal.SIGKILL)
            os.kill(ray_worker, signal.SIGKILL)
            threading.Event().wait()  # must be ended by the loss of its worker, or this test never ends
        super().training_step(batch, batch_idx)


class Slow(Line):
    """Says that it trains, and takes its time."""

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        if batch_idx == 3:
            first_time()
        time.sleep(0.1)
        super().training_step(batch, batch_idx)


class Draws(IterableDataset):
    """Batches drawn from the global generator as they are fetched."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[torch.Tensor]:
        for _ in range(self.count):
            yield torch.randn(8)


class RandomBatches(Rounds):
    """Hands out random batches."""

    def train_dataloader(self) -> DataLoader:
        return DataLoader(Draws(self.rounds), batch_size=None)


class Scheduled(Line):
    """Trained by Lightning, at a rate that is halved every ten batches."""

    def __init__(self, lr: float = 0.1, decay: float = 0.0) -> None:
        super().__init__(lr)
        self.automatic_optimization = True
        self.decay = decay

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:  # type: ignore[override]
        x = torch.randn(8)
        return ((self.weight * x - 2 * x) ** 2).mean()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=self.decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 ** (step // 10))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Adapting(Line):
    """Moves its rate itself."""

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        super().training_step(batch, batch_idx)
        self.optimizers().param_groups[0]["lr"] *= 0.9  # type: ignore[union-attr]


class Settled(Line):
    """Has settings within bounds."""

    def __init__(self, share: Share = 0.5, switch: Literal["off", "default"] = "off") -> None:
        super().__init__()


class Wide(Line):
    """Has as many weights as it is told."""

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(width, 1))


class Validated(RandomBatches):
    """Has something to validate."""

    def val_dataloader(self) -> DataLoader:
        return DataLoader(torch.arange(2), batch_size=1)


class Drawing(Line):
    """Draws random numbers when an epoch begins, to validate and to hand over."""

    def on_train_epoch_start(self) -> None:
        with torch.no_grad():
            self.weight += 0.01 * torch.randn(1)

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val/drawn", float(torch.randn(())))

    def artifact(self) -> dict[str, Any]:
        entries = super().artifact()
        seen = float(self.trainer.callback_metrics["val/drawn"])
        drawn = {"drawn": float(torch.randn(())), "seen": seen, "weight": self.weight.item()}
        return {**entries, "checkpoint": drawn}


class KillsRun(lightning.Callback):
    """Ends the pipeline that fits this with seed 1, the hard way, once."""

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.datamodule.hparams["seed"] == 1 and trainer.global_step > 0 and first_time():  # type: ignore[attr-defined]
            trainer.save_checkpoint("probe.ckpt")
            driver = parent_process()
            os.kill(driver.pid, signal.SIGKILL)  # type: ignore[arg-type, union-attr]
            threading.Event().wait()
