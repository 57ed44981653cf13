"""Readers of what a network is fed with: arrays, idx files and pictures, in batches."""
