"""Measures agents: whole episodes, statistics, tables, plots and films. Knows agents only by their protocol."""
