"""Input data: arrays, idx files and images in batches; data sets and their augmentation."""
