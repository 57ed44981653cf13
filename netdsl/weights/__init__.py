"""Values of weights: drawn, or read from files and matched to a net by name."""
