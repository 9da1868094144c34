"""Plain values from a file as the dataclass that they should be, every field of the right type and finite."""

import json
from functools import cache
from typing import Any, TypeVar, cast

from mwl.core.errors import CorruptFile
from mwl.core.files import parse_json, shown

T = TypeVar("T")


def from_plain(kind: type[T], entries: Any, where: str, *, unknown: bool = False) -> T:
    """An instance of a dataclass from what a file holds for it.

    Args:
        kind: the dataclass.
        entries: its fields by name.
        where: file or place, which begins the message.
        unknown: pass over entries that it has no field for, as files of another version may have.

    Raises:
        CorruptFile: no mapping, or an entry that is missing, unknown, of another type, or not finite.
        BadInput: what the dataclass itself refuses.
    """
    from pydantic import ValidationError

    try:
        text = json.dumps(entries, allow_nan=False)  # as JSON, so that a list is a tuple and a mapping a dataclass
        parse_json(text, where)
        value = _validator(cast(Any, kind)).validate_json(text, strict=True, extra="ignore" if unknown else "forbid")
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        entry = ".".join(str(part) for part in first["loc"])
        what = f"{shown(entry)[1:-1]}: {first['msg'].lower()}" if entry else first["msg"].lower()
        found = "" if first["type"] == "missing" else f" (found {shown(first['input'])})"
        raise CorruptFile(f"{where}: {what[:200]}{found}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise CorruptFile(f"{where}: holds what is no plain finite value ({str(error)[:80].lower()})") from error
    return cast(T, value)


@cache
def _validator(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
