"""Recipes: instructions of a few words that stand for several steps, kept in an editable file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mwl.errors import CorruptFile, MissingFile
from mwl.semantics.progress import PREDICATES


@dataclass(frozen=True)
class RecipeStep:
    """One step: its words, the skills that may carry it out (empty: the words decide), and what ends it."""

    text: str
    skills: tuple[str, ...] = ()
    until: str = "never"
    steps: int = 0


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
    if not path.is_file():
        raise MissingFile(f"{path}: no such recipe file")
    try:
        return [_recipe(entry) for entry in yaml.safe_load(path.read_text(encoding="utf-8"))]
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"{path}: not a list of recipes ({error})") from error


def _recipe(entry: dict[str, Any]) -> Recipe:
    needs = tuple(entry["needs"])
    steps = []
    for step in entry["steps"]:
        skills = step.get("skill", ())
        skills = needs if skills == "needs" else tuple(skills)
        until = step.get("until", "never")
        if until not in PREDICATES:
            raise ValueError(f"unknown predicate {until!r} in recipe {entry['name']!r}; known: {', '.join(PREDICATES)}")
        steps.append(RecipeStep(step["text"], skills, until, int(step.get("steps", 0))))
    return Recipe(entry["name"], tuple(entry["phrases"]), needs, tuple(steps))
