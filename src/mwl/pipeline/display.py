"""Progress of a running pipeline: live bars on a terminal, one line per event in a log."""

import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from mwl.core.errors import MwlError
from mwl.core.files import read_json
from mwl.core.terminal import printable
from mwl.pipeline.worker import PROGRESS

_LINE_EVERY_S = 20.0  # in a log, of every stage


class Display:
    """Shows every running stage; a context manager."""

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", style="dim", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.overall = self.progress.add_task("pipeline", total=total, text="")
        self._bars: dict[str, tuple[TaskID, Path, float]] = {}
        self._lines: dict[str, tuple[float, float]] = {}  # of each stage: when its last line was written, and its share

    def __enter__(self) -> "Display":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def skipped(self, stage: str) -> None:
        """A stage whose inputs did not change."""
        self._say(f"  =  {stage}: unchanged, skipped", "dim")
        self.progress.advance(self.overall)

    def started(self, stage: str, work: Path, resumed: bool) -> None:
        """A stage whose process has just begun."""
        self._say(f"  >  {stage}: {'goes on from its last checkpoint' if resumed else 'started'}")
        bar = self.progress.add_task(stage, total=1.0, text="")
        self._bars[stage] = (bar, work / PROGRESS, time.monotonic())
        self._lines[stage] = (time.monotonic(), 0.0)

    def told(self, stage: str, notice: str) -> None:
        """What the user should know of a stage before it starts."""
        self.console.print(f"  !  {stage}: {notice}", highlight=False, markup=False, soft_wrap=True)

    def refresh(self) -> None:
        """Read how far each running stage says it is."""
        for stage, (bar, path, _) in self._bars.items():
            try:
                state = read_json(path)
                fraction, text = float(state["fraction"]), str(state["text"])
            except (MwlError, KeyError, TypeError, ValueError):  # not there yet
                continue
            self.progress.update(bar, completed=fraction, text=text)
            if not self.console.is_terminal:
                self._line(stage, fraction, text)

    def _line(self, stage: str, fraction: float, text: str) -> None:
        """In a log, a line per stage now and then, as long as it gets on."""
        written_at, share = self._lines[stage]
        if time.monotonic() - written_at >= _LINE_EVERY_S and fraction > share:
            self._lines[stage] = (time.monotonic(), fraction)
            self.console.print(f"     {stage}: {fraction:.0%} {text}", highlight=False, markup=False, soft_wrap=True)

    def ended(self, stage: str, *, ok: bool, text: str = "") -> None:
        """A stage whose process is gone."""
        bar, _, started = self._bars.pop(stage)
        self.progress.remove_task(bar)
        seconds = time.monotonic() - started
        self._say(f"  {'ok' if ok else '!!'} {stage}", "green" if ok else "red", f": {seconds:.0f} s {text}")
        if ok:
            self.progress.advance(self.overall)

    def _say(self, text: str, style: str = "", rest: str = "") -> None:
        """One line; names of stages are printed as they are, brackets and all."""
        self.console.print(Text.assemble((printable(text), style), printable(rest)), highlight=False)
