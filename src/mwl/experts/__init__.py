"""Experts: one skill each, cloned from demonstrations; the library evaluates all of them in one batched call."""
