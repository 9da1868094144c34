"""Whose experts act, and what they follow: the settings that every stage with guidance shares."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from mwl._places import find
from mwl.core.artifact import MANIFEST, checkpoint_of, read_checkpoint, read_manifest
from mwl.core.manifest import Manifest
from mwl.core.ranges import NonNegative, Share
from mwl.experts.features import Layout
from mwl.experts.library import ExpertLibrary
from mwl.robot.h1 import ROBOT
from mwl.selection.guidance import Guidance, weights_for
from mwl.selection.network import load_gate

TUNED = "adaptation"
"""Stage of the artifact with experts that were tuned."""


@dataclass(frozen=True)
class SelectionConfig:
    """Experts, and what is followed among them."""

    experts: str | list[str] = "data/experts"
    """Folder of expert folders, a list of them, or the artifact of an adaptation, whose tuned experts are taken. Where
    neither gate nor weights nor an instruction are given, all that these followed is taken from there as well."""
    gate: str | None = None
    """Artifact of a gate; None leaves the choice to the instruction."""
    semantic_weights: dict[str, float] | None = None
    """Weight of each expert by name."""
    instruction: str | None = None
    """Instruction from which a semantic head computes the weights; it replaces `semantic_weights`."""
    semantic: str = "embedded"
    """The semantic head that does."""
    alpha: Share = 0.5
    """Weight of the instruction against the gate."""
    mode: Literal["mixture", "top1"] = "mixture"
    margin: NonNegative = 0.1
    """Under `top1`, by how much another expert must weigh more before it takes over."""


class Tuned(NamedTuple):
    """What an adaptation handed over: what acted, on which task, its reward per step, and the steps that it took."""

    guidance: Guidance
    task: str
    profile: Mapping[str, Tensor]
    env_steps: int


def tuned_at(experts: str | list[str]) -> Tuned | None:
    """The adaptation in a folder; None where experts as they were fitted are named.

    Raises:
        MissingFile, CorruptFile, SpecMismatch: the artifact is incomplete, or of no adaptation of this version.
    """
    folders = [experts] if isinstance(experts, str) else experts
    if len(folders) != 1 or not (find(folders[0]) / MANIFEST).is_file():
        return None
    manifest = read_manifest(folders[0], robot=ROBOT)
    return load_tuned(folders[0], manifest) if manifest.stage == TUNED else None


def load_tuned(folder: Path | str, manifest: Manifest) -> Tuned:
    """The adaptation in a folder whose manifest was read.

    Raises:
        CorruptFile, SpecMismatch: it is of no adaptation of this version.
    """
    with checkpoint_of("an adaptation", folder):
        entries = read_checkpoint(folder)
        guidance = Guidance.from_plain(entries["guidance"])
        return Tuned(guidance, manifest["task"], dict(entries["profile"]), int(manifest["provenance"]["env_steps"]))


def make_guidance(config: SelectionConfig, layout: Layout | None, tuned: Tuned | None = None) -> Guidance:
    """Load experts and gate, and settle the instruction's weights.

    Args:
        config: what is followed.
        layout: where the parts of the observation lie.
        tuned: the adaptation that `config.experts` names, if it names one.

    Raises:
        BadInput: neither gate, nor weights, nor an instruction is given.
    """
    library = ExpertLibrary.load(config.experts) if tuned is None else tuned.guidance.library
    if tuned is not None and (config.gate, config.semantic_weights, config.instruction) == (None, None, None):
        return replace(tuned.guidance, layout=layout)
    return Guidance(
        library,
        None if config.gate is None else load_gate(config.gate),
        weights_for(library, config.instruction, config.semantic_weights, config.semantic),
        config.alpha,
        config.mode,
        layout,
        config.margin,
        None if tuned is None else tuned.guidance.correction,
        None if tuned is None else tuned.guidance.residual,
    )
