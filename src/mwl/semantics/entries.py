"""What files of the semantic layer may hold: short printable texts, lists of them, mappings with the keys they need.

Each check returns its value or raises ValueError; who reads the file says which file it was.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mwl.core.errors import CorruptFile
from mwl.core.files import shown

MAX_TEXT = 400  # characters
MAX_COUNT = 2000  # texts of a list, entries of a file
MAX_STEPS = 1_000_000  # control steps
Checked = TypeVar("Checked")


@contextmanager
def of_file(path: Path | str, what: str) -> Iterator[None]:
    """Say which file it was that did not hold what it should.

    Raises:
        CorruptFile: a check in the block failed.
    """
    try:
        yield
    except ValueError as error:
        raise CorruptFile(f"{shown(Path(path))}: not {what} ({error})") from error


def text(value: Any, what: str) -> str:
    """A text of at most `MAX_TEXT` characters that can be printed, not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{what} is {shown(value)}, not a text")
    if len(value) > MAX_TEXT or not value.isprintable():
        raise ValueError(f"{what} {shown(value)} is longer than {MAX_TEXT} characters or can't be printed")
    return value


def texts(value: Any, what: str) -> tuple[str, ...]:
    """A list of texts."""
    return tuple(text(item, f"an entry of {what}") for item in sequence(value, what))


def some_texts(value: Any, what: str) -> tuple[str, ...]:
    """A list of texts, not empty."""
    if not value:
        raise ValueError(f"{what} is empty")
    return texts(value, what)


def sequence(value: Any, what: str) -> list[Any] | tuple[Any, ...]:
    """A list of at most `MAX_COUNT` entries."""
    if not isinstance(value, list | tuple) or len(value) > MAX_COUNT:
        raise ValueError(f"{what} is {shown(value)}, not a list of at most {MAX_COUNT}")
    return value


def mapping(value: Any, what: str, needs: Collection[str] = (), may_have: Collection[str] = ()) -> dict[str, Any]:
    """A mapping with the keys it needs and no other than those it may have."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {shown(value)}, not a mapping")
    if missing := [key for key in needs if key not in value]:
        raise ValueError(f"{what} lacks {', '.join(missing)}")
    if unknown := [key for key in value if key not in needs and key not in may_have]:
        raise ValueError(f"{what} has {shown(unknown[0])}, which it may not have")
    return value


def named(value: Any, what: str, entry: Callable[[Any, str], Checked]) -> dict[str, Checked]:
    """A mapping of at most `MAX_COUNT` names to entries."""
    if not isinstance(value, Mapping) or len(value) > MAX_COUNT:
        raise ValueError(f"{what} is {shown(value)}, not a mapping of at most {MAX_COUNT} names")
    return {text(name, f"a name in {what}"): entry(item, f"{what} {shown(name)}") for name, item in value.items()}


def steps(value: Any, what: str, least: int) -> int:
    """A number of control steps."""
    return whole(value, what, least, MAX_STEPS)


def whole(value: Any, what: str, least: int, most: int) -> int:
    """A whole number within bounds."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{what} is {shown(value)}, not a whole number from {least} to {most}")
    return value


def number(value: Any, what: str, least: float, most: float) -> float:
    """A number within bounds."""
    if type(value) not in (int, float) or not least <= value <= most:
        raise ValueError(f"{what} is {shown(value)}, not a number from {least:g} to {most:g}")
    return float(value)
