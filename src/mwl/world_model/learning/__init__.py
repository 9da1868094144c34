"""How the world model learns: replay, losses, and one update."""
