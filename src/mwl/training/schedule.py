"""Files of several parts: a training whose parts follow one another, or recordings that differ in a few settings."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mwl._places import find
from mwl.core.errors import ConfigError, did_you_mean
from mwl.training.stage_files import merge, read_yaml

BEFORE = "${before}"  # stands for the result folder of the part that a part goes on from
_SCHEDULE, _VARIANTS, _FROM = "schedule", "variants", "from"


class Part(NamedTuple):
    """One part of a schedule: the part that it goes on from, if any, and its whole configuration."""

    before: str | None
    content: dict[str, Any]


def read_part(address: Path | str, output: Path | str | None = None) -> dict[str, Any]:
    """Content of a YAML file, or of one part of it where the address is `FILE#PART`.

    Args:
        address: file, or part of it.
        output: result folder of the whole schedule, beside which those of its parts lie; None is `runs/<name of file>`.

    Raises:
        MissingFile: no such file.
        ConfigError: malformed YAML, or no such part.
    """
    file, part = split(address)
    content = read_yaml(file)
    if not part:
        return _base(content) if _VARIANTS in content else content
    found = part_of(content, part, str(file))
    return filled(found.content, f"{output or Path('runs') / file.stem}.{found.before}")


def split(address: Path | str) -> tuple[Path, str]:
    """File, where it lies, and part of an address, the latter empty where it names none."""
    file, _, part = str(address).partition("#")
    return find(file), part


def part_of(content: Mapping[str, Any], name: str, where: str) -> Part:
    """A part of a file's schedule, or one of its variants.

    Raises:
        ConfigError: no such part.
    """
    variants = _sections(content, _VARIANTS, where)
    found = {key: Part(None, changed(_base(content), over)) for key, over in variants.items()}
    found |= parts(content, where)
    if name not in found:
        raise ConfigError(f"{where}: no part {name!r}{did_you_mean(name, found)}; parts: {', '.join(found) or 'none'}")
    return found[name]


def parts(content: Mapping[str, Any], where: str) -> dict[str, Part]:
    """Parts of a schedule by name, in order; none for a file without one.

    Each part goes on from the one before it, or from the one that its `from` names, and says what it changes.

    Raises:
        ConfigError: a part is no section, or goes on from one that does not stand before it.
    """
    found: dict[str, Part] = {}
    before: str | None = None
    for name, changes in _sections(content, _SCHEDULE, where).items():
        before = changes.get(_FROM, before)
        if before is not None and before not in found:
            raise ConfigError(f"{where}: part {name!r} goes on from {before!r}, which is no part before it")
        base = _base(content) if before is None else found[before].content
        found[name] = Part(before, changed(base, {key: value for key, value in changes.items() if key != _FROM}))
        before = name
    return found


def changed(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """As `merge`, but a section that names another class than before starts anew, and null takes a setting back."""
    result = copy.deepcopy(dict(base))
    for key, value in over.items():
        old: Any = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(old, Mapping) and _of_one_class(old, value):
            result[key] = changed(old, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def with_overrides(address: str, overrides: Mapping[str, Any], before: str | None) -> dict[str, Any]:
    """Content of a file or of one part of it, with overrides: those below `schedule` for parts, the others for all.

    Args:
        address: `FILE` or `FILE#PART`.
        overrides: what is merged over it.
        before: what `${before}` stands for.

    Raises:
        MissingFile, ConfigError: see `read_part`.
    """
    file, part = split(address)
    if not part:
        return merge(read_part(address), overrides)
    content = merge(read_yaml(file), {key: value for key, value in overrides.items() if key == _SCHEDULE})
    found = part_of(content, part, str(file)).content
    return merge(found if before is None else filled(found, before), _base(overrides))


def _of_one_class(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return "class_path" not in new or new["class_path"] == old.get("class_path")


def filled(value: Any, before: str) -> Any:
    """A value with every `${before}` replaced."""
    if isinstance(value, str):
        return value.replace(BEFORE, before)
    if isinstance(value, Mapping):
        return {key: filled(item, before) for key, item in value.items()}
    return [filled(item, before) for item in value] if isinstance(value, list) else value


def links(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Keys, dotted, that `${before}` fills, with their values."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from links(value, f"{prefix}{key}.")
        elif isinstance(value, str) and BEFORE in value:
            yield f"{prefix}{key}", value


def _base(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in (_SCHEDULE, _VARIANTS)}


def _sections(content: Mapping[str, Any], key: str, where: str) -> dict[str, dict[str, Any]]:
    sections = content.get(key, {})
    if not isinstance(sections, Mapping) or not all(isinstance(part, Mapping | None) for part in sections.values()):
        raise ConfigError(f"{where}: `{key}` holds parts by name, each a section of what it changes")
    return {str(name): dict(part or {}) for name, part in sections.items()}
