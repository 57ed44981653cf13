"""`python -m benchmarks report [NAME …] [-o PAGE.md]`: measure, and write one Markdown page with every figure.

Results are kept in a JSON file beside the page, each with its time, versions and load, so that a long report can be
measured in parts: figures that are not named keep their last result. `--render` only writes the page.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.figures import FIGURES, measure
from benchmarks.measure import ROOT, Figure
from netdsl.base.files import write_atomically
from netdsl.report.canvas import Canvas
from netdsl.report.drawing.shapes import Rectangle
from netdsl.train.tune import processor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Results = dict[str, dict[str, Any]]

PAGE = ROOT / "docs" / "performance.md"

SECTIONS = {
    "train": "Training steps",
    "auto": "The choice of a step backend",
    "inference": "Inference",
    "sequences": "Transformers and recurrent nets",
    "gradients": "Gradients",
    "": "The compiler and the command line",
}
"""Titles by the part of a figure's name before the dot; others are in the last section."""

RIVALS = {"train": "PyTorch", "inference": "onnxruntime with PyTorch's export", "sequences": "PyTorch"}
"""The rivals of the groups whose first figures are in the chart."""
WIDTH, LEFT, ROW = 720, 250, 22
"""Width of the chart, position of its axis and distance of its bars, in pixels."""

INTRODUCTION = """\
# Performance

`python -m benchmarks report` measures all of this and writes this page, wins and losses alike. Ratios (×) compare
contestants that take turns in one run, each in a process of its own: below 1, netdsl takes less time or memory. Targets
with ≥ are ratios of throughputs: above 1, netdsl is faster. Times do not carry over to other machines, and ratios only
roughly: measure on yours.

PyTorch is the faster of its contiguous and channels-last layouts and, where it is listed, of `torch.compile` after
warm-up. onnxruntime is the version that netdsl runs on, with the models that PyTorch's two exporters write. At
inference, the faster of two processes counts on either side: `netdsl` and `again` run the same model, so their
difference is noise.
"""


def main(arguments: list[str]) -> None:
    """Measure the figures of these names, by default all, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks report")
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures, or groups of them such as `train`")
    parser.add_argument(
        "-o", type=Path, default=PAGE, dest="page", metavar="PAGE.md", help="default: docs/performance.md"
    )
    parser.add_argument("--render", action="store_true", help="only write the page of what has been measured")
    given = parser.parse_args(arguments)
    store = given.page.with_suffix(".json")
    results: Results = json.loads(store.read_text("utf-8")) if store.exists() else {}
    for name in () if given.render else selected(given.names):
        found = {"environment": environment(), "date": f"{datetime.now(UTC):%Y-%m-%d}", "load": load()}
        results[name] = found | {"figures": [figure.data() for figure in measure(name)]}
        results = {name: results[name] for name in FIGURES if name in results}
        with write_atomically(str(store)) as file:
            file.write(json.dumps(results, indent=1).encode() + b"\n")
    for path, content in ((given.page, page(results).encode()), (given.page.with_suffix(".svg"), chart(results))):
        with write_atomically(str(path)) as file:
            file.write(content)


def selected(wanted: Sequence[str]) -> list[str]:
    """Return the names of FIGURES that are wanted, alone or by their group; all if nothing is wanted."""
    unknown = set(wanted) - {*FIGURES, *map(group, FIGURES)}
    if unknown:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))} (available: {', '.join(FIGURES)})")
    return [name for name in FIGURES if not wanted or name in wanted or group(name) in wanted]


def group(name: str) -> str:
    """Return the part of a figure's name before the dot: `train` of `train.resnet18`."""
    return name.partition(".")[0] if "." in name else ""


def environment() -> str:
    """Return the machine and the versions, as a sentence."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("lark", "numpy", "onnx", "onnxruntime"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    machine = f"{processor()} ({instructions()}), {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()}"
    return f"{machine}; Python {platform.python_version()}, {packages}{_torch()}"


def instructions() -> str:
    """Return the widest vector instructions of the processor, on which the kernels of both sides depend."""
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.machine()
    return next(
        (name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), platform.machine()
    )


def _torch() -> str:
    python = os.environ.get("NETDSL_TORCH_PYTHON")
    if not python:
        return ""
    code = "from importlib.metadata import version as v; print(f', PyTorch {v(\"torch\")}')"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.rstrip()


def load() -> float:
    """Return the load of the last minute by other work: contestants run after this."""
    return round(os.getloadavg()[0], 1)


def page(results: Results) -> str:
    """Return the page of all results."""
    picture = "![Time of netdsl relative to its rivals, a bar for each net](performance.svg)\n"
    return "\n".join([INTRODUCTION, picture, *_summary(results), *_environments(results), *_sections(results)])


def _figures(results: Results) -> Iterator[tuple[str, Figure]]:
    for name, found in results.items():
        yield from ((name, Figure(**each)) for each in found["figures"])


def _summary(results: Results) -> Iterator[str]:
    figures = [figure for _, figure in _figures(results)]
    missed = [figure for figure in figures if not figure.reached]
    yield f"{len(figures) - len(missed)} of {len(figures)} targets are reached{'. Missed:' if missed else '.'}\n"
    if missed:
        yield "\n".join(f"- {figure.what}: {figure.measured()}, target {figure.target()}" for figure in missed) + "\n"


def _environments(results: Results) -> Iterator[str]:
    yield "## Machines\n"
    known = list(dict.fromkeys(found["environment"] for found in results.values()))
    for number, each in enumerate(known, 1):
        measured = [found for found in results.values() if found["environment"] == each]
        days = sorted({found["date"] for found in measured})
        loads = [found["load"] for found in measured]
        days = days[:1] if len(days) == 1 else [days[0], days[-1]]
        yield f"{number}. {each}. Measured {' to '.join(days)}; load before a figure {min(loads)} to {max(loads)}."
    yield ""


def _sections(results: Results) -> Iterator[str]:
    machines = list(dict.fromkeys(found["environment"] for found in results.values()))
    for prefix, title in SECTIONS.items():
        names = [name for name in results if (group(name) if group(name) in SECTIONS else "") == prefix]
        if not names:
            continue
        several = "| machine " if len(machines) > 1 else ""
        yield f"## {title}\n\n| figure | measured | target | reached {several}| details |"
        yield f"| --- | ---: | ---: | --- {'| ---: ' if several else ''}| --- |"
        for name in names:
            where = f"| {machines.index(results[name]['environment']) + 1} " if several else ""
            for figure in (Figure(**each) for each in results[name]["figures"]):
                reached = "yes" if figure.reached else "**no**"
                detail = figure.detail.replace("|", "\\|")
                yield f"| {figure.what} | {figure.measured()} | {figure.target()} | {reached} {where}| {detail} |"
        yield ""


def chart(results: Results) -> bytes:
    """Return the ratios of times to PyTorch's and onnxruntime's as an SVG, a bar for each net."""
    bars = {prefix: [_bar(results[name]) for name in results if group(name) == prefix] for prefix in RIVALS}
    rows = sum(len(each) + 2 for each in bars.values() if each)
    scale = (WIDTH - LEFT - 60) / max([2.0, *(bar.value for each in bars.values() for bar in each)])
    canvas = Canvas(WIDTH, (rows + 1) * ROW, "Time of netdsl relative to its rivals")
    y = ROW
    for prefix, each in bars.items():
        if not each:
            continue
        canvas.text(LEFT, y, f"{SECTIONS[prefix]}: time, {RIVALS[prefix]} = 1", bold=True)
        canvas.line([(LEFT + scale, y + ROW / 2), (LEFT + scale, y + (len(each) + 0.5) * ROW)], canvas.theme.faint)
        for bar in each:
            y += ROW
            ink = canvas.theme.palette[0 if bar.value < 1 else 1]
            canvas.text(LEFT - 8, y, bar.what.partition(":")[0], anchor="end")
            canvas.add(Rectangle((LEFT, y - ROW / 3), bar.value * scale, 2 * ROW / 3, fill=ink, edge=ink))
            canvas.text(LEFT + bar.value * scale + 6, y, f"{bar.value:.2f}")
        y += 2 * ROW
    return canvas.encode("svg")


def _bar(found: dict[str, Any]) -> Figure:
    """Return the first figure of a measurement as a ratio of times."""
    figure = Figure(**found["figures"][0])
    return Figure(figure.what, 1 / figure.value, "×", 1 / figure.reach) if figure.least else figure
