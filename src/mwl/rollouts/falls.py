"""What counts as a fall: every threshold of the project, with its reason.

Two notions are measured. `fell`: the benchmark ended the episode, and not because its task was done. `down`: the head
was near the floor, which tasks that never end early (h1-reach, h1-crawl) do not punish by themselves.

What ends an episode of training early, or keeps a state out of a recording, is stricter, for each its own reason.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

DOWN_HEAD = 0.7  # m; lower than a robot bends to touch a target near the floor
RECORDED_ROOT = 0.7  # m; below it a demonstrator is falling, and what it does there is no example


@dataclass(frozen=True)
class Upright:
    """A robot is on its feet while its root is high and its trunk steep enough.

    Args:
        lowest_root: height of the root in m.
        least_upright: cosine of the trunk's tilt.
    """

    lowest_root: float
    least_upright: float

    def lost(self, root: Tensor) -> Tensor:
        """Where it isn't `[N]` bool, for poses `[N, 7+]` (position in m, quaternion wxyz) of the root."""
        return (root[:, 2] < self.lowest_root) | (uprightness(root[:, 3:7]) < self.least_upright)


GAIT = Upright(0.72, 0.6)  # following a stride: who is so low or tilted has stumbled, and no stride goes on
AT_WORK = Upright(
    0.75, 0.6
)  # at the door and in fine-tuning: knees bend little there, and a fall is charged as it begins
HAND_OVER = Upright(0.75, 0.9)  # another skill can go on only from who still stands
LYING = Upright(0.42, -1.0)  # crawling: the root of one who has sunk flat
AT_RISK = Upright(0.75, 0.5)  # an instruction is interrupted: no upright skill passes through this on purpose


def fell(terminated: NDArray[np.bool_], succeeded: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where an episode ended by a fall `[N]`: terminated (or its physics broke), and not by success."""
    return terminated & ~succeeded


def uprightness(quaternion: Tensor) -> Tensor:
    """Cosine `[N]` of the tilt from upright, of quaternions `[N, 4]` wxyz that need not be unit."""
    w, x, y, z = quaternion.unbind(-1)
    return 1 - 2 * (x * x + y * y) / (w * w + x * x + y * y + z * z)
