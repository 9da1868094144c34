"""A toy stage that takes its time, so that something can happen meanwhile."""

import time

import torch
from toy import Line


class SlowLine(Line):
    """Takes a quarter of a second for a round."""

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        time.sleep(0.25)
        super().training_step(batch, batch_idx)
