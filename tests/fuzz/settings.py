"""Loaders of what people write: cards, phrases, stages, pipelines; of answers of a chat model, and of pictures."""

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from mutations import (
    Rng,
    changed_bytes,
    changed_text,
    changed_tree,
    json_of,
    rewritten,
)
from running import Target
from spoiling import copied, finite, spoil_json, spoil_yaml

from mwl._places import SHIPPED
from mwl.instructions.preview import read_picture
from mwl.pipeline.config import load as load_pipeline
from mwl.semantics.cards import load_cards
from mwl.semantics.encoders.cache import EmbeddingCache
from mwl.semantics.language.connectors import load_connectors
from mwl.semantics.language.recipes import load_recipes
from mwl.semantics.plan.chat import ChatConfig, ChatPlanner
from mwl.semantics.plan.chat_request import _message
from mwl.semantics.shipped import load_labelled, load_phrases
from mwl.training.stage_cli import resolved_config

ROOT = SHIPPED


def texts(*values: Any) -> None:
    for value in values:
        assert isinstance(value, str)
        assert 0 < len(value) <= 400
        assert value.isprintable()


def sound_cards(cards: Any) -> None:
    assert cards
    for card in cards:
        texts(card.name, *card.phrases)


def sound_recipes(recipes: Any) -> None:
    for recipe in recipes:
        texts(recipe.name, *recipe.phrases, *recipe.needs)
        for step in recipe.steps:
            texts(step.text, *step.skills, step.until)
            assert 0 <= step.steps <= 10**6


def sound_transitions(transitions: Any) -> None:
    for transition in transitions:
        texts(transition.before, transition.after, transition.by)
        assert 1 <= transition.steps <= 10**6


def sound_phrases(bank: Any) -> None:
    texts(*bank["deictic"])
    for part in ("skills", "other"):
        for name, phrases in bank[part].items():
            texts(name, *phrases)


def sound_labelled(labelled: Any) -> None:
    sound_cards(labelled["cards"])
    texts(*labelled["far"], *(text for some in labelled["skills"].values() for text in some))


def sound_pipeline(read: Any) -> None:
    pipeline, stages = read
    assert stages
    assert isinstance(pipeline.max_parallel, int)
    for name, stage in stages.items():
        assert isinstance(name, str)
        for entry in ("task", "agent", "config", "instruction"):
            assert isinstance(getattr(stage, entry, ""), str | None)


def sound_stage(config: dict[str, Any]) -> None:
    assert isinstance(config["model"]["class_path"], str)
    assert isinstance(config["output"], str)


class _Head:
    """A head that has nothing to say."""

    names = ("walk", "stand")
    cards = ()

    def plan(self, text: str, frame: Any = None, before: Any = ()) -> list[Any]:
        return []

    def nearest(self, text: str) -> list[Any]:
        return []


PLAN = json.dumps({"steps": [{"text": "go", "weights": {"walk": 1, "stand": 0.5}, "until": "at_door"}]})


def make_answer(folder: Path) -> None:
    (folder / "x.json").write_text(json.dumps({"choices": [{"message": {"content": f"Here it is: {PLAN}"}}]}))


def spoil_answer(rng: Rng, folder: Path) -> None:
    if rng.random() < 0.3:
        spoil_json("x.json")(rng, folder)
        return
    changed = json_of(changed_tree(rng, json.loads(PLAN))) if rng.random() < 0.6 else changed_text(rng, PLAN.encode())
    text = changed.decode(errors="surrogateescape")
    (folder / "x.json").write_text(json.dumps({"choices": [{"message": {"content": text}}]}))


def planned(folder: Path) -> Any:
    from mwl.core.errors import BadInput

    def ask(*_: Any) -> str:
        return _message((folder / "x.json").read_bytes())

    planner = ChatPlanner(_Head(), ChatConfig("http://localhost", "m", retries=0))  # type: ignore[arg-type]
    with mock.patch("mwl.semantics.plan.chat.ask", ask), mock.patch("mwl.semantics.plan.chat._log"):
        plan = planner.plan("go")
    if planner.planned_by != "chat":
        raise BadInput(planner.fallback)
    return plan


def sound_plan(plan: Any) -> None:
    for clause in plan:
        texts(clause.text, clause.until)
        assert sum(clause.weights.values()) == 1 or abs(sum(clause.weights.values()) - 1) < 1e-6


def make_cache(folder: Path) -> None:
    EmbeddingCache("e", folder).write({f"text {i}": torch.full((8,), i / 8) for i in range(8)})


def spoil_cache(rng: Rng, folder: Path) -> None:
    file = folder / "embeddings.sqlite"
    if rng.random() < 0.5:
        file.write_bytes(changed_bytes(rng, file.read_bytes()))
        return
    value = [None, 3, "text", b"", b"abc", bytes(32), b"\x00\x00\xc0\x7f" * 8, bytes(100_000)][int(rng.integers(0, 8))]
    column = str(rng.choice(np.array(["key", "value", "check_sum"])))
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute(f"UPDATE OR IGNORE embedding SET {column} = ?", (value,))


def read_cache(folder: Path) -> Any:
    found = EmbeddingCache("e", folder).read([f"text {i}" for i in range(8)])
    if len(found) < 8:  # which means that the rest is embedded anew
        from mwl.core.errors import CorruptFile

        finite(dict(found))
        raise CorruptFile("not everything was there")
    return found


def sound_cache(found: Any) -> None:
    for value in found.values():
        assert value.shape == (8,)
    finite(dict(found))


def make_picture(folder: Path) -> None:
    from PIL import Image

    Image.fromarray(np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)).save(folder / "x.png")


def sound_picture(picture: Any) -> None:
    pixels = np.asarray(picture)
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.dtype == np.uint8
    assert pixels.size < 200_000_000


SETTINGS = [
    Target("cards", copied(SHIPPED / "data" / "semantics/cards.yaml", "x.yaml"), spoil_yaml("x.yaml"),
           lambda f: load_cards(f / "x.yaml"), sound_cards),
    Target("recipes", copied(SHIPPED / "data" / "semantics/recipes.yaml", "x.yaml"), spoil_yaml("x.yaml"),
           lambda f: load_recipes(f / "x.yaml"), sound_recipes),
    Target("transitions", copied(SHIPPED / "data" / "semantics/transitions.yaml", "x.yaml"), spoil_yaml("x.yaml"),
           lambda f: load_connectors(f / "x.yaml", ["walk", "slow_down"]), sound_transitions),
    Target("phrases", copied(SHIPPED / "data" / "semantics/phrases.yaml", "x.yaml"), spoil_yaml("x.yaml"),
           lambda f: load_phrases(f / "x.yaml"), sound_phrases, 0.3),
    Target("labelled", copied(SHIPPED / "data" / "semantics/development.yaml", "x.yaml"), spoil_yaml("x.yaml"),
           lambda f: load_labelled(f / "x.yaml"), sound_labelled, 0.3),
    Target("pipeline", copied(ROOT / "conf/pipelines/grid.yaml", "x.yaml"), spoil_yaml("x.yaml"),
           lambda f: load_pipeline(f / "x.yaml"), sound_pipeline, 0.5),
    Target("stage", copied(ROOT / "conf/experts/stand.yaml", "x.yaml"), spoil_yaml("x.yaml"),
           lambda f: resolved_config(["--config", str(f / "x.yaml")]), sound_stage, 0.25),
    Target("chat", make_answer, spoil_answer, planned, sound_plan),
    Target("embeddings", make_cache, spoil_cache, read_cache, sound_cache),
    Target("picture", make_picture, rewritten(changed_bytes, "x.png"), lambda f: read_picture(f / "x.png"),
           sound_picture),
]  # fmt: skip
