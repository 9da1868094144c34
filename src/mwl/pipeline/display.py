"""Progress of a running pipeline: live bars on a terminal, one line per event in a log."""

import json
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mwl.pipeline.worker import PROGRESS


class Display:
    """Shows every running stage; a context manager."""

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[text]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.overall = self.progress.add_task("pipeline", total=total, text="")
        self._bars: dict[str, tuple[TaskID, Path, float]] = {}

    def __enter__(self) -> "Display":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def skipped(self, stage: str) -> None:
        """A stage whose inputs did not change."""
        self.console.print(f"[dim]  =  {stage}: unchanged, skipped[/dim]", highlight=False)
        self.progress.advance(self.overall)

    def started(self, stage: str, work: Path, resumed: bool) -> None:
        """A stage whose process has just begun."""
        self.console.print(
            f"  >  {stage}: {'goes on from its last checkpoint' if resumed else 'started'}", highlight=False
        )
        bar = self.progress.add_task(stage, total=1.0, text="")
        self._bars[stage] = (bar, work / PROGRESS, time.monotonic())

    def refresh(self) -> None:
        """Read how far each running stage says it is."""
        for bar, path, _ in self._bars.values():
            try:
                state = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            self.progress.update(bar, completed=state["fraction"], text=state["text"])

    def ended(self, stage: str, *, ok: bool, text: str = "") -> None:
        """A stage whose process is gone."""
        bar, _, started = self._bars.pop(stage)
        self.progress.remove_task(bar)
        seconds = time.monotonic() - started
        mark, colour = ("ok", "green") if ok else ("!!", "red")
        self.console.print(f"[{colour}]  {mark} {stage}[/{colour}]: {seconds:.0f} s {text}", highlight=False)
        if ok:
            self.progress.advance(self.overall)
