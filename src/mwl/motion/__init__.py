"""Motion: gait cycles, clips, demonstrators that turn a reference into physically valid behaviour, and their recordings."""
