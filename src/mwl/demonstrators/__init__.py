"""Who shows a skill: controllers that are computed, teachers that were trained, policies of a user's own."""
