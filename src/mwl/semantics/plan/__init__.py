"""From an instruction to steps: sequence, director, progress, the language model planner."""
