"""Modules that stay beside the simulation when the networks go to a GPU."""

from collections.abc import Callable

from torch import Tensor, nn


class HostModule(nn.Module):
    """A module whose tensors stay on the CPU, wherever it or the module that it is part of is moved.

    For what deals with the simulation at every step, in a few numbers: on a GPU each time would cost a transfer.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "HostModule":
        return self
