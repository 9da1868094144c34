"""Gestures by their words: raising an arm, waving, crouching, and with which arm."""

import re
from collections.abc import Collection

from mwl.semantics.language.grammar import Grammar

RAISE, WAVE = "raise_arm", "wave"
_GIVEN = re.compile(r"^((?:(?:please|now|just|and|can you|could you) )*)(?:give|do|make|show)(?: [\w-]+){0,4} wave\b")
_PEOPLE = "me|us|him|them|people|everyone|everybody|someone|somebody"
_WHOM = re.compile(
    r"\b(?:at|to|greet)\s+(?:(?:the|your|my|our|his|her|that|this|these|those)\s+\w+|"
    rf"(?:{_PEOPLE}|her))(?:\s+over there)?$"
)
_THING = re.compile(r"(?:a|an|the)\s")  # "a wave" is a thing, and asks for nothing


def gesture(text: str, grammar: Grammar, skills: Collection[str]) -> tuple[str, str] | None:
    """Skill and side (`left`, `right`, `both` or "") that a clause asks for; None where it says anything besides.

    Args:
        text: words of the clause in small letters, without its quantities.
        grammar: what phrases mean.
        skills: those that can be asked for.
    """
    arms, rest = _taken(text, "arms", grammar)
    rest = _GIVEN.sub(r"\1wave", rest)
    if whom := _WHOM.search(rest):  # who is greeted, which changes nothing
        rest = rest[: whom.start()] + ("greet" if whom[0].startswith("greet") else "")
    verbs, rest = _taken(rest, "gestures", grammar)
    if whom and verbs != {WAVE}:
        return None
    raised = bool(arms) and not verbs and any(word in rest.split() for word in ("up", "high", "overhead", "air"))
    rest = _taken(_taken(rest, "manner", grammar)[1], "fillers", grammar)[1]
    asked = {RAISE} if raised else verbs
    if rest or len(asked) != 1 or len(arms) > 1 or _THING.match(text):
        return None
    skill, arm = next(iter(asked)), next(iter(arms), "")
    if skill not in skills or (skill == RAISE and not arm) or (skill == "crouch" and arm):
        return None
    return skill, arm if arm in ("left", "right", "both") else ""


def _taken(text: str, table: str, grammar: Grammar) -> tuple[set[str], str]:
    """What the phrases of a table in a text mean, and the text without them."""
    pattern, meaning = grammar.patterns[table], grammar.names.get(table, {})
    found = {meaning.get(phrase, phrase) for phrase in pattern.findall(text)}
    return found, re.sub(r"[\s,]+", " ", pattern.sub(" ", text)).strip()
