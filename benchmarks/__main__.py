"""`python -m benchmarks [NAME …]` measures netdsl's promised speed and size, and prints a table.

Without names, it skips `train` and `gradients`, which need PyTorch: set NETDSL_TORCH_PYTHON to the path of a Python
that has it.
"""

from __future__ import annotations

import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context

from benchmarks.figures import FIGURES, rows


def main() -> None:
    names = sys.argv[1:] or [name for name in FIGURES if name not in ("train", "gradients")]
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)} (available: {', '.join(FIGURES)})")
    versions = ", ".join(f"{name} {version(name)}" for name in ("lark", "numpy", "onnx", "onnxruntime"))
    print(f"Python {platform.python_version()}, {versions}; {os.cpu_count()} cores")
    # Each in a new process: a large process would affect its children's peak memory, and the next figure's caches.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for found in pool.map(rows, names):
            print("\n".join(found), flush=True)
    print("load average (1, 5, 15 min):", *(f"{load:.1f}" for load in os.getloadavg()))


if __name__ == "__main__":
    main()
