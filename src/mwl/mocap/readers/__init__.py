"""Readers of motion files: what a file says of axes, units, rate and joints, and where the landmarks of a body are."""
