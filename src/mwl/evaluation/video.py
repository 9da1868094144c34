"""Films an episode, with what the agent was told and how it weighed its experts written into the picture."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mwl.core import keys
from mwl.core.errors import WriteFailed
from mwl.robot import CONTROL_HZ
from mwl.rollouts import Agent
from mwl.simulation.rendering.films import Film

if TYPE_CHECKING:
    from mwl.simulation import HumanoidEnv

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_MARGIN = 8  # pixels
_BARS_FROM = 0.78  # of a picture's width, where bars begin
_NAME_SHARE = 0.25  # of a picture's width, the most that a name beside a bar takes
_ROWS_OF_A_LINE, _MOST_BARS = 2, 4


class Recorder:
    """Collects frames of one environment of a batch into a film.

    As a context manager: the film appears at the end of the block, if that ends well and there was a frame.

    Args:
        path: file to write, see `mwl.core.files.FILM_ENDINGS`.
        caption: lines shown at the top; may be changed while recording.
        every: control steps per frame; the film runs in real time.
        size: (width, height) in pixels, even numbers.
        max_steps: control steps that are filmed.
        index: which environment.
        experts: names of the experts whose weights are shown, unless `weights` is set to others.
        failed: called where the film can't be written, as on a full disk; the episode then goes on unfilmed. None lets
            the error end the episode.
    """

    def __init__(
        self,
        path: Path,
        caption: Sequence[str] = (),
        every: int = 2,
        size: tuple[int, int] = (720, 480),
        max_steps: int = 1000,
        index: int = 0,
        experts: Sequence[str] = (),
        failed: Callable[[WriteFailed], None] | None = None,
    ) -> None:
        self.path, self.caption = path, list(caption)
        self.every, self.size, self.max_steps, self.index = every, size, max_steps, index
        self.experts = list(experts)
        self.weights: dict[str, float] | None = None
        self.film = Film(path, CONTROL_HZ / every)
        self._failed, self._given_up = failed, False

    def __enter__(self) -> "Recorder":
        self.film.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._given_up:
            return
        try:
            self.film.__exit__(kind, error, trace)
        except WriteFailed as failure:
            self._give_up(failure)

    def _give_up(self, failure: WriteFailed) -> None:
        if self._failed is None:
            raise failure
        self._given_up = True
        self._failed(failure)

    def __call__(self, step: int, env: "HumanoidEnv", agent: Agent) -> None:
        """Film one control step; fits `run_episodes(on_step=...)`."""
        if step % self.every or step >= self.max_steps or self._given_up:
            return
        camera = getattr(env.task, "film_camera", "") or None  # of the embedded suite alone
        picture = env.render(index=self.index, width=self.size[0], height=self.size[1], camera=camera)
        lines = [*self.caption, f"t = {step / CONTROL_HZ:.1f} s"]
        try:
            self.film.add(annotate(picture, lines, self.weights or self._weights_of(agent)))
        except WriteFailed as failure:
            self.film.abandon()
            self._give_up(failure)

    def _weights_of(self, agent: Agent) -> dict[str, float] | None:
        last = getattr(agent, "last", None)
        if last is None or len(self.experts) < 2 or keys.FUSED_WEIGHTS not in last:
            return None
        return dict(zip(self.experts, last[keys.FUSED_WEIGHTS][self.index].tolist(), strict=True))


def annotate(picture: np.ndarray, lines: Sequence[str], weights: Mapping[str, float] | None = None) -> np.ndarray:
    """The picture [H, W, 3] with lines of text at the top left and bars of the experts' weights at the top right.

    A line takes up to two rows beside the bars and then breaks off; of many experts the heaviest ones are shown.
    """
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image, "RGBA")
    size = max(10, image.height // 28)
    font, height = ImageFont.load_default(size=size), size + 4
    weights = weights or {}
    left, right, free = int(image.width * _BARS_FROM), image.width - _MARGIN, image.width - 2 * _MARGIN
    names = {name: _rows(name, font, int(image.width * _NAME_SHARE), 1)[0] for name in weights}
    if names:  # the widest of all, shown or not, so that text stays where it is while weights change
        free = left - 3 * _MARGIN - int(max(font.getlength(name) for name in names.values()))
    text = [row for line in lines for row in _rows(line, font, free, _ROWS_OF_A_LINE)]
    shown = sorted(weights, key=weights.__getitem__, reverse=True)[:_MOST_BARS]
    bars = [name for name in weights if name in shown]
    draw.rectangle((0, 0, image.width, _MARGIN + max(len(text), len(bars)) * height), fill=(0, 0, 0, 110))
    for row, line in enumerate(text):
        draw.text((_MARGIN, _MARGIN // 2 + row * height), line, fill="white", font=font)
    for row, name in enumerate(bars):
        top = _MARGIN // 2 + row * height
        draw.text((left - _MARGIN // 2, top), names[name], fill="white", font=font, anchor="ra")
        draw.rectangle((left, top + 3, right, top + height - 3), outline=(255, 255, 255, 160))
        end = left + (right - left) * min(1.0, weights[name])
        draw.rectangle((left, top + 3, end, top + height - 3), fill=(255, 190, 60, 255))
    return np.asarray(image)


def _rows(line: str, font: "Font", width: int, most: int) -> list[str]:
    """A line of text in rows of at most `width` pixels, broken between words; what exceeds `most` rows is left out."""
    rows = [""]
    for word in line.split():
        longer = f"{rows[-1]} {word}".lstrip()
        if rows[-1] and font.getlength(longer) > width:
            rows.append(word)
        else:
            rows[-1] = longer
    if len(rows) > most:
        rows[most - 1 :] = [" ".join(rows[most - 1 :])]
    return [row if font.getlength(row) <= width else _cut(row, font, width) for row in rows]


def _cut(row: str, font: "Font", width: int) -> str:
    """As much of a row as fits in `width` pixels with an ellipsis."""
    while row and font.getlength(f"{row}…") > width:
        row = row[:-1]
    return f"{row.rstrip()}…"
