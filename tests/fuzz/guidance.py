"""Loaders of what guides: the grammar of words, the regression that refuses, tuned experts; further targets."""

from pathlib import Path
from typing import Any

import torch
from running import Target
from settings import texts
from spoiling import copied, finite, shipped, spoil_artifact, spoil_yaml

from mwl._places import SHIPPED
from mwl.adaptation.step_profile import StepProfile
from mwl.core.artifact import write_artifact
from mwl.experts.library import ExpertLibrary
from mwl.selection.config import TUNED, Tuned, tuned_at
from mwl.semantics.language.grammar import Grammar, load_grammar
from mwl.semantics.language.parameters import parse
from mwl.semantics.refusal import Refusal
from mwl.world_model.agent import load_agent


def sound_grammar(grammar: Grammar) -> None:
    for table in (*grammar.units.values(), *grammar.numbers.values()):
        texts(*table)
        finite(list(table.values()))
    for names in grammar.names.values():
        texts(*names, *names.values())
    parse("walk two metres backwards", grammar)


def sound_refusal(refusal: Refusal) -> None:
    finite([refusal.weight, refusal.bias, refusal.embedded, refusal.share, refusal.threshold, refusal.raised])
    texts(*refusal.classes, *refusal.texts)
    assert len(refusal.classes) == len(refusal.weight) == len(refusal.bias)


def make_tuned(folder: Path) -> None:
    plain = load_agent("data/agents/stand").guidance.to_plain()
    write_artifact(
        folder / "tuned",
        stage=TUNED,
        name="h1-stand",
        checkpoint={"guidance": plain, "profile": StepProfile(1000).state_dict()},
        robot="unitree_h1",
        task="h1-stand",
        provenance={"env_steps": 100, "seed": 0},
    )


def load_tuned(folder: Path) -> Any:
    """As `guidance.experts` reads a folder: what says that it is no adaptation is read as an expert."""
    tuned = tuned_at(str(folder / "tuned"))
    return ExpertLibrary.load([str(folder / "tuned")]) if tuned is None else tuned


def sound_tuned(tuned: Tuned) -> None:
    guidance = tuned.guidance
    observation = torch.zeros(2, 51)
    observation[:, 2], observation[:, 3] = 0.98, 1.0
    guide, _ = guidance.step(observation, guidance.begin(2))
    finite([guide["reference_action"], dict(tuned.profile), tuned.env_steps])


GUIDANCE = [
    Target("grammar", copied(SHIPPED / "data" / "semantics/grammar.yaml", "x.yaml"), spoil_yaml("x.yaml"),
           lambda f: load_grammar(f / "x.yaml"), sound_grammar),
    Target("refusal", shipped("semantics", "refusal"), spoil_artifact, Refusal.load, sound_refusal),
    Target("tuned", make_tuned, lambda rng, f: spoil_artifact(rng, f / "tuned"), load_tuned, sound_tuned, 0.5),
]  # fmt: skip
