"""What a command says: its answer on stdout, progress and what it wrote on stderr."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mwl.core.terminal import plain, printable, tell, told

_LINE_S = 10.0  # between two lines of progress that no terminal shows
_LONGEST = 1000  # characters of a message


def say(as_json: bool, answer: dict[str, Any], table: Callable[[], Any]) -> None:
    """One JSON object, or a table for people, on stdout."""
    if as_json:
        print(json.dumps(answer), flush=True)
        return
    from rich.console import Console

    content = table()
    Console(width=None if sys.stdout.isatty() else 120).print(plain(content) if isinstance(content, str) else content)


def in_lines(report: dict[str, Any]) -> str:
    """One entry per line, numbers to four digits; what an entry holds itself follows it, indented."""
    lines = []
    for key, value in report.items():
        if isinstance(value, dict | list) and value:
            entries = [f"{name}: {entry}" for name, entry in value.items()] if isinstance(value, dict) else value
            lines += [f"{key}:", *(f"  {entry}" for entry in entries)]
        elif value != []:
            lines.append(f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}")
    return "\n".join(lines)


def wrote(path: Path) -> int:
    """Say what lies where; gives the exit code 0."""
    print(f"mwl: wrote {path}", file=sys.stderr)
    return 0


def one_line(message: str) -> str:
    """A message that can be shown, whatever values it repeats."""
    line = told(message)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"


class progress:  # reads as a function where it is used
    """A progress bar on stderr, or lines where that is no terminal; gives a function (fraction, text)."""

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", markup=False),
        )
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.title, self.said = printable(title)[:40], time.monotonic()
        self.task = self.bar.add_task(self.title, total=1.0, text="")

    def __enter__(self) -> Callable[[float, str], None]:
        self.bar.start()

        def report(fraction: float, text: str = "") -> None:
            if self.bar.disable and time.monotonic() - self.said > _LINE_S:
                self.said = time.monotonic()
                tell(f"{self.title}: {fraction:.0%} {text}")
            self.bar.update(self.task, completed=fraction, text=printable(text))

        return report

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
