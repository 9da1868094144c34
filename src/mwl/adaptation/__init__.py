"""Experts tuned to what a task pays for: a search of a correction of their actions while acting, then a race."""
