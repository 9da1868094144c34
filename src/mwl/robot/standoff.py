"""Where a target is within reach; apart from the rest, as who only asks needs none of the simulation."""

STANDOFF = (0.32, 0.18)
"""Of the target, m ahead of the pelvis and m to its left: the left hand gets there without a further step."""
