"""Parse text to an AST, recovering from errors at the next statement."""
