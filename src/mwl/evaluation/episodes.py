"""Whole episodes as evaluation runs them: those of `mwl.rollouts`, under the name they have here."""

from mwl.rollouts.episodes import Agent, Episodes, OnStep, Report, run_episodes
from mwl.rollouts.metrics import Motion

__all__ = ["Agent", "Episodes", "Motion", "OnStep", "Report", "run_episodes"]
