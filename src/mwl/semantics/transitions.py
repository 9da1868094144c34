"""Transitions: which skill goes between two others, kept in an editable file."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import yaml

from mwl.errors import CorruptFile, MissingFile


@dataclass(frozen=True)
class Transition:
    """From `before` to `after` the skill `by` acts for a number of control steps in between."""

    before: str
    after: str
    by: str
    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"{self.before} to {self.after}: steps is {self.steps}, not at least 1")


def load_transitions(path: Path, skills: Collection[str]) -> tuple[Transition, ...]:
    """Read a file of transitions, and keep those by skills that somebody can carry out.

    Raises:
        MissingFile: no such file.
        CorruptFile: a transition lacks an entry, has one too many, or takes no step.
    """
    if not path.is_file():
        raise MissingFile(f"{path}: no such file of transitions")
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        return tuple(found for entry in entries if (found := Transition(**entry)).by in skills)
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise CorruptFile(f"{path}: not a list of transitions ({error})") from error
