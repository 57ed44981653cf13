"""Benchmarks of netdsl's promised speed and size: `python -m benchmarks`."""
