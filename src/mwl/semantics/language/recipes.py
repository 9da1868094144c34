"""Recipes: instructions of a few words that stand for several steps, kept in an editable file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mwl.core.files import read_yaml
from mwl.semantics import entries
from mwl.semantics.language.parameters import BEYOND
from mwl.semantics.plan.progress import PREDICATES


@dataclass(frozen=True)
class RecipeStep:
    """One step: its words, the skills that may carry it out (empty: the words decide), what ends it, and where to."""

    text: str
    skills: tuple[str, ...] = ()
    until: str = "never"
    steps: int = 0
    target: str = ""


@dataclass(frozen=True)
class Recipe:
    """An instruction that unfolds, given one of the skills it needs."""

    name: str
    phrases: tuple[str, ...]
    needs: tuple[str, ...]
    steps: tuple[RecipeStep, ...] = field(default_factory=tuple)


def load_recipes(path: Path) -> list[Recipe]:
    """Read a recipe file.

    Raises:
        MissingFile: no such file.
        CorruptFile: a recipe lacks an entry, has one too many, or waits for an unknown predicate.
    """
    content = read_yaml(path)
    with entries.of_file(path, "a list of recipes"):
        return [_recipe(entry) for entry in entries.sequence(content, "it")]


def _recipe(content: Any) -> Recipe:
    entry = entries.mapping(content, "a recipe", ("name", "phrases", "needs", "steps"))
    name = entries.text(entry["name"], "the name of a recipe")
    needs = entries.texts(entry["needs"], f"the needs of {name!r}")
    phrases = entries.texts(entry["phrases"], f"the phrases of {name!r}")
    steps = tuple(_step(step, needs, f"a step of {name!r}") for step in entries.sequence(entry["steps"], "steps"))
    if not (needs and phrases and steps):
        raise ValueError(f"recipe {name!r} needs a phrase, a skill and a step")
    return Recipe(name, phrases, needs, steps)


def _step(content: Any, needs: tuple[str, ...], what: str) -> RecipeStep:
    step = entries.mapping(content, what, ("text",), ("skill", "until", "steps", "target"))
    skills = needs if step.get("skill") == "needs" else entries.texts(step.get("skill", ()), f"the skill of {what}")
    until = entries.text(step.get("until", "never"), f"until of {what}")
    if until not in PREDICATES:
        raise ValueError(f"unknown predicate {until!r} in {what}; known: {', '.join(PREDICATES)}")
    target = entries.text(step.get("target", ""), f"target of {what}") if "target" in step else ""
    if target not in ("", BEYOND):
        raise ValueError(f"unknown target {target!r} in {what}; known: {BEYOND}")
    held = entries.steps(step.get("steps", 0), what, 0)
    return RecipeStep(entries.text(step["text"], what), skills, until, held, target)
