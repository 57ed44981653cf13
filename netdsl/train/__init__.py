"""Training: the loop over a step, its run's folder, and what is drawn and measured on the way."""
