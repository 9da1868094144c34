"""The teacher that turns the handle of a door and opens it."""
