"""The robot as geometry: names, ranges and poses of the H1, frames, kinematics, left-right symmetry."""
