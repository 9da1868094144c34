"""Tracking policies trained by reinforcement learning, from which demonstrators are made."""
