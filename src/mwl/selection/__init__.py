"""Which expert to follow where: selection from the state (eq. 3), fusion with the instruction, and composition."""

from mwl.selection.action_correction import ActionCorrection
from mwl.selection.agent import ExpertAgent
from mwl.selection.fusion import choose, compose, fuse
from mwl.selection.guidance import Guidance, resolve_weights, retold, weights_for
from mwl.selection.network import Gate, LoadedGate, load_gate

__all__ = [
    "ActionCorrection",
    "ExpertAgent",
    "Gate",
    "Guidance",
    "LoadedGate",
    "choose",
    "compose",
    "fuse",
    "load_gate",
    "resolve_weights",
    "retold",
    "weights_for",
]
