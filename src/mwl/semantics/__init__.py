"""From words, and a picture of the scene, to weights over the experts."""

from mwl.semantics.cards import Card
from mwl.semantics.head import Clause, SemanticHead
from mwl.semantics.plan.director import Director, DirectorConfig
from mwl.semantics.plan.sequencer import Decision, Sequencer, SequencerConfig

__all__ = ["Card", "Clause", "Decision", "Director", "DirectorConfig", "SemanticHead", "Sequencer", "SequencerConfig"]
