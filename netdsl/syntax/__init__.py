"""Text to AST, recovering at the next statement."""
