"""Syntax highlighting, for editors and documentation, from one table of rules."""
