"""Splitting a compound instruction into clauses, in the order in which they are to be carried out."""

import re

from mwl.core.errors import BadInput
from mwl.semantics.plan.predicates import opposite

QUOTES = "\"'`\u201c\u201d\u2018\u2019"
_AFTER = re.compile(r"^\s*after\s+(?P<first>.+?)\s*,\s*(?P<second>.+)$", re.IGNORECASE)
_BEFORE = re.compile(r"^\s*before\s+(?P<second>.+?)\s*,\s*(?P<first>.+)$", re.IGNORECASE)
_LATE_AFTER = re.compile(r"^(?P<second>.+?)\s*,?\s+after\s+(?P<first>.+)$", re.IGNORECASE)
_LATE_BEFORE = re.compile(r"^(?P<first>.+?)\s*,?\s+before\s+(?P<second>.+)$", re.IGNORECASE)
_JOINTS = re.compile(
    r"\s*(?:(?:^|(?<=\s))\d+[.)](?=\s)|[;!]+|\.+(?!\d)|,?\s*\b(?:and\s+then|then|and\s+afterwards|afterwards"
    r"|and\s+finally|finally|next(?! to\b)|after\s+that)\b)\s*,?\s*",
    re.IGNORECASE,
)
_LEADING = re.compile(
    r"^(?:first(?:ly)?|second(?:ly)?|third(?:ly)?|last(?:ly)?|please|now|and|(?:(?:hey|hi|hello|ok|okay|dear)[\s,]+)?robot(?=\s*[,:])"
    r"|i(?:\s+want|\s+need|\s+would\s+like|'d\s+like)\s+you\s+to)\b[\s,:]*",
    re.IGNORECASE,
)
_SMALL = r"(?:\d+|one|two|three|four|five|six|seven|eight|nine|ten|\w+teen|twelve|eleven|\w+ty(?:-\w+)?)"
_AND = re.compile(  # but not within a number: "two and a half", "a hundred and ten", "a minute and ten seconds"
    r"(?<!hundred)(?<!thousand)\s*,?\s+and\s+(?!an?\s+(?:half|quarter)\b)"
    rf"(?!{_SMALL}\s+(?:seconds?|minutes?|inches|cent\w+)\b)|\s*,\s+",
    re.IGNORECASE,
)

_DOING = r"(?:you(?:\s+are|'re)?\s+)?"  # "while you are walking"; "while I look at you" asks for nothing more
_WHILE_LAST = re.compile(
    rf"^(?P<one>.+?)\s*,?\s+(?:while|whilst)\s+{_DOING}(?P<other>\w+ing\b.*|(?<=you )\w+.*)$", re.IGNORECASE
)
_WHILE_FIRST = re.compile(
    rf"^(?:while|whilst)\s+{_DOING}(?P<one>\w+ing\b[^,]*|(?<=you )\w+[^,]*?)\s*,\s*(?P<other>.+)$", re.IGNORECASE
)
_AT_ONCE = re.compile(r"\s*,?\s*\b(?:at the same time|at once|simultaneously)$", re.IGNORECASE)

_UNTIL = re.compile(r"^(?P<action>.+?)\s*,?\s+(?:until|till)\s+(?P<condition>.+)$", re.IGNORECASE)
_IF_FIRST = re.compile(r"^(?P<word>if|unless)\s+(?P<condition>[^,]+?)\s*,\s*(?:then\s+)?(?P<action>.+)$", re.IGNORECASE)
_IF_LAST = re.compile(r"^(?P<action>.+?)\s*,?\s+(?<!as )(?P<word>if|unless)\s+(?P<condition>.+)$", re.IGNORECASE)
_IF_THEN = re.compile(r"(\b(?:if|unless)\s+[^,]+?)\s*,?\s+then\s+", re.IGNORECASE)
_PLACE = re.compile(
    r"\b(?:before|after)\s+(?:the|an?|this|that|these|your|my)\b(?!.*,)", re.IGNORECASE
)  # "before the bench"
_GOES_ON = re.compile(
    r"^(?:across|through|past|along|into|onto|over|towards?|up|down|out|to|by|with|at|for|slowly|quickly|carefully)\b"
    r"(?!\s+\d)",
    re.IGNORECASE,
)
_OTHER = re.compile(
    r"(?<!as )\b(?:if|unless|when|whenever|once(?=\s+(?:you|the|it|your|i|we)\b)|as soon as|as long as|in case|provided"
    r"|depending on)\b",
    re.IGNORECASE,
)
_CONDITIONS = (
    (re.compile(r"\bdoor\b.*\b(?:open|opened|ajar)\b|\bis (?:already )?open\b", re.IGNORECASE), "door_open"),
    (re.compile(r"\b(?:closed|shut)\b", re.IGNORECASE), "not door_open"),
    (re.compile(r"\bthrough\b(?: (?:it|(?:the|that|this) door(?:way)?))?$", re.IGNORECASE), "through_door"),
    (re.compile(r"\b(?:handle|latch)\b.*\bturned\b", re.IGNORECASE), "handle_turned"),
    (re.compile(r"\bdoor\b", re.IGNORECASE), "at_door"),
    (
        re.compile(r"\b(?:hand|hands|fingers?|palm)\b.*\b(?:meets?|touch(?:es)?|reach(?:es)?)\b", re.IGNORECASE),
        "hand_at_goal",
    ),
    (re.compile(r"\b(?:touch|hand)\b.*\b(?:target|ball|goal|marker|it)\b", re.IGNORECASE), "hand_at_goal"),
    (
        re.compile(r"\b(?:at|near|close|before|reach|reached)\b.*\b(?:target|ball|goal|marker)\b", re.IGNORECASE),
        "at_goal",
    ),
)


def predicate(condition: str) -> str:
    """The progress predicate that a condition speaks of, `not` before one that is denied.

    Raises:
        BadInput: no predicate knows it.
    """
    name = next((name for pattern, name in _CONDITIONS if pattern.search(condition)), "")
    if not name:
        raise BadInput(f"{condition!r} is no condition that can be seen; known: {', '.join(_KNOWN)}")
    denied = re.search(r"\b(?:not|isn't|no longer|never)\b", condition, re.IGNORECASE) is not None
    bare = name.removeprefix("not ")
    return f"not {bare}" if denied != name.startswith("not ") else bare


_KNOWN = ("the door is open", "you are at the door", "you are through the door", "your hand is at the target")


def goes_on(clause: str) -> bool:
    """Whether a clause only says more of the one before: "then across the bridge"."""
    return _GOES_ON.match(clause) is not None


def conditional(clause: str) -> bool:
    """Whether a clause says when, or whether, it is to be done."""
    return _OTHER.search(clause) is not None


def ending(clause: str) -> tuple[str, str]:
    """What a clause asks for, and the progress predicate of its `until`; `never` where it has none.

    Raises:
        BadInput: no predicate knows the condition.
    """
    if match := _UNTIL.match(clause):
        return match["action"].strip(" ,"), predicate(match["condition"])
    return clause.strip(" ,"), "never"


def condition(clause: str) -> tuple[str, str]:
    """What a clause asks for, and the predicate on which it does; "" where it asks for it in any case.

    Raises:
        BadInput: no predicate knows the condition, or it is of a kind that can't be followed, such as `when`.
    """
    for pattern in (_IF_FIRST, _IF_LAST):
        if match := pattern.match(clause):
            name = predicate(match["condition"])
            if match["word"].lower() == "unless":
                name = opposite(name)
            return match["action"].strip(" ,"), name
    if (other := _OTHER.search(clause)) is not None:
        raise BadInput(
            f"{clause[:80]!r}: {other[0].lower()!r} can't be followed; say `if ...,` or `... until ...` of what can be "
            f"seen ({', '.join(_KNOWN)})"
        )
    return clause, ""


def split(instruction: str) -> list[str]:
    """Clauses of an instruction in order of time; one clause for a simple instruction.

    `then`, `afterwards`, `finally` and full stops separate; `after` and `before` reorder.
    """
    clauses: list[str] = []
    spelled = re.sub(r"\s*(?:->|=>|\u2192)\s*", "; ", re.sub(r"\s*&\s*", " and ", instruction))
    for part in _JOINTS.split(_IF_THEN.sub(r"\1, ", spelled)):
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
        if (match := pattern.match(part)) and not _PLACE.search(part):
            return _ordered(match["first"]) + _ordered(match["second"])
    return [part]


def _clean(clause: str) -> str:
    previous = None
    clause = clause.strip(" ,.;:!")
    while clause != previous:
        previous, clause = clause, _LEADING.sub("", clause).strip(" ,.;:!")
    return clause
