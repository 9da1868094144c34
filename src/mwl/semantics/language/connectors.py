"""Connectors: which skill goes between two others, kept in an editable file."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mwl.core.files import read_yaml
from mwl.semantics import entries


@dataclass(frozen=True)
class Connector:
    """From `before` to `after` the skill `by` acts for a number of control steps in between."""

    before: str
    after: str
    by: str
    steps: int


def load_connectors(path: Path, skills: Collection[str]) -> tuple[Connector, ...]:
    """Read a file of connectors, and keep those by skills that somebody can carry out.

    Raises:
        MissingFile: no such file.
        CorruptFile: a connector lacks an entry, has one too many, or takes no step.
    """
    content = read_yaml(path)
    with entries.of_file(path, "a list of connectors"):
        found = [_connector(entry) for entry in entries.sequence(content, "it")]
    return tuple(connector for connector in found if connector.by in skills)


def _connector(content: Any) -> Connector:
    entry = entries.mapping(content, "a connector", ("before", "after", "by", "steps"))
    before, after, by = (entries.text(entry[key], f"{key} of a connector") for key in ("before", "after", "by"))
    return Connector(before, after, by, entries.steps(entry["steps"], f"steps from {before!r} to {after!r}", 1))
