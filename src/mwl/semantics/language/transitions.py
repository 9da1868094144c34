"""Transitions: which skill goes between two others, kept in an editable file."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mwl.core.files import read_yaml
from mwl.semantics import entries


@dataclass(frozen=True)
class Transition:
    """From `before` to `after` the skill `by` acts for a number of control steps in between."""

    before: str
    after: str
    by: str
    steps: int


def load_transitions(path: Path, skills: Collection[str]) -> tuple[Transition, ...]:
    """Read a file of transitions, and keep those by skills that somebody can carry out.

    Raises:
        MissingFile: no such file.
        CorruptFile: a transition lacks an entry, has one too many, or takes no step.
    """
    content = read_yaml(path)
    with entries.of_file(path, "a list of transitions"):
        found = [_transition(entry) for entry in entries.sequence(content, "it")]
    return tuple(transition for transition in found if transition.by in skills)


def _transition(content: Any) -> Transition:
    entry = entries.mapping(content, "a transition", ("before", "after", "by", "steps"))
    before, after, by = (entries.text(entry[key], f"{key} of a transition") for key in ("before", "after", "by"))
    return Transition(before, after, by, entries.steps(entry["steps"], f"steps from {before!r} to {after!r}", 1))
