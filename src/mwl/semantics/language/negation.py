"""Negation: what an instruction forbids, taken out of what it asks for."""

import re

from mwl.semantics.language.grammar import shipped_grammar

_NEGATION = re.compile(
    r"\b(?:do not|don't|dont|never|not|without|instead of|no more|(?:no|stop|quit|cease)(?=\s+\w+ing\b))"
    r"\s+(?P<what>[a-z ]+)",
    re.IGNORECASE,
)
_REST = re.compile(r"\b(?:move|moving|budge|stir|go|step|leave|take)\b", re.IGNORECASE)
_HALT = re.compile(r"^(?:stop|quit|cease|no more)\b", re.IGNORECASE)
_POLITE = re.compile(r"\b(?:please|now|here|there|robot|the robot|immediately|right away|at once)\b|[^\w\s-]")
REST = "stay where you are, do not move"


def asks_to_stop(text: str) -> bool:
    """Whether a text is no more than "stop" or "emergency stop", which ask to stand whatever the scene."""
    text = text.lower()
    bare = " ".join(_POLITE.sub(" ", text).split())
    return bool({bare, text.strip(" .,!")} & set(shipped_grammar().lists["stop"]))


def without_negation(text: str) -> tuple[str, list[str]]:
    """An instruction without what it forbids, and what it forbids.

    A bare prohibition of moving asks to stand, and so does a bare "stop".
    """
    forbidden: list[str] = []
    kept: list[str] = []
    for part in re.split(r"[,;]|\bbut\b", text):
        match = _NEGATION.search(part)
        rests = match and not part[: match.start()].strip() and (_REST.search(part) or _HALT.match(match[0]))
        if rests or asks_to_stop(part):
            kept.append(REST)
        elif match:
            if before := part[: match.start()].strip():
                kept.append(before)
            forbidden.append(match["what"].strip())
        elif part.strip():
            kept.append(part.strip())
    if not forbidden and REST not in kept:
        return text, []
    actions = [part for part in kept if part != REST] or kept  # "stop running, walk" asks to walk
    return ", ".join(actions), forbidden
