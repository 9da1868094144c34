"""Settings that have become constants: stored configurations still name them."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from inspect import get_annotations, signature
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
    return _kept(kind, {entry.name for entry in fields(kind)}, get_type_hints(kind), content, where)


def without_constants_of_classes(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A stage's configuration without the entries that the classes of its model and data hold as constants by now.

    Raises:
        ConfigError: see `without_constants`.
    """
    found = dict(content)
    for key in ("model", "data"):
        section = content.get(key)
        if not isinstance(section, Mapping) or not isinstance(section.get("init_args"), Mapping):
            continue
        module, _, name = str(section.get("class_path")).rpartition(".")
        try:
            kind = getattr(import_module(module), name)
            known, hints = set(signature(kind).parameters), {**get_annotations(kind), **get_type_hints(kind.__init__)}
        except Exception:  # the parser says what is wrong with a class
            continue
        found[key] = {**section, "init_args": _kept(kind, known, hints, section["init_args"], where)}
    return found


def _kept(
    kind: Any, known: set[str], hints: Mapping[str, Any], content: Mapping[str, Any], where: str
) -> dict[str, Any]:
    kept = {}
    for name, value in content.items():
        if name in known or get_origin(hints.get(name)) is not ClassVar:
            kept[name] = without_constants(hints.get(name), value, where)
        elif _differs(value, getattr(kind, name)):
            raise ConfigError(f"{where}: {name} is {value!r}; it is no setting any more, but fixed")
    return kept


def _differs(value: Any, constant: Any) -> bool:
    if value is None:  # which left it to the program
        return False
    if is_dataclass(constant) and isinstance(value, Mapping):
        return any(_differs(entry, getattr(constant, name, None)) for name, entry in value.items())
    if isinstance(constant, tuple | list):
        return not isinstance(value, tuple | list) or list(value) != list(constant)
    return bool(value != constant)
