"""`python -m benchmarks [NAME …]` measures netdsl's promised speed and size, and prints a table.

A NAME is a figure or a group, such as `train`. Without names, it skips the groups that need PyTorch: set
NETDSL_TORCH_PYTHON to the path of a Python that has it. `python -m benchmarks report` writes a page:
`benchmarks.report`.
"""

from __future__ import annotations

import os
import sys

from benchmarks import report
from benchmarks.figures import measure


def main() -> None:
    if sys.argv[1:2] == ["report"]:
        return report.main(sys.argv[2:])
    print(report.environment())
    for name in report.selected(sys.argv[1:] or [""]):
        print("\n".join(map(str, measure(name))), flush=True)
    print("load average (1, 5, 15 min):", *(f"{load:.1f}" for load in os.getloadavg()))
    return None


if __name__ == "__main__":
    main()
