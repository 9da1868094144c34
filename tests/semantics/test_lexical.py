"""The fallback without the sentence encoder: what it understands, and that it says what it is."""

from typing import Any

import numpy as np
import pytest
import torch

from mwl.core.errors import MissingDependency
from mwl.semantics import Card, SemanticHead
from mwl.semantics.calibration import auroc
from mwl.semantics.encoders import towers
from mwl.semantics.lexical import encode, stem


@pytest.mark.parametrize(
    ("words", "root"),
    [(("walking", "walks", "walked", "walk"), "walk"), (("running", "runs"), "run"), (("wave", "waving"), "wav")],
)
def test_forms_of_a_word_share_a_stem(words: tuple[str, ...], root: str) -> None:
    assert {stem(word) for word in words} == {root}


def test_embeddings_are_unit_and_near_where_words_are_shared() -> None:
    walk, walking, sit = encode(["walk ahead", "walking ahead please", "sit down"], 384)
    torch.testing.assert_close(walk.norm(), torch.tensor(1.0))
    # Shared words add up; unrelated ones are random directions, whose cosine has standard deviation 1 / sqrt(384).
    assert float(walk @ walking) > 0.6
    assert abs(float(walk @ sit)) < 5 / 384**0.5


def test_without_the_package_the_fallback_answers_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(towers, "SENTENCE_PACKAGE", "no_such_package_here")
    head = SemanticHead.load("embedded")
    assert "fallback" in head.notice
    weights = head.weights("please walk ahead")
    assert max(weights, key=weights.__getitem__) == "walk"
    with pytest.raises(MissingDependency, match="pip install"):
        SemanticHead.load("sentence")


def test_held_out_instructions(eight_cards: list[Card], held_out: dict[str, Any]) -> None:
    head = SemanticHead.load("lexical")
    head.set_cards(eight_cards)
    labelled = [(text, skill) for skill, texts in held_out["skills"].items() for text in texts]
    right = [head.names[int(head.scores(text).argmax())] == skill for text, skill in labelled]
    near = np.array([head.confidence(text) for text, _ in labelled])
    far = np.array([head.confidence(text) for text in held_out["far"]])
    # Chance is 1/8 and 1/2. Words alone carry that far; the figures themselves are in docs/guide/instructions.md.
    assert np.mean(right) >= 0.6
    assert auroc(near, far) >= 0.75
