"""AST to Net: names and scopes, expressions, blocks and loops, shapes as each value comes to be."""
