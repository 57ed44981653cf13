"""The programs that run a model: onnxruntime with its execution providers, and independent ones."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from netdsl.backend.providers import KNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from netdsl.base.dtypes import Array

    Feeds = Mapping[str, Array]
    Arrays = dict[str, Array]

PACKAGES = {"openvino": "openvino", "tract": "tract"}
"""The tools that are packages of their own, by the names that pip installs."""

PROVIDERS = tuple(name for name in KNOWN if name not in ("cpu", "openvino"))
"""The execution providers to compare with the CPU. OpenVINO is compared as itself."""

AGAINST = ("reference", *PACKAGES, *PROVIDERS)
"""What onnxruntime's CPU can be compared with."""


def is_installed(tool: str) -> bool:
    """Return whether a package, or an execution provider with a device, is installed."""
    if tool == "reference":
        return True
    if tool in PACKAGES:
        return find_spec(PACKAGES[tool]) is not None
    from netdsl.backend.providers import NoProvider, choose

    try:
        choose(tool)
    except NoProvider:
        return False
    return True


def install(tool: str) -> str:
    """Return the command that installs a tool."""
    return f"pip install {PACKAGES[tool]}" if tool in PACKAGES else KNOWN[tool].install


def run(tool: str, model: str, feeds: Feeds) -> Arrays:
    """Return the outputs of the model of a file by name. Raises whatever the tool does."""
    tools: dict[str, Callable[[str, Feeds], Arrays]] = {
        "onnxruntime": lambda path, given: onnxruntime(path, given),
        "unoptimized": lambda path, given: onnxruntime(path, given, optimized=False),
        "reference": reference,
        "openvino": openvino,
        "tract": tract,
    }
    return tools[tool](model, feeds) if tool in tools else provider(tool, model, feeds)


def onnxruntime(model: str, feeds: Feeds, *, optimized: bool = True) -> Arrays:
    """Run a model on the CPU, after onnxruntime's optimizations or node by node."""
    from netdsl.importing.proof_net import session_of

    session = session_of(model, optimized=optimized)
    names = [y.name for y in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def provider(name: str, model: str, feeds: Feeds) -> Arrays:
    """Run a model on an execution provider, which may leave operators to the CPU."""
    from netdsl.backend.session import Session

    return Session(model, provider=name, allow_fallback=True).run(feeds)


def reference(model: str, feeds: Feeds) -> Arrays:
    """Run a model in onnx's reference evaluator, with the operators of `exact`."""
    import numpy as np

    from netdsl.app.verify.exact import evaluator

    program: Any = evaluator(model)
    values = program.run(None, dict(feeds))
    return {name: np.asarray(value) for name, value in zip(program.output_names, values, strict=True)}


def openvino(model: str, feeds: Feeds) -> Arrays:
    """Run a model in OpenVINO on the CPU, which otherwise computes in half precision where the processor can."""
    core: Any = import_module("openvino").Core()
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled(dict(feeds))
    return {name: results[name] for name in _outputs(model)}


def tract(model: str, feeds: Feeds) -> Arrays:
    """Run a model in tract, which keeps the order of outputs, and names them as nodes."""
    read: Any = import_module("tract").onnx().load(model)
    names = [read.input_name(at) for at in range(read.input_count())]
    results = read.into_model().into_runnable().run([feeds[name] for name in names])
    return {name: result.to_numpy() for name, result in zip(_outputs(model), results, strict=True)}


def _outputs(model: str) -> list[str]:
    import onnx

    return [y.name for y in onnx.load(model, load_external_data=False).graph.output]
