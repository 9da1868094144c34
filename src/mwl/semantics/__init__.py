"""From words, and a picture of the scene, to weights over the experts."""

from typing import TYPE_CHECKING

from mwl._lazy import lazy

if TYPE_CHECKING:
    from mwl.semantics.cards import Card
    from mwl.semantics.head import Clause, SemanticHead
    from mwl.semantics.plan.director import Director, DirectorConfig
    from mwl.semantics.plan.sequencer import Decision, Sequencer, SequencerConfig

__all__ = ["Card", "Clause", "Decision", "Director", "DirectorConfig", "SemanticHead", "Sequencer", "SequencerConfig"]

_HOMES = {
    "cards": ("Card",),
    "head": ("Clause", "SemanticHead"),
    "plan.director": ("Director", "DirectorConfig"),
    "plan.sequencer": ("Decision", "Sequencer", "SequencerConfig"),
}
__getattr__, __dir__ = lazy(
    __name__, {name: f"mwl.semantics.{home}" for home, names in _HOMES.items() for name in names}
)
