"""Settings that have become constants: stored configurations still name them."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from mwl.core.errors import ConfigError


def without_constants(kind: Any, content: Any, where: str) -> Any:
    """A configuration without the entries that its dataclass holds as constants (`ClassVar`) by now.

    Args:
        kind: the dataclass, or a type that holds one.
        content: plain values.
        where: what they are from, for the message.

    Raises:
        ConfigError: one of them has another value than the constant.
    """
    if get_origin(kind) in (Union, UnionType):
        kind = next((inner for inner in get_args(kind) if is_dataclass(inner)), None)
    if not is_dataclass(kind) or not isinstance(content, Mapping):
        return content
    hints = get_type_hints(kind)
    known = {entry.name for entry in fields(kind)}
    kept = {}
    for name, value in content.items():
        if name in known or get_origin(hints.get(name)) is not ClassVar:
            kept[name] = without_constants(hints.get(name), value, where)
        elif _differs(value, getattr(kind, name)):
            raise ConfigError(f"{where}: {name} is {value!r}; it is no setting any more, but fixed")
    return kept


def _differs(value: Any, constant: Any) -> bool:
    if is_dataclass(constant) and isinstance(value, Mapping):
        return any(_differs(entry, getattr(constant, name, None)) for name, entry in value.items())
    return list(value) != list(constant) if isinstance(constant, tuple | list) else value != constant
