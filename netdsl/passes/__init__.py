"""Rewrites: from a graph to another that computes the same."""
