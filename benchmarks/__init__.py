"""What is promised of netdsl's speed and size, measured: `python -m benchmarks`."""
