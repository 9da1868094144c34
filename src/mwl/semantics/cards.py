"""Cards: how an expert introduces itself in words."""

from pathlib import Path
from typing import Any

from mwl.core.errors import BadInput
from mwl.core.files import read_yaml
from mwl.core.manifest import Card
from mwl.semantics import entries


def cards_from(content: Any, what: str = "the cards") -> list[Card]:
    """Cards of a list of mappings with `name`, `description` and perhaps `paraphrases`.

    Raises:
        ValueError: it is none, one lacks an entry or has one too many, or two have one name.
    """
    cards = [card_from(item, f"a card of {what}") for item in entries.sequence(content, what)]
    if not cards or len({card.name for card in cards}) != len(cards):
        raise ValueError(f"{what} need at least one card, and names that differ")
    return cards


def card_from(content: Any, what: str = "the card") -> Card:
    """The card of a mapping.

    Raises:
        ValueError: it lacks an entry or has one too many or one that is no text.
    """
    try:
        return Card(**entries.mapping(content, what, ("name", "description"), ("paraphrases",)))
    except BadInput as error:
        raise ValueError(str(error)) from error


def load_cards(path: Path | str) -> list[Card]:
    """Read a file of cards.

    Raises:
        MissingFile: no such file.
        CorruptFile: not a list of cards.
    """
    content = read_yaml(path)
    with entries.of_file(path, "a list of cards"):
        return cards_from(content)
