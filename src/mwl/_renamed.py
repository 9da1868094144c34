"""Names that have changed in files: configurations, manifests and checkpoints with the former ones still load.

What a file holds is translated once, where it is read; behind that nothing knows a former name. Former names of
modules, classes and functions are in `mwl._moved`.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

KEYS = {
    "kick_interval": "push_interval",
    "kick_return_mean": "push_return_mean",
    "kick_std": "push_std",
    "kick_survival": "push_survival",
    "kicked_share": "pushed_share",
    "turn_kick_std": "turn_push_std",
}
"""Present names of entries by their former ones. No present entry, whatever it belongs to, has a former name."""


def present_keys(value: Any) -> Any:
    """The same nesting of mappings, lists and values, its keys by their present names.

    A former name beside its present one stays, and is refused later as a key that nobody knows.
    """
    if isinstance(value, Mapping):
        return {_present(key, value): present_keys(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [present_keys(entry) for entry in value]
    return value


def _present(key: Any, beside: Mapping[Any, Any]) -> Any:
    new = KEYS.get(key) if isinstance(key, str) else None
    return key if new is None or new in beside else new


def present_option(argument: str) -> str:
    """A command line argument such as `--data.kick_std=0.1`, its key by the present names."""
    if not argument.startswith("--"):
        return argument
    key, equals, value = argument.partition("=")
    return ".".join(KEYS.get(part, part) for part in key.split(".")) + equals + value


def names_of(key: str) -> list[str]:
    """The key and its former names, by which a file may spell it."""
    return [key, *(old for old, new in KEYS.items() if new == key)]


@cache
def parser_mode() -> str:
    """Mode for a jsonargparse parser, in which YAML files and values may have former names."""
    import yaml
    from jsonargparse import get_loader, set_loader

    load = get_loader("yaml")
    set_loader("mwl", lambda text: present_keys(load(text)), (yaml.YAMLError,))
    return "mwl"
