"""One fit: the Lightning command line, its callbacks, seeds, lock, and how it goes on after a stop."""
