"""The robot as geometry: names, ranges and poses of the H1, frames, kinematics, left-right symmetry."""

CONTROL_HZ = 50  # control steps per second
