"""Splitting a compound instruction into clauses, in the order in which they are to be carried out."""

import re

_AFTER = re.compile(r"^\s*after\s+(?P<first>.+?)\s*,\s*(?P<second>.+)$", re.IGNORECASE)
_BEFORE = re.compile(r"^\s*before\s+(?P<second>.+?)\s*,\s*(?P<first>.+)$", re.IGNORECASE)
_LATE_AFTER = re.compile(r"^(?P<second>.+?)\s*,?\s+after\s+(?P<first>.+)$", re.IGNORECASE)
_LATE_BEFORE = re.compile(r"^(?P<first>.+?)\s*,?\s+before\s+(?P<second>.+)$", re.IGNORECASE)
_JOINTS = re.compile(
    r"\s*(?:[;.!]+|,?\s*\b(?:and\s+then|then|and\s+afterwards|afterwards|and\s+finally|finally|next|after\s+that)\b)\s*,?\s*",
    re.IGNORECASE,
)
_LEADING = re.compile(r"^(?:first(?:ly)?|second(?:ly)?|third(?:ly)?|last(?:ly)?|please|now|and)\b[\s,]*", re.IGNORECASE)
_AND = re.compile(r"\s*,?\s+and\s+|\s*,\s+", re.IGNORECASE)


def split(instruction: str) -> list[str]:
    """Clauses of an instruction in order of time; one clause for a simple instruction.

    `then`, `afterwards`, `finally` and full stops separate; `after` and `before` reorder.
    """
    clauses: list[str] = []
    for part in _JOINTS.split(instruction):
        clauses += _ordered(part)
    cleaned = [_clean(clause) for clause in clauses]
    return [clause for clause in cleaned if clause] or [instruction.strip()]


def coordinate(clause: str) -> list[str]:
    """The parts of a clause joined by `and` or a comma; only their meaning tells whether they are clauses."""
    return [part for part in (_clean(part) for part in _AND.split(clause)) if part]


def _ordered(part: str) -> list[str]:
    for pattern in (_AFTER, _BEFORE, _LATE_AFTER, _LATE_BEFORE):
        if match := pattern.match(part):
            return _ordered(match["first"]) + _ordered(match["second"])
    return [part]


def _clean(clause: str) -> str:
    previous = None
    clause = clause.strip(" ,.;:!")
    while clause != previous:
        previous, clause = clause, _LEADING.sub("", clause).strip(" ,.;:!")
    return clause
