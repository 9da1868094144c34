"""Answers that are kept on disk: of a language model, of `mwl instruct`, of flags that a shell asked for."""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import mwl
from mwl.core.errors import MwlError
from mwl.core.files import read_json, write_json

MAX_KEPT = 1000  # in a folder; the oldest go


def states(files: Iterable[Path] = ()) -> list[tuple[str, int, int]]:
    """Name, size and time of files and of all of this program: what an answer hangs on."""
    program = sorted(Path(mwl.__file__).parent.rglob("*.py"))
    return [(str(file), state.st_size, state.st_mtime_ns) for file in (*files, *program) if (state := file.stat())]


class KeptAnswers:
    """JSON objects by what they answer. A damaged one is none, and one that can't be written is no reason to stop.

    Args:
        folder: one file each; None keeps none.
        limit: bytes of an answer.
    """

    def __init__(self, folder: Path | str | None, limit: int = 2**20) -> None:
        self.folder, self.limit = folder, limit

    def _file(self, question: bytes) -> Path | None:
        return None if self.folder is None else Path(self.folder) / f"{hashlib.sha256(question).hexdigest()}.json"

    def read(self, question: bytes) -> dict[str, Any] | None:
        """The answer to just this, if there is one."""
        file = self._file(question)
        if file is None or not file.is_file():
            return None
        with suppress(MwlError):
            kept = read_json(file, limit=self.limit)
            return kept if isinstance(kept, dict) else None
        return None

    def write(self, question: bytes, answer: dict[str, Any]) -> None:
        """Keep an answer."""
        file = self._file(question)
        if file is None:
            return
        with suppress(OSError, ValueError, MwlError):  # ValueError: half a character, which no file takes
            write_json(file, answer)
            for old in sorted(file.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-MAX_KEPT]:
                old.unlink(missing_ok=True)
