"""What counts as a success: the bar is the task's, see `mwl.simulation.task.Task.success_bar`."""

import numpy as np
from numpy.typing import NDArray


def succeeded(returns: NDArray[np.float64], ended_well: NDArray[np.bool_], success_bar: float) -> NDArray[np.bool_]:
    """Where an episode `[N]` reached what the benchmark calls a success, or ended because its task was done."""
    return (returns >= success_bar) | ended_well
