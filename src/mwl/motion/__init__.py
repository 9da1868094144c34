"""Motion: gait cycles, clips, demonstrators that turn references into valid behaviour, and recordings of them."""
