"""What is shipped for the semantic layer: where it lies, the experts' cards, the phrase bank, the connectors."""

import functools
import logging
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from mwl._places import find, find_each
from mwl.core.artifact import MANIFEST, read_manifest
from mwl.core.errors import BadInput, CorruptFile
from mwl.core.files import read_yaml, shown
from mwl.semantics import entries
from mwl.semantics.cards import Card, cards_from
from mwl.semantics.language.connectors import Connector, load_connectors
from mwl.semantics.language.grammar import shipped_grammar

_log = logging.getLogger(__name__)
COMMANDED = {  # skills that the words of the grammar alone ask for: who carries them out, and where that lies
    "walk_rough": ("expert:walk_rough", "data/robust/walk_rough"),
    "raise_arm": ("expert:raise_arm", "data/robust/raise_arm"),
    "wave": ("expert:wave", "data/robust/wave"),
    "crouch": ("expert:crouch", "data/robust/crouch"),
    "sit": ("agent:sit_hard", "data/agents/sit_hard"),
    "crawl": ("agent:crawl", "data/agents/crawl"),
    "hurdle": ("agent:hurdle", "data/agents/hurdle"),
    "balance": ("agent:balance_simple", "data/agents/balance_simple"),
    "maze": ("agent:maze", "data/agents/maze"),
    "pole": ("agent:pole", "data/agents/pole"),
}
WORLDS = {  # tasks by what words name of their scenes
    "stairs": "h1-stair",
    "slope": "h1-slide",
    "tunnel": "h1-crawl",
    "hurdles": "h1-hurdle",
    "board": "h1-balance_simple",
    "chair": "h1-sit_hard",
    "maze": "h1-maze",
    "poles": "h1-pole",
}


def shipped_cards() -> list[Card]:
    """Cards of the experts in `data/experts`, so that an expert put there is understood at once."""
    return [card for folder in expert_folders() if (card := _card(folder)) is not None]


def expert_folders() -> list[Path]:
    """Folders of the experts in `data/experts`, by name."""
    return [file.parent for file in find_each("data/experts", f"*/{MANIFEST}").values()]


def skill_folders() -> list[Path]:
    """Folders of all that words can ask for: the experts in `data/experts`, and the skills that the grammar knows."""
    return [*expert_folders(), *(folder for _, place in COMMANDED.values() if (folder := find(place)).is_dir())]


def _card(folder: Path) -> Card | None:
    """The card of an expert; None, with a warning, for a folder that is none, so that the others are understood."""
    try:
        manifest = read_manifest(folder, stage="expert")
        if manifest.card is None:
            raise CorruptFile(f"{shown(folder / MANIFEST)}: holds no card")
        return manifest.card
    except BadInput as error:
        _log.warning("passed over: %s", error)
        return None


def commands(path: Path | None = None) -> list[tuple[Card, str]]:
    """Cards of what the grammar understands and no artifact says of itself, each with the address of who does it.

    Raises:
        MissingFile: no such file.
        CorruptFile: not a list of cards, or one without `by`.
    """
    path = path or find("data/semantics/commands.yaml")
    content = read_yaml(path)
    with entries.of_file(path, "a list of cards"):
        keys = ("name", "description", "by"), ("paraphrases",)
        listed = [entries.mapping(item, "a card", *keys) for item in entries.sequence(content, "it")]
        cards = cards_from([{key: value for key, value in item.items() if key != "by"} for item in listed])
        return [(card, entries.text(item["by"], "by")) for card, item in zip(cards, listed, strict=True)]


def commanded_cards() -> dict[str, Card]:
    """Cards of the skills that the words of the grammar alone ask for, of those that there are."""
    found = {card.name: card for card, _ in commands() if card.name in COMMANDED}
    for _, place in COMMANDED.values():
        with suppress(BadInput):  # `mwl doctor` tells
            if (card := read_manifest(find(place), files=False).card) is not None:
                found[card.name] = card
    return found


def shipped_connectors(skills: Collection[str]) -> tuple[Connector, ...]:
    """The shipped connectors, those by skills that somebody can carry out."""
    return load_connectors(find("data/semantics/transitions.yaml"), skills)


def load_phrases(path: Path | None = None) -> dict[str, Any]:
    """The shipped phrase bank: `skills`, `other` (asks for no skill) and `deictic`.

    Raises:
        MissingFile: no such file.
        CorruptFile: not a phrase bank.
    """
    path = path or find("data/semantics/phrases.yaml")
    content = read_yaml(path)
    with entries.of_file(path, "a phrase bank"):
        bank = entries.mapping(content, "it", ("skills", "other", "deictic"))
        return {
            "skills": entries.named(bank["skills"], "skills", entries.some_texts),
            "other": entries.named(bank["other"], "other", entries.some_texts),
            "deictic": entries.texts(bank["deictic"], "deictic"),
        }


_NO_VERBS = {
    "full",
    "no",
    "left",
    "right",
    "the",
    "about",
    "hand",
    "hands",
    "side",
    "immobile",
    "faster",
    "door",
    "now",
}


@functools.cache
def verbs() -> frozenset[str]:
    """First words of the phrase bank and the grammar; what begins with one asks for something."""
    groups = [*load_phrases()["skills"].values(), list(shipped_grammar().names["verbs"])]
    return frozenset(phrase.lower().split()[0] for phrases in groups for phrase in phrases) - _NO_VERBS


def load_labelled(path: Path | str) -> dict[str, Any]:
    """Labelled instructions: `cards` of the skills, instructions of `skills` by name, and `far`, which none fits.

    Raises:
        MissingFile: no such file.
        CorruptFile: not labelled instructions, or a skill has no card.
    """
    content = read_yaml(path)
    with entries.of_file(path, "a file of labelled instructions"):
        entry = entries.mapping(content, "it", ("cards", "skills", "far"), ("ambiguous",))
        cards = cards_from(entry["cards"])
        skills = entries.named(entry["skills"], "skills", entries.some_texts)
        if unknown := set(skills) - {card.name for card in cards}:
            raise ValueError(f"there is no card for {', '.join(sorted(unknown))}")
        return {"cards": cards, "skills": skills, "far": entries.some_texts(entry["far"], "far")}
