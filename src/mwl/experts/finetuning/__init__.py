"""Fine-tuning of an expert by reinforcement learning on its task."""
