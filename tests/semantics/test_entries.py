"""Files of the semantic layer that a user may edit or be given: read as they say, or refused in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mwl.core.errors import BadInput, CorruptFile, MissingFile
from mwl.semantics.cards import Card, load_cards
from mwl.semantics.language.connectors import load_connectors
from mwl.semantics.language.recipes import RecipeStep, load_recipes
from mwl.semantics.shipped import commands, load_labelled, load_phrases

CARD = "{name: walk, description: walk forward}"
RECIPE = "- {name: n, phrases: [p], needs: [walk], steps: [{text: go, skill: needs, until: at_door, steps: 5}]}"


def _connectors(path: Path) -> Any:
    return load_connectors(path, ["walk"])


@pytest.mark.parametrize(
    ("load", "content", "why"),
    [
        (load_cards, "", "not a list"),
        (load_cards, "[]", "at least one card"),
        (load_cards, f"[{CARD}, {CARD}]", "names that differ"),
        (load_cards, "[{name: walk}]", "lacks description"),
        (load_cards, "[{name: walk, description: 3}]", "not a text"),
        (load_cards, "[{name: walk, description: d, paraphrases: walk}]", "not a list"),
        (load_cards, '[{name: walk, description: "\\e[31m"}]', "can't be printed"),
        (load_cards, f"[{{name: walk, description: {'d' * 401}}}]", "longer than 400"),
        (load_cards, "[{name: walk, description: d, paraphrase: [x]}]", "may not have"),
        (commands, f"[{CARD}]", "lacks by"),
        (commands, "[{name: walk, description: d, by: 3}]", "by is 3, not a text"),
        (load_recipes, "{a: 1}", "not a list"),
        (load_recipes, "- 3", "not a mapping"),
        (load_recipes, RECIPE.replace("at_door", "dawn"), "unknown predicate 'dawn'"),
        (load_recipes, RECIPE.replace("at_door", "[1]"), "not a text"),
        (load_recipes, RECIPE.replace("steps: 5", "steps: -5"), "whole number from 0"),
        (load_recipes, RECIPE.replace("steps: 5", "steps: 5.5"), "whole number from 0"),
        (load_recipes, RECIPE.replace("steps: 5", "steps: .nan"), "not finite"),
        (load_recipes, RECIPE.replace("[walk]", "walk"), "not a list"),
        (load_recipes, RECIPE.replace("phrases: [p]", "phrases: []"), "needs a phrase"),
        (_connectors, "- {before: run, after: stand, by: walk, steps: 0}", "whole number from 1"),
        (_connectors, "- {before: run, after: stand, by: walk, steps: true}", "whole number from 1"),
        (_connectors, "- {before: run, after: stand, by: walk}", "lacks steps"),
        (_connectors, "- {before: [run], after: stand, by: walk, steps: 3}", "not a text"),
        (load_phrases, "{skills: {walk: [go]}, other: {}}", "lacks deictic"),
        (load_phrases, "{skills: {walk: go}, other: {}, deictic: []}", "not a list"),
        (load_phrases, "{skills: {walk: []}, other: {}, deictic: []}", "empty"),
        (load_labelled, f"{{cards: [{CARD}], skills: {{fly: [up]}}, far: [coffee]}}", "no card for fly"),
    ],
)
def test_what_is_no_such_file_is_refused_in_a_short_line(
    load: Callable[[Path], Any], content: str, why: str, tmp_path: Path
) -> None:
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(CorruptFile, match=why) as refusal:
        load(tmp_path / "x.yaml")
    assert str(tmp_path) in str(refusal.value)
    assert len(str(refusal.value)) < 500
    with pytest.raises(MissingFile):
        load(tmp_path / "none.yaml")


def test_sound_files_are_read_as_they_say(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(f"[{CARD}]")
    assert load_cards(tmp_path / "x.yaml") == [Card("walk", "walk forward")]
    (tmp_path / "x.yaml").write_text(RECIPE)
    assert load_recipes(tmp_path / "x.yaml")[0].steps == (RecipeStep("go", ("walk",), "at_door", 5),)
    (tmp_path / "x.yaml").write_text(f"{{cards: [{CARD}], skills: {{walk: [go]}}, far: [coffee]}}")
    assert load_labelled(tmp_path / "x.yaml")["skills"] == {"walk": ("go",)}


@pytest.mark.parametrize("card", [("walk", ""), ("", "walk"), (3, "walk"), ("walk", "walk", ["\x00"]), ("w", "w", 3)])
def test_a_card_of_no_words_is_refused(card: Any) -> None:
    with pytest.raises(BadInput):
        Card(*card)
