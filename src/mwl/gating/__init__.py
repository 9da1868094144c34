"""Which expert to follow where: selection from the state (eq. 3), fusion with the instruction, and composition."""

from mwl.gating.agent import ExpertAgent
from mwl.gating.fusion import choose, compose, fuse
from mwl.gating.guidance import Guidance, resolve_weights, weights_for
from mwl.gating.network import Gate, LoadedGate, load_gate
from mwl.gating.tuning import Tuning

__all__ = [
    "ExpertAgent",
    "Gate",
    "Guidance",
    "LoadedGate",
    "Tuning",
    "choose",
    "compose",
    "fuse",
    "load_gate",
    "resolve_weights",
    "weights_for",
]
