"""Carries out stages: one by itself, or many as a graph that resumes and skips what did not change."""
