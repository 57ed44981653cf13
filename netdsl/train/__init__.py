"""Training: the loop over steps, the folder of a run, and progress, logs and curves."""
