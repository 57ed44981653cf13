"""Verify a model: each check compares it with something independent, and has a bound, a figure and a verdict."""
