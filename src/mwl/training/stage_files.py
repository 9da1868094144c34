"""Files that configure a stage: reading one, the defaults before it, what is merged over it, and empty sections."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mwl._places import find, from_folder
from mwl._renamed import present_keys
from mwl.core import files as disk
from mwl.core.errors import ConfigError, CorruptFile


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping, its keys by their present names; those of stages are the user's own.

    Paths in it are relative to its folder, where something lies there, else to the working folder.

    Raises:
        MissingFile: no such file.
        ConfigError: malformed YAML, or not a mapping.
    """
    try:
        content = disk.read_yaml(path)
    except CorruptFile as error:
        raise ConfigError(str(error)) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values")
    content = from_folder(content, find(path).parent)
    return {key: entry if key == "stages" else present_keys(entry) for key, entry in content.items()}


def default_file(path: Path) -> Path | None:
    """The `default.yaml` that is read before a stage's own configuration: beside it, or in the folder above."""
    return next((file for folder in list(path.parents)[:2] if (file := folder / "default.yaml").is_file()), None)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of `base` in which the leaves of `over` win; a mapping merges, anything else replaces."""
    result = copy.deepcopy(dict(base))
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merge(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def check_sections(config: Any, where: str) -> None:
    """Refuse sections of a stage's configuration that stand there without keys, as YAML reads those as nothing.

    Args:
        config: what `mwl fit` gets.
        where: file, or stage, for the message.

    Raises:
        ConfigError: the message names the section.
    """
    for key in ("model", "data", "trainer"):
        if key in config and (config[key] is None or isinstance(config[key], list | int | float)):
            raise ConfigError(f"{where}: `{key}` is empty or no section; give it keys, or leave it out")
        section = config.get(key)
        if isinstance(section, Mapping) and "init_args" in section and not isinstance(section["init_args"], Mapping):
            raise ConfigError(f"{where}: `{key}.init_args` is empty or no section; give it keys, or leave it out")
