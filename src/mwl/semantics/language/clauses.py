"""Splitting a compound instruction into clauses, in the order in which they are to be carried out."""

import re

from mwl.robot import CONTROL_HZ

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

_DOING = r"(?:you(?:\s+are|'re)?\s+)?"  # "while you are walking"; "while I look at you" asks for nothing more
_WHILE_LAST = re.compile(
    rf"^(?P<one>.+?)\s*,?\s+(?:while|whilst)\s+{_DOING}(?P<other>\w+ing\b.*|(?<=you )\w+.*)$", re.IGNORECASE
)
_WHILE_FIRST = re.compile(
    rf"^(?:while|whilst)\s+{_DOING}(?P<one>\w+ing\b[^,]*|(?<=you )\w+[^,]*?)\s*,\s*(?P<other>.+)$", re.IGNORECASE
)
_AT_ONCE = re.compile(r"\s*,?\s*\b(?:at the same time|at once|simultaneously)$", re.IGNORECASE)

_UNTIL = re.compile(r"^(?P<action>.+?)\s*,?\s+until\s+(?P<condition>.+)$", re.IGNORECASE)
_DURATION = re.compile(
    r"\s*,?\s*\bfor\s+(?P<number>\d+(?:\.\d+)?|a|one|two|three|five|ten)\s+seconds?\b", re.IGNORECASE
)
_NUMBERS = {"a": 1, "one": 1, "two": 2, "three": 3, "five": 5, "ten": 10}
_CONDITIONS = (
    (re.compile(r"\bdoor\b.*\bopen|\bopen\b.*\bdoor", re.IGNORECASE), "door_open"),
    (re.compile(r"\bthrough\b", re.IGNORECASE), "through_door"),
    (re.compile(r"\b(?:handle|latch)\b.*\bturned\b", re.IGNORECASE), "handle_turned"),
    (re.compile(r"\bdoor\b", re.IGNORECASE), "at_door"),
    (re.compile(r"\b(?:touch|hand)\b.*\b(?:target|ball|goal|marker|it)\b", re.IGNORECASE), "hand_at_goal"),
    (re.compile(r"\b(?:at|near|close|before)\b.*\b(?:target|ball|goal|marker)\b", re.IGNORECASE), "at_goal"),
)


def ending(clause: str) -> tuple[str, str, int]:
    """What a clause asks for, the progress predicate of its `until`, and the control steps of its `for N seconds`.

    A condition that no predicate knows gives `never`, so that only time ends the clause.
    """
    until, steps = "never", 0
    if match := _UNTIL.match(clause):
        clause = match["action"]
        until = next((name for pattern, name in _CONDITIONS if pattern.search(match["condition"])), "never")
    if match := _DURATION.search(clause):
        number = match["number"].lower()
        steps = round(CONTROL_HZ * float(_NUMBERS.get(number, 0) or number))
        clause = clause[: match.start()] + clause[match.end() :]
    return clause.strip(" ,"), until, steps


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


def simultaneous(clause: str) -> list[str]:
    """The parts of a clause that are to be done at once; one part for a simple clause.

    `while` joins them before what the robot itself does ("while walking", "while you walk"), and so does `and` before
    "at the same time".
    """
    for pattern in (_WHILE_FIRST, _WHILE_LAST):
        if match := pattern.match(clause):
            return [_clean(match["one"]), _clean(match["other"])]
    if (together := _AT_ONCE.sub("", clause)) and together != clause:
        return coordinate(together)
    return [clause]


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
