"""Refusals: opposites, near misses, what is stored, and figures on sentences that no fit has seen."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mwl.core.errors import CorruptFile, NoSkillFits
from mwl.semantics import Card, SemanticHead
from mwl.semantics.calibration import auroc
from mwl.semantics.refusal import NONE, Labelled, Refusal, load_sentences


@pytest.fixture(scope="module")
def shipped() -> SemanticHead:
    """The shipped head with the cards of all shipped experts."""
    return SemanticHead.load("embedded")


@pytest.fixture(scope="module")
def benchmark() -> dict[str, Any]:
    """What `benchmarks/refusal.py` defines."""
    return runpy.run_path("benchmarks/refusal.py")


@pytest.mark.parametrize(
    "text",
    [
        "close the door",
        "shut that door, please",
        "keep the door closed",
        "stay away from the door",
        "hands off the target",
        "walk away from the target",
        "no running",
        "slower",
        "don't open the door",
        "open the fridge",
        "pick up the box",
        "run a bath",
    ],
)
def test_opposites_and_near_misses_are_refused(shipped: SemanticHead, text: str) -> None:
    with pytest.raises(NoSkillFits):
        shipped.plan(text)


@pytest.mark.parametrize(
    ("text", "skill"),
    [
        ("open that door over there", "handle_pull"),
        ("wait beside the big plant", "stand"),
        ("somebody is jogging along the river", "run"),
        ("head to the far end of the room", "walk"),
        ("put a hand on the green ball", "reach"),
    ],
)
def test_what_people_write_is_understood(shipped: SemanticHead, text: str, skill: str) -> None:
    weights = shipped.weights(text)
    assert max(weights, key=weights.__getitem__) == skill


def test_a_fit_tells_its_classes_apart_and_is_stored(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    texts = [f"{word} {number}" for word in ("walk", "sing") for number in range(20)]
    labels = ["walk"] * 20 + [NONE] * 20
    embedded = torch.nn.functional.normalize(torch.randn(40, 8, generator=generator), dim=-1)  # says nothing
    fitted = Refusal.fit(Labelled(texts, labels, ["people"] * 40, ["command"] * 40), embedded)
    nothing = torch.zeros(8)
    cards = [Card("walk", "walk"), Card("wave", "wave at somebody")]
    before = fitted.knowing(cards, lambda texts: torch.zeros(len(texts), 8))
    walking, said = before.of_cards("walk on", nothing, ["walk", "wave"])
    singing, _ = before.of_cards("sing on", nothing, ["walk", "wave"])
    assert walking > 1 > -1 > singing, "by the words alone, which differ in every text"
    assert said[0] > said[1], "a card that was not learned has its own class"
    again = Refusal.load(fitted.save(tmp_path / "refusal", {}))
    assert again.knowing(cards[:1], torch.zeros) is again, "nothing new"
    assert again.of_cards("walk on", nothing, ["walk"])[0] == pytest.approx(walking, abs=0.1)  # half precision
    raised = again.knowing(cards, lambda texts: torch.zeros(len(texts), 8))
    assert raised.classes == [NONE, "walk", "card wave"]
    first, second = (it.log_probs(["walk on"], nothing[None]) for it in (raised, before))
    assert torch.allclose(first, second, atol=0.1)
    again.raised = 3.0
    raised = again.knowing(cards, lambda texts: torch.zeros(len(texts), 8))
    gained = raised.of_cards("hum", nothing, ["wave"])[0] - before.of_cards("hum", nothing, ["wave"])[0]
    assert gained == pytest.approx(3.0, abs=0.1), "a class known by a card alone is given log-odds"


def test_a_skill_known_by_its_card_alone(shipped: SemanticHead) -> None:
    head = SemanticHead(shipped.encoder, shipped.calibration, shipped.background, shipped.deictic, shipped.adapter)
    head.refusal = shipped.refusal
    kick = Card("kick", "kick the ball", ["kick it away", "give the ball a kick", "shoot with your foot"])
    for cards in ([kick], [*shipped.cards, kick]):
        head.set_cards(cards)
        for text in ("please kick that ball", "kick the football over there"):
            weights = head.weights(text)
            assert max(weights, key=weights.__getitem__) == "kick"
        for text in ("open the fridge", "pick up the box", "what is the capital of Italy", "throw the dice"):
            with pytest.raises(NoSkillFits):
                head.weights(text)
    weights = head.weights("walk forward")
    assert max(weights, key=weights.__getitem__) == "walk"
    head.set_cards([Card("none", "kick the ball"), Card("door", "ring the bell")])  # names of classes are no cards
    with pytest.raises(NoSkillFits):
        head.weights("open the door")
    with pytest.raises(NoSkillFits):
        head.weights("make me a coffee")


def test_a_line_that_is_no_labelled_sentence_is_named(tmp_path: Path) -> None:
    file = tmp_path / "sentences.tsv"
    file.write_text("walk\tgo on\tcommand\nfly\tup\tcommand\n")
    with pytest.raises(CorruptFile, match="line 2"):
        load_sentences(file, "people")


@pytest.mark.slow
def test_sentences_that_people_wrote(shipped: SemanticHead, benchmark: dict[str, Any]) -> None:
    """Cross-validated: no sentence is fitted and scored at once; `benchmarks/refusal.py` prints 0.983 and 0.960."""
    own, odds, skills = benchmark["cross_validated"](shipped.encoder, shipped.cards, 8)
    none = np.array([label == NONE for label in own.labels])
    assert auroc(odds.numpy()[~none], odds.numpy()[none]) >= 0.975
    accepted = odds.numpy() > np.quantile(odds.numpy()[none], 0.92)
    right = np.array([skill == label for skill, label in zip(skills, own.labels, strict=True)])
    assert (accepted & right)[~none].mean() >= 0.92


@pytest.mark.slow
def test_skills_known_by_their_cards_alone(shipped: SemanticHead, benchmark: dict[str, Any]) -> None:
    """No text that asks for the skill is learned from; `benchmarks/refusal.py` prints 0.951 and 0.927."""
    own, odds = benchmark["left_out"](shipped.encoder, shipped.cards, 4)
    labels = np.array(own.labels)
    none = labels == NONE
    needed = {skill: -np.quantile(told[none, 0].numpy(), 0.96) for skill, told in odds.items()}
    scores = {}
    for skill, told in odds.items():
        given = np.mean([value for other, value in needed.items() if other != skill])
        values = np.logaddexp(told[:, 0].numpy() + given, told[:, 1].numpy())
        scores[skill] = auroc(values[labels == skill], values[none])
    assert len(scores) == 5
    assert np.mean(list(scores.values())) >= 0.94
    assert min(scores.values()) >= 0.90
