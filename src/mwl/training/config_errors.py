"""Turns what the configuration parser says about a bad key or value into one line that names key, file and remedy."""

import inspect
import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from mwl._renamed import GONE, names_of
from mwl.core.errors import did_you_mean
from mwl.core.files import shown

_UNKNOWN_KEY = (
    re.compile(r"Group '(?P<group>[^']+)' does not accept option '(?P<key>[^']+)'"),
    re.compile(r"Option '(?P<key>[^']+)' is not accepted"),
    re.compile(r"Unrecognized arguments: (?P<key>\S+)", re.IGNORECASE),
    re.compile(r"Key '(?P<key>[^']+)' is not expected"),
    re.compile(r"No action for key \"?'?(?P<key>[\w.]+)"),
)
_BAD_VALUE = re.compile(r"Parser key \"(?P<key>[^\"]+)\":\s*(?P<reason>Expected [^\n]*)")
_BAD_UNION = re.compile(
    r"Parser key \"(?P<key>[^\"]+)\":\s+Does not validate[^\n]*\s+Subtypes: \[(?P<types>[^\n]*)\]\s+Errors:\s+"
    r"(?:- Expected [^\n]*\s+)+Given value type: [^\n]*\s+Given value: (?P<value>[^\n]*)"
)
_OUT_OF_RANGE = re.compile(
    r"Parser key \"(?P<key>[^\"]+)\":(?:(?!Parser key).)*?Input (?P<reason>should be [^\[]*?) \[type="
    r"(?:(?!Parser key).)*?(?:Got|Given) value: (?P<value>[^\n]*)",
    re.DOTALL,
)
_CLASS_PATH = re.compile(r"Problem with given class_path '([^']+)'")
_BAD_CLASS = re.compile(r"No module named '[^']+'|module '[^']+' has no attribute '[^']+'")


def locate(key: str, files: Sequence[Path]) -> str:
    """`file:line` of the first place where a key stands in the given YAML files, or `command line`."""
    spelt = "|".join(map(re.escape, names_of(key.split(".")[-1])))
    pattern = re.compile(rf"^\s*-?\s*[\"']?(?:{spelt})[\"']?\s*:")
    for file in reversed(files):
        if file.is_file():
            for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
                if pattern.match(line):
                    return f"{file}:{number}"
    return "command line" if key.startswith("-") or not files else str(files[-1])


def _load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _parameters(class_path: str | None) -> set[str]:
    """Names a class takes, its own and those of its bases."""
    if class_path is None:
        return set()
    try:
        return {name for base in _load(class_path).__mro__ for name in inspect.signature(base.__init__).parameters}
    except (ImportError, AttributeError, ValueError, TypeError):
        return set()


def _readable(reason: str) -> str:
    """`Expected a <class 'float'>` as people write it."""
    return " ".join(re.sub(r"<class '([^']+)'>", r"\1", reason).split())


def _unquoted(reason: str) -> str:
    """What to do where a word was wanted that YAML reads as a truth value."""
    for read, words in (("False", ("off", "no")), ("True", ("on", "yes"))):
        if f"Got value: {read}" in reason:
            for word in words:
                if re.search(rf"['\"]{word}['\"]", reason):
                    return f"; YAML reads {word} as {read.lower()}: write it in quotes, '{word}'"
    return ""


def explain(message: str, files: Sequence[Path] = (), known: Iterable[str] = ()) -> str:
    """One line for people out of a parser's message.

    Args:
        message: what jsonargparse raised; several lines, the useful one somewhere in the middle.
        files: configuration files that were read, in reading order, searched for the offending key.
        known: dotted keys the parser knows, searched for the nearest one.
    """
    class_paths = _CLASS_PATH.findall(message)
    class_path = class_paths[-1] if class_paths else None
    for pattern in _UNKNOWN_KEY:
        found = pattern.search(message)
        if found:
            key = found["key"]
            bare = key.lstrip("-").split("=")[0]
            group = found.groupdict().get("group")
            owner = class_path if class_path else group
            names = {name.removeprefix(f"{group}.") if group else name for name in known}
            candidates = names | _parameters(class_path)
            where = f" of {owner}" if owner else ""
            remedy = GONE.get(bare.split(".")[-1])
            hint = f"; {remedy}" if remedy else did_you_mean(bare, candidates)
            return f"{locate(key, files)}: unknown key {bare!r}{where}{hint}"
    found = _BAD_CLASS.search(message)
    if found:
        return f"{locate('class_path', files)}: cannot load class {class_path!r}: {found[0]}"
    found = _OUT_OF_RANGE.search(message)
    if found:
        key, value = found["key"], shown(Path(found["value"]))
        reason = found["reason"].replace("less than inf", "a finite number")
        return f"{locate(key, files)}: bad value for {key!r}: {reason}. Got value: {value}"
    found = _BAD_VALUE.search(message)
    if found:
        reason = _readable(found["reason"])
        return f"{locate(found['key'], files)}: bad value for {found['key']!r}: {reason}{_unquoted(reason)}"
    found = _BAD_UNION.search(message)
    if found:
        key, types, value = found["key"], _readable(found["types"]).replace("NoneType", "null"), found["value"]
        reason = f"Expected one of {types}. Got value: {value}"
        return f"{locate(key, files)}: bad value for {key!r}: {reason}{_unquoted(reason)}"
    lines = [" ".join(line.split()) for line in message.splitlines() if line.strip()]
    where = f"{files[-1]}: " if files else ""
    return where + "; ".join(lines[:3])[:300]
