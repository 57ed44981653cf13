"""`python -m benchmarks [NAME …]` measures what is promised of netdsl's speed and size, and prints it as a table.

Without names it leaves out `train` and `gradients`, which need a Python that has PyTorch: NETDSL_TORCH_PYTHON is where
that is.
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
        raise SystemExit(f"there is no {', '.join(unknown)}; there is {', '.join(FIGURES)}")
    versions = ", ".join(f"{name} {version(name)}" for name in ("lark", "numpy", "onnx", "onnxruntime"))
    print(f"Python {platform.python_version()}, {versions}; {os.cpu_count()} cores")
    # Each in a fresh process: a large one would pass its size on to its children, and its caches to the next figure.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for found in pool.map(rows, names):
            print("\n".join(found), flush=True)
    print("load of the last minute, 5 and 15:", *(f"{load:.1f}" for load in os.getloadavg()))


if __name__ == "__main__":
    main()
