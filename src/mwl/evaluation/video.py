"""Films an episode, with what the agent was told and how it weighed its experts written into the picture."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mwl import keys
from mwl.evaluation.agents import Agent

if TYPE_CHECKING:
    from imageio.core.format import Format

    from mwl.simulation import HumanoidEnv

CONTROL_HZ = 50
_MARGIN = 8


class Recorder:
    """Collects frames of one environment of a batch into an mp4 file, which appears when it is complete.

    Args:
        path: file to write.
        caption: lines shown at the top; may be changed while recording.
        every: control steps per frame; the film runs in real time.
        size: (width, height) in pixels, even numbers.
        max_steps: control steps that are filmed.
        index: which environment.
        experts: names of the experts whose weights are shown, unless `weights` is set to others.
    """

    def __init__(
        self,
        path: Path,
        caption: Sequence[str] = (),
        every: int = 2,
        size: tuple[int, int] = (480, 360),
        max_steps: int = 1000,
        index: int = 0,
        experts: Sequence[str] = (),
    ) -> None:
        self.path, self.caption = path, list(caption)
        self.every, self.size, self.max_steps, self.index = every, size, max_steps, index
        self.experts = list(experts)
        self.weights: dict[str, float] | None = None
        self.frames = 0
        self._scratch = path.with_name(f".{path.stem}.part{path.suffix}")
        self._writer: Format.Writer | None = None

    def __call__(self, step: int, env: "HumanoidEnv", agent: Agent) -> None:
        """Film one control step; fits `run_episodes(on_step=...)`."""
        if step % self.every or step >= self.max_steps:
            return
        picture = env.render(index=self.index, width=self.size[0], height=self.size[1])
        self.add(
            annotate(
                picture, [*self.caption, f"t = {step / CONTROL_HZ:.1f} s"], self.weights or self._weights_of(agent)
            )
        )

    def add(self, picture: np.ndarray) -> None:
        """Append one frame, [H, W, 3] uint8."""
        if self._writer is None:
            import imageio.v2 as imageio

            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = imageio.get_writer(
                self._scratch, fps=CONTROL_HZ / self.every, codec="libx264", quality=7, macro_block_size=2
            )
        self._writer.append_data(picture)
        self.frames += 1

    def close(self) -> Path:
        """Finish the file and return its path."""
        if self._writer is not None:
            self._writer.close()
            os.replace(self._scratch, self.path)
        return self.path

    def _weights_of(self, agent: Agent) -> dict[str, float] | None:
        last = getattr(agent, "last", None)
        if last is None or len(self.experts) < 2 or keys.FUSED_WEIGHTS not in last:
            return None
        return dict(zip(self.experts, last[keys.FUSED_WEIGHTS][self.index].tolist(), strict=True))


def annotate(picture: np.ndarray, lines: Sequence[str], weights: dict[str, float] | None = None) -> np.ndarray:
    """The picture [H, W, 3] with lines of text at the top left and one bar per expert weight at the top right."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image, "RGBA")
    size = max(10, image.height // 28)
    font, height = ImageFont.load_default(size=size), size + 4
    rows = max(len(lines), len(weights or {}))
    draw.rectangle((0, 0, image.width, _MARGIN + rows * height), fill=(0, 0, 0, 110))
    for row, line in enumerate(lines):
        draw.text((_MARGIN, _MARGIN // 2 + row * height), line, fill="white", font=font)
    left, right = int(image.width * 0.78), image.width - _MARGIN
    for row, (name, weight) in enumerate((weights or {}).items()):
        top = _MARGIN // 2 + row * height
        draw.text((left - _MARGIN // 2, top), name, fill="white", font=font, anchor="ra")
        draw.rectangle((left, top + 3, right, top + height - 3), outline=(255, 255, 255, 160))
        end = left + (right - left) * min(1.0, weight)
        draw.rectangle((left, top + 3, end, top + height - 3), fill=(255, 190, 60, 255))
    return np.asarray(image)
