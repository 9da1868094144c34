"""The shipped head and the labelled sets, loaded once."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from mwl.semantics import Card, SemanticHead

LABELLED = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def embedded() -> SemanticHead:
    """The shipped head; tests that change its cards use `head`."""
    return SemanticHead.load("embedded")


@pytest.fixture
def head(embedded: SemanticHead) -> SemanticHead:
    """The shipped head with the cards of stand, walk and reach."""
    cards = yaml.safe_load((LABELLED.parents[2] / "data" / "semantics" / "cards.yaml").read_text())
    embedded.set_cards([Card(**card) for card in cards])
    return embedded


@pytest.fixture(scope="session")
def eight_cards() -> list[Card]:
    """Cards of the eight skills of the labelled sets."""
    return [Card(**card) for card in yaml.safe_load((LABELLED / "cards.yaml").read_text())]


@pytest.fixture(scope="session")
def held_out() -> dict[str, Any]:
    """Instructions that nothing was tuned on: `skills` and `far`."""
    content: dict[str, Any] = yaml.safe_load((LABELLED / "held_out.yaml").read_text())
    return content
