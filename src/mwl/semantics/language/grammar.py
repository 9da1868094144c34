"""How parameters are said: units, amounts, paces, directions, hands and verbs, kept in an editable file."""

import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mwl._places import find
from mwl.core.files import read_yaml
from mwl.semantics import entries

_NUMBERED = ("pace", "change", "bend", "often", "amounts")
_NAMED = ("direction", "side", "verbs", "things", "ground", "gestures", "arms")
_LISTS = (
    *("fillers", "home", "unless", "stop", "up", "down", "over", "chair"),
    *("out", "between", "takes", "alone", "strong", "towards", "to", "beside", "within", "about", "manner"),
)
_QUANTITIES = ("duration", "distance", "angle", "speed", "footsteps", "count")


@dataclass(frozen=True)
class Grammar:
    """What phrases mean: each table gives a number or a name by phrase.

    Args:
        units: by kind of quantity, what one of a unit is in s, m, rad, m/s, footsteps or times.
        numbers: `pace`, `change`, `bend`, `often`, `amounts`.
        names: `direction`, `side`, `verbs`, `things`, `ground`, `gestures`, `arms`.
        opposites: by skill, words with which a sentence asks for anything but that.
        lists: `fillers`, `home`, `unless`, `stop`, `up`, `down`, `over`, `chair`, `out`, `between`, `takes`, `alone`,
            `strong`, `towards`, `to`, `beside`, `within`, `about`, `manner`.
    """

    units: dict[str, dict[str, float]]
    numbers: dict[str, dict[str, float]]
    names: dict[str, dict[str, str]]
    opposites: dict[str, re.Pattern[str]]
    lists: dict[str, tuple[str, ...]]

    @functools.cached_property
    def patterns(self) -> dict[str, re.Pattern[str]]:
        """For every table a pattern of its phrases, the longest first."""
        tables = {**self.numbers, **self.names, **self.lists}
        return {name: re.compile(_any_of(table)) for name, table in tables.items()}

    @functools.cached_property
    def phrases(self) -> dict[str, re.Pattern[str]]:
        """Patterns at the end of a text: a `thing` after `towards` or `beside`, `to_door`, `within`, `about`."""
        words = {name: _any_of(self.lists[name]) for name in ("towards", "to", "beside", "within", "about")}
        doors = _any_of(phrase for phrase, thing in self.names["things"].items() if thing == "door")
        the = r"(?:the|that|this)"
        patterns = {
            "towards": rf"{words['towards']}\s+(?:{the}|your|my|our)\s+(?P<thing>[a-z][a-z -]*)$",
            "to_door": rf"(?:{words['to']}\s+)*{words['to']}\s+{the}\s+{doors}$",
            "beside": rf"{words['beside']}\s+{the}\s+(?P<thing>[a-z ]+)$",
            "within": rf"{words['within']}\s+$",
            "about": rf"(?:{words['about']}\s+)*$",
        }
        return {name: re.compile(pattern) for name, pattern in patterns.items()}

    def opposes(self, text: str, skill: str) -> bool:
        """Whether a text asks for anything but a skill: "close the door" for opening it."""
        found = self.opposites.get(skill)
        if found is None or not found.search(text.lower()):
            return False
        return skill != "door" or not self.patterns["unless"].search(text.lower())

    @functools.cached_property
    def quantity(self) -> re.Pattern[str]:
        """A number or amount followed by a unit."""
        units = [unit for table in self.units.values() for unit in table]
        endless = r"(?:inf(?:init[ey])?|nan|\u221e)(?: number of)?"  # found, to be refused
        signed = rf"(?<![\w.])[-\u2212]?(?:\d+(?:[.,]\d+)?(?:e\d+)?|{endless})"
        return re.compile(
            rf"(?:(?P<number>{signed})(?P<dash>\s*-?\s*)|(?P<amount>{_any_of(self.numbers['amounts'])})\s+)"
            rf"(?P<unit>{_any_of(units, after=True)})"
        )


def _any_of(phrases: Any, after: bool = False) -> str:
    """A pattern of whole phrases, the longest first; `after` a number no gap is needed."""
    inner = "|".join(re.escape(phrase) for phrase in sorted(phrases, key=len, reverse=True))
    before = "" if after else r"(?<![\w-])"
    return rf"{before}(?:{inner})(?![\w-])"


def load_grammar(path: Path) -> Grammar:
    """Read a grammar.

    Raises:
        MissingFile: no such file.
        CorruptFile: a table is missing or holds what is no phrase.
    """
    content = read_yaml(path)
    with entries.of_file(path, "a grammar"):
        whole = entries.mapping(content, "it", ("units", *_NUMBERED, *_NAMED, "opposites", *_LISTS))
        units = entries.mapping(whole["units"], "units", _QUANTITIES)
        return Grammar(
            {kind: _numbered(units[kind], f"units of {kind}") for kind in _QUANTITIES},
            {name: _numbered(whole[name], name) for name in _NUMBERED},
            {name: _by_phrase(entries.named(whole[name], name, entries.some_texts)) for name in _NAMED},
            {
                skill: re.compile(_any_of(phrases))
                for skill, phrases in entries.named(whole["opposites"], "opposites", entries.some_texts).items()
            },
            {name: entries.some_texts(whole[name], name) for name in _LISTS},
        )


def _numbered(content: Any, what: str) -> dict[str, float]:
    if not isinstance(content, dict):
        raise ValueError(f"{what} is no mapping of numbers to phrases")
    listed = {entries.number(key, f"a key of {what}", 0.0, 1e6): value for key, value in content.items()}
    return {phrase: value for value, told in listed.items() for phrase in entries.some_texts(told, what)}


def _by_phrase(named: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {phrase: name for name, phrases in named.items() for phrase in reversed(phrases)}


@functools.cache
def shipped_grammar() -> Grammar:
    """The grammar in `data/semantics`, or that of the file in `MWL_GRAMMAR`."""
    return load_grammar(find(os.environ.get("MWL_GRAMMAR") or "data/semantics/grammar.yaml"))
