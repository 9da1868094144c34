"""The grammar of an instruction: clauses, negation, mentions, recipes, connectors."""
