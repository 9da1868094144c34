"""Demonstrators that pose a standing robot: arms raised or waved, the body low."""
