"""Elaborate an AST to a Net: names and scopes, expressions, blocks and loops, and the shape of every value."""
