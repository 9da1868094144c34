"""Acting in whole episodes and measuring them: one definition of each figure, for training, evaluation and tables."""

from mwl.rollouts.definitions import definitions
from mwl.rollouts.episodes import Agent, Episodes, Step, rollout, run_episodes

__all__ = ["Agent", "Episodes", "Step", "definitions", "rollout", "run_episodes"]
