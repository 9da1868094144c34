"""What is shipped for the semantic layer: where it lies, the experts' cards, the phrase bank, the transitions."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from mwl.handoff import read_manifest
from mwl.semantics.cards import Card
from mwl.semantics.transitions import Transition, load_transitions

DATA = Path(os.environ.get("MWL_DATA") or Path(__file__).resolve().parents[3] / "data")


def shipped_cards() -> list[Card]:
    """Cards of the experts in `data/experts`, so that an expert put there is understood at once."""
    folders = sorted(path.parent for path in (DATA / "experts").glob("*/manifest.json"))
    return [Card(**read_manifest(folder, stage="expert")["card"]) for folder in folders]


def shipped_transitions(skills: Collection[str]) -> tuple[Transition, ...]:
    """The shipped transitions, those by skills that somebody can carry out."""
    return load_transitions(DATA / "semantics" / "transitions.yaml", skills)


def load_phrases(path: Path | None = None) -> dict[str, Any]:
    """The shipped phrase bank: `skills`, `other` (asks for no skill) and `deictic`."""
    path = path or DATA / "semantics" / "phrases.yaml"
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content
