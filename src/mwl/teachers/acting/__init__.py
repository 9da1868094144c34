"""Teachers that act by themselves on their tasks, as agents."""
