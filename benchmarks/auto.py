"""Compare the step backend that `auto` chooses with both: `python -m benchmarks.auto [NET …] [--json FILE] …`.

`auto` first measures and chooses, in a new cache folder unless NETDSL_CACHE names one. The contestants then take turns,
each in its own process, as in `benchmarks.contest`. By default, the nets are those of the contest and the first of each
file of the zoo whose step is at most MAX_WORK, smallest first; the batches of the latter are as large as BATCH_WORK
permits.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

from benchmarks.contest import compete
from benchmarks.contest_nets import CONTESTS, RATE, serve
from benchmarks.measure import ROOT, Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.ir.graph import Graph
    from netdsl.ir.net import Node

REACH = 1.03
"""Maximum ratio of the time of `auto`'s choice to that of the faster backend."""

BATCH_WORK, MAX_WORK = 4e9, 2e10
"""Multiply-accumulates of the forward pass of a batch: how many it is filled up to, and the maximum of two examples."""

BATCHES = 2, 64
"""Minimum and maximum size of a batch."""


def zoo() -> list[str]:
    """Return the first net of each file of the zoo that is not in the contest, from few to many
    multiply-accumulates."""
    with (ROOT / "specs" / "index.json").open(encoding="utf-8") as file:
        known: dict[str, dict[str, Any]] = json.load(file)
    first = {about["file"]: name for name, about in reversed(known.items())}
    small = [name for name in first.values() if BATCHES[0] * (known[name]["macs"] or 0) <= MAX_WORK]
    return sorted((name for name in small if name not in CONTESTS), key=lambda name: known[name]["macs"] or 0)


def step_of(name: str) -> Graph:
    """Return the training step of a net of the contest, or of a net of the zoo: with the cross-entropy for outputs that
    are classes, and otherwise the mean of the output. Macros are not yet expanded."""
    from benchmarks import netdsl_contestant
    from benchmarks.figures import load
    from netdsl.base.text import Source, Span
    from netdsl.elaborate.recipe import LossLine
    from netdsl.losses.classification import CrossEntropy
    from netdsl.losses.untargeted import Mean
    from netdsl.lower import cost, lower
    from netdsl.train.step import training_step

    if name in CONTESTS:
        return netdsl_contestant.step_of(name)
    net = load(name)
    macs = cost(lower(net))
    batch = int(min(max(BATCH_WORK / macs, BATCHES[0]), BATCHES[1])) if isinstance(macs, int) else BATCHES[0]
    span = Span(Source("auto", ""), 0, 0)
    losses = tuple(
        LossLine(output=y.name, loss=CrossEntropy() if classifies(y.node) else Mean(), span=span)
        for y in net.outputs.values()
        if y.node.dtype == "f32" and not y.training
    )
    return training_step(net, netdsl_contestant.recipe(net, batch, losses=losses))


def classifies(node: Node) -> bool:
    """Return whether a value has a number for each of several classes."""
    return len(node.shape) == 1 != node.shape[0]


def feeds_of(graph: Graph) -> dict[str, np.ndarray[Any, Any]]:
    """Return normal numbers and zero integers as a batch."""
    from netdsl.backend.emit import ELEMENT_TYPES
    from netdsl.ops.base import known

    random = np.random.default_rng(0)
    feeds = {}
    for name, x in graph.inputs.items():
        dtype = ELEMENT_TYPES[x.dtype][1]
        numbers = random.standard_normal(known(x.shape)) if x.dtype == "f32" else np.zeros(known(x.shape))
        feeds[name] = np.asarray(numbers, dtype)
    return {**feeds, "rate": np.array(RATE, np.float32)}


def contestant(name: str, step_backend: str, threads: int) -> None:
    """Run steps on request."""
    from benchmarks.netdsl_contestant import imports, weights
    from netdsl.train.prepare import prepare
    from netdsl.train.runner import Choices, initial_state

    imported = imports()
    graph = step_of(name)
    runner = prepare(graph, initial_state(graph, weights(graph)), Choices(step_backend, threads=threads))
    feeds = feeds_of(graph)
    serve(lambda: runner.step(feeds), imported)


def choose(name: str, threads: int) -> dict[str, Any]:
    """Return what `auto` chooses: the choices, and the seconds that it takes."""
    from netdsl.train.step_backend import lower_step

    graph = step_of(name)
    begin = perf_counter()
    lowered = lower_step(graph, "auto", threads=threads)
    seconds = perf_counter() - begin
    default = lower_step(graph, "nchwc").choices
    backend = {"std": "plain", "blk": "nchwc"}[lowered.choices["lowering"]]
    return {
        "backend": backend if backend == "plain" or lowered.choices == default else "tuned",
        "batch": next(x.shape[0] for x in graph.inputs.values() if x.shape),
        "seconds": seconds,
    }


def compare(name: str, *, rounds: int = 5, threads: int = 2) -> dict[str, Any]:
    """Return what `auto` chooses, and the results of each contestant. A choice that is a backend is not run twice."""
    with (
        TemporaryDirectory() as folder,
        patch.dict(os.environ, {"NETDSL_CACHE": os.environ.get("NETDSL_CACHE", folder)}),
    ):
        return _compare(name, rounds, threads)


def _compare(name: str, rounds: int, threads: int) -> dict[str, Any]:
    chosen = choose(name, threads)
    backends = ["plain", "nchwc", *(["auto"] if chosen["backend"] == "tuned" else [])]
    command = [sys.executable, "-m", "benchmarks.auto", "--contestant"]
    contestants = compete({each: [*command, name, each, "--threads", str(threads)] for each in backends}, rounds)
    found = {each.name: each.end() for each in contestants}
    found.setdefault("auto", found.get(chosen["backend"]))
    return {**chosen, "contestants": found}


def figure(name: str, found: dict[str, Any]) -> Figure:
    times = {each: result["best"] for each, result in found["contestants"].items()}
    ratio = times["auto"] / min(times["plain"], times["nchwc"])
    listed = ", ".join(f"{each} {time:.1f}" for each, time in times.items())
    detail = f"{found['backend']}, chosen in {found['seconds']:.0f} s; ms: {listed}"
    return Figure(f"{name}, batch {found['batch']}: auto against the faster step backend", ratio, "×", REACH, detail)


def measured(nets: list[str], *, rounds: int, threads: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in nets:
        try:
            yield name, compare(name, rounds=rounds, threads=threads)
        except (Exception, SystemExit) as error:  # a net that cannot be trained like this, or a contestant that ended
            print(f"{name}: not measured: {type(error).__name__}: {str(error).splitlines()[0][:80]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.auto")
    parser.add_argument("nets", nargs="*", metavar="NET")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--contestant", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contestant:
        contestant(*given.nets, given.threads)
        return
    found = {}
    for name, each in measured(given.nets or [*CONTESTS, *zoo()], rounds=given.rounds, threads=given.threads):
        found[name] = each
        print(figure(name, each), flush=True)
        if given.json:
            given.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    if found:
        ratios = {name: figure(name, each).value for name, each in found.items()}
        worst = max(ratios, key=ratios.__getitem__)
        print(f"worst of {len(found)}: {worst}, {ratios[worst]:.3f}")


if __name__ == "__main__":
    main()
