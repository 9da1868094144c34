"""What adapts to the task around the experts' actions: trust region, search, race."""
