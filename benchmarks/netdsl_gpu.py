"""netdsl's side of `benchmarks.gpu`: `python -m benchmarks.netdsl_gpu NET MODE TYPE PROVIDER [smoke]`.

Nodes that the provider leaves to the CPU are counted on stderr. On the CPU, which has no half precision, mixed
training is emulated: only to try the script.
"""

from __future__ import annotations

import sys
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contest_nets import serve
from benchmarks.gpu_nets import MOMENTUM, NETS, RATE, SMOKE, GpuNet
from benchmarks.netdsl_contestant import imports, recipe, weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.ir.net import Net


def main(name: str, mode: str, kind: str, provider: str, *options: str) -> None:
    imported = imports()
    contest = (SMOKE if options else NETS)[name]
    action = (_training if mode == "training" else _inference)(contest, kind, provider)
    serve(action, imported)


def net_of(contest: GpuNet) -> Net:
    from netdsl.app.frontend import load_net
    from netdsl.diagnostics.report import Report

    report = Report()
    net = load_net(contest.source, report, settings=contest.settings)
    assert net is not None, report.errors
    return net


def _inference(contest: GpuNet, kind: str, provider: str) -> Callable[[], object]:
    from netdsl.backend.compile import CompileOptions, compile_net
    from netdsl.backend.session import Session

    net, file = net_of(contest), BytesIO()
    dtype = "f32" if kind == "f32" else "f16"  # netdsl compiles to no other
    compile_net(net, file, CompileOptions(batch=contest.batch, dtype=dtype))
    session = Session(file.getvalue(), provider=provider, name=net.name, allow_fallback=True)
    if session.fallback:
        print(f"left to the CPU: {session.fallback}", file=sys.stderr)
    (name,) = session.inputs
    feeds = {name: contest.data()[0]}
    return lambda: session.run(feeds)


def _training(contest: GpuNet, kind: str, provider: str) -> Callable[[], object]:
    from netdsl.train.prepare import prepare
    from netdsl.train.runner import Choices, initial_state
    from netdsl.train.step import training_step

    net = net_of(contest)
    changes: dict[str, Any] = {"momentum": MOMENTUM, "decay": 0.0}
    made = recipe(net, contest.batch, **changes)
    made.dtype = "f32" if kind == "f32" else contest.half
    graph = training_step(net, made)
    choices = Choices(
        "plain", provider=provider, allow_fallback=True, emulated=provider == "cpu" and made.dtype != "f32"
    )
    runner = prepare(graph, initial_state(graph, weights(graph)), choices)
    x, target = contest.data()
    (name,) = (node.name for node in net.inputs)
    feeds = {name: x, "target": target, "rate": np.array(RATE, np.float32)}

    def step() -> None:
        runner.step(feeds)
        runner.result("loss").item()

    return step


if __name__ == "__main__":
    main(*sys.argv[1:])
