"""What a network is fed with: arrays, idx files and pictures in batches; data sets and their augmentation."""
