"""Acting in whole episodes and measuring them: one definition of each figure, for training, evaluation and tables."""

from typing import TYPE_CHECKING

from mwl._lazy import lazy

if TYPE_CHECKING:
    from mwl.rollouts.episodes import Agent, Episodes, Step, rollout, run_episodes
    from mwl.rollouts.metrics import definitions

__all__ = ["Agent", "Episodes", "Step", "definitions", "rollout", "run_episodes"]

_EPISODES = dict.fromkeys(("Agent", "Episodes", "Step", "rollout", "run_episodes"), "mwl.rollouts.episodes")
__getattr__, __dir__ = lazy(__name__, {"definitions": "mwl.rollouts.metrics", **_EPISODES})
