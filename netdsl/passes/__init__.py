"""Graph rewrites that preserve what is computed."""
