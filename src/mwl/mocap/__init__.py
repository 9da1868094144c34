"""Recorded human motion: clips, how they come to the robot, and how they are cleaned and checked."""
