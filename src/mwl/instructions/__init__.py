"""An instruction from words to a film: what it means, who acts it out, what came of it."""
