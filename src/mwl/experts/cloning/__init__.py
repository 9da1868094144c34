"""Behaviour cloning: the stage that fits an expert to demonstrations."""
