"""Uneven ground on which a teacher is trained: strips along +x in one scene, and how high each is."""

from dataclasses import dataclass, field
from typing import ClassVar

import mujoco
import numpy as np
import torch
from torch import Tensor

from mwl.core.errors import BadInput, ConfigError

SEEN, BEHIND = 2.0, 0.8  # m of the root from a hurdle between which it is the next one
_FAR, _ABOVE = 1000.0, 10.0  # m: where the robot is put meanwhile, and where rays start


@dataclass(frozen=True)
class GroundConfig:
    """Where the strips are; each must be the same at every y that its robots may come to."""

    scene: str = "rough.xml"
    """MJCF file of the package's scenes, or path of one's own."""
    strips: list[float] = field(default_factory=lambda: [0.0, 12.0, 24.0, 36.0, -12.0, -24.0, -36.0])
    """y in m of their middles."""
    sees: bool = False
    """Whether the teacher is told how far ahead the next hurdle is, and how high."""
    length: ClassVar[float] = 30.0  # m, from x = 0, within which episodes begin
    spacing: ClassVar[float] = 0.02  # m

    def __post_init__(self) -> None:
        if not self.strips:
            raise ConfigError("ground.strips is empty: name the y of at least one strip")


class Ground:
    """Heights of the strips of a scene, measured once by rays from above.

    Args:
        model: the compiled scene.
        config: where its strips are.

    Raises:
        BadInput: there is no ground somewhere on a strip, or it is higher than 10 m.
    """

    def __init__(self, model: mujoco.MjModel, config: GroundConfig) -> None:
        self.config = config
        self.strips = torch.tensor(config.strips)
        data = mujoco.MjData(model)
        data.qpos[0] = -_FAR
        mujoco.mj_forward(model, data)
        self._first = -2.0
        along = np.arange(self._first, config.length + 10.0, config.spacing)
        self._heights = torch.tensor([[_height(model, data, x, y) for x in along] for y in config.strips])
        if config.sees:
            self._ahead = torch.stack([_ahead(strip, config.spacing) for strip in self._heights])

    def height(self, strip: Tensor, x: Tensor) -> Tensor:
        """Height in m `[N, ...]` at x in m `[N, ...]` of strips `[N]`."""
        index = ((x - self._first) / self.config.spacing).round().long().clamp(0, self._heights.shape[1] - 1)
        return self._heights[strip.view(-1, *[1] * (x.dim() - 1)), index]

    def ahead(self, strip: Tensor, x: Tensor) -> Tensor:
        """Way in m to the next hurdle, less than 0 while it is being crossed, and its height in m `[N, 2]`."""
        index = ((x - self._first) / self.config.spacing).round().long().clamp(0, self._heights.shape[1] - 1)
        return self._ahead[strip, index]


def _ahead(heights: Tensor, spacing: float) -> Tensor:
    """Of every place on a strip `[P]`: way to the next hurdle's middle in m and its height in m `[P, 2]`.

    A hurdle is the next one until it lies `BEHIND` m back; from `SEEN` m on none is seen.
    """
    high = torch.nn.functional.pad(((heights > 0.03) & (heights < 1.0)).long(), (1, 1))
    begins, ends = (high.diff() == 1).nonzero().flatten(), (high.diff() == -1).nonzero().flatten()
    x, result = spacing * torch.arange(len(heights)), torch.tensor([SEEN, 0.0]).repeat(len(heights), 1)
    for begin, end in reversed(list(zip(begins.tolist(), ends.tolist(), strict=True))):
        way = spacing * (begin + end - 1) / 2 - x
        seen = (way >= -BEHIND) & (way < SEEN)
        result[seen] = torch.stack([way[seen], heights[begin:end].max().expand(int(seen.sum()))], dim=-1)
    return result


def _height(model: mujoco.MjModel, data: mujoco.MjData, x: float, y: float) -> float:
    hit = np.zeros(1, dtype=np.int32)
    distance = mujoco.mj_ray(model, data, np.array([x, y, _ABOVE]), np.array([0.0, 0.0, -1.0]), None, 1, -1, hit)
    if distance <= 0:
        raise BadInput(f"ground: none between z = 0 and {_ABOVE:g} m at x = {x:.2f}, y = {y:.2f} m of the scene")
    return _ABOVE - float(distance)
