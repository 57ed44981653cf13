"""Jobs of a verification that can crash, hang or take all memory, in a process: `python -m netdsl.app.verify.worker`.

It reads requests, each a line of JSON with the name of the job and its arguments, and answers each with a line of JSON.
Arrays are in files.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from onnx import ValueInfoProto

    from netdsl.base.dtypes import Array

    Answer = dict[str, Any]

LARGE = 2**30
"""Size in bytes of the weights from which a model has external data."""


def run(tool: str, model: str, feeds: str, out: str) -> Answer:
    """Run a model, and write its outputs."""
    from netdsl.app.verify.tools import run as run_tool

    write_arrays(out, run_tool(tool, model, read_arrays(feeds)))
    return {}


def feed(model: str, batch: int, out: str) -> Answer:
    """Write random inputs for which a model runs; return whether any number of examples is possible, or why there are
    no random inputs."""
    import onnx

    from netdsl.app.verify.inputs import NoInputs, declared_inputs, is_batched, random_inputs
    from netdsl.importing.proof_inputs import SIZES
    from netdsl.importing.proof_net import session_of

    session = session_of(model, optimized=True)
    inputs, proto = declared_inputs(session), onnx.load(model, load_external_data=False)
    batched = is_batched(inputs)
    open_sizes = any(not isinstance(size, int) for x in inputs for size in x.shape[batched:])
    failures: list[Exception] = []
    for size in SIZES if open_sizes else SIZES[:1]:
        try:
            found = random_inputs(proto, inputs, seed=0, batch=batch, size=size)
        except NoInputs as error:
            return {"missing": str(error)}
        try:
            session.run(None, found)
        except Exception as error:  # onnxruntime's exceptions share no base class
            failures.append(error)
            continue
        write_arrays(out, found)
        return {"batched": batched}
    raise failures[0]


def check(model: str) -> Answer:
    """Run onnx's full checker, with strict shape inference."""
    import onnx

    onnx.checker.check_model(model, full_check=True)
    return {}


def shapes(model: str) -> Answer:
    """Return the shapes of the outputs, as the model declares them and as shape inference finds them from the inputs:
    sizes are numbers, texts or None."""
    import onnx

    proto = onnx.load(model, load_external_data=False)
    declared = _shapes(proto.graph.output)
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    del proto.graph.value_info[:]
    found = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    return {"declared": declared, "inferred": _shapes(found.graph.output)}


def _shapes(outputs: Iterable[ValueInfoProto]) -> dict[str, list[object] | None]:
    found: dict[str, list[object] | None] = {}
    for output in outputs:
        kind = output.type.tensor_type
        sizes = [dim.dim_value or dim.dim_param or None for dim in kind.shape.dim]
        found[output.name] = sizes if kind.HasField("shape") else None
    return found


def nudge(model: str, feeds: str, out: str, out_feeds: str) -> Answer:
    """Write a model and inputs whose numbers differ in their last bit."""
    import onnx
    from onnx import numpy_helper

    from netdsl.importing.proof_net import rounded_otherwise

    proto = onnx.load(model)
    size = 0
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        size += array.nbytes
        if array.dtype.kind == "f" and array.ndim:
            tensor.CopyFrom(numpy_helper.from_array(rounded_otherwise(array), tensor.name))
    apart = size > LARGE
    onnx.save(proto, out, save_as_external_data=apart, location=f"{os.path.basename(out)}.data" if apart else None)
    write_arrays(out_feeds, {name: rounded_otherwise(array) for name, array in read_arrays(feeds).items()})
    return {}


def round_half(model: str, out: str) -> Answer:
    """Write a model of half precision in float32, with each result rounded to half precision. On the CPU, onnxruntime
    would compute most operators in float32, and remove its own conversions between them."""
    import onnx
    from onnx import TensorProto, helper

    from netdsl.importing.onnx_widen import widen

    proto = onnx.load(model)
    values = onnx.shape_inference.infer_shapes(proto).graph.value_info
    halves = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    widen(proto)
    nodes = []
    for node in proto.graph.node:
        nodes.append(node)
        for at, name in enumerate(node.output):
            if name in halves:
                exact, rounded = f"{name}/exact", f"{name}/rounded"
                node.output[at] = exact
                nodes.append(helper.make_node("Cast", [exact], [rounded], name=rounded, to=TensorProto.FLOAT16))
                nodes.append(helper.make_node("Cast", [rounded], [name], name=exact, to=TensorProto.FLOAT))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    onnx.save(proto, out)
    return {}


def quantize(model: str, feeds: str, out: str) -> Answer:
    """Write a model in int8, calibrated on all examples."""
    from netdsl.backend.quantize import quantize as quantized

    with open(model, "rb") as file:
        made = quantized(file.read(), [read_arrays(feeds)])
    with open(out, "wb") as file:
        file.write(made.SerializeToString())
    return {}


def reimport(model: str, out: str) -> Answer:
    """Import a model, and write the model that the imported text compiles to; return what the import proved."""
    from netdsl.app.import_model import ImportOptions, proof_text, read
    from netdsl.backend.compile import CompileOptions, compile_net
    from netdsl.importing.proof_net import NamedWeights

    found = read(model, ImportOptions(allow_unproved=True))
    with open(out, "wb") as file:
        compile_net(found.net, file, CompileOptions(weights=NamedWeights(found.weights, lambda array: array)))
    proof, data = found.proof, found.data()
    return {
        "layers": data["layers"],
        "parameters": data["parameters"],
        "failure": proof.failure if proof is not None else "nothing computes the model to compare it with",
        "difference": None if proof is None or proof.failure else proof.relative,
        "bound": None if proof is None else proof.limit,
        "text": proof_text(proof),
    }


def differences(model: str, feeds: str, gradients: list[str], nudged: list[str], **options: Any) -> Answer:
    """Compare gradients with central differences of a loss in double precision."""
    from netdsl.app.verify.differences import compare

    found, others = ([read_arrays(each) for each in some] for some in (gradients, nudged))
    return compare(model, read_arrays(feeds), found, others, **options)


JOBS: dict[str, Callable[..., Answer]] = {
    each.__name__: each for each in (run, feed, check, shapes, nudge, round_half, quantize, reimport, differences)
}


def read_arrays(path: str) -> dict[str, Array]:
    """Return the arrays of a file by name."""
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        names = json.loads(str(file["names"]))
        return {name: file[f"array{at}"] for at, name in enumerate(names)}


def write_arrays(path: str, arrays: dict[str, Array]) -> None:
    """Write arrays by name. Names of a model can be anything, and those of members of an archive cannot."""
    import numpy as np

    for array in arrays.values():
        if not isinstance(array, np.ndarray) or array.dtype.hasobject:
            raise ValueError("an input or output is no tensor of numbers")
    numbered = {f"array{at}": array for at, array in enumerate(arrays.values())}
    np.savez(path, names=np.array(json.dumps([*arrays])), **numbered)  # type: ignore[arg-type]


def serve() -> None:
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # packages print to stdout
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer: Answer = {"ok": JOBS[request.pop("job")](**request)}
        except MemoryError:
            answer = {"error": "there is not enough memory"}
        except Exception as error:  # a tool may raise anything
            answer = {"error": described(error)}
        print(json.dumps(answer), file=answers, flush=True)


def described(error: BaseException) -> str:
    """Return an exception in one line."""
    text = str(getattr(error, "message", "")) or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


if __name__ == "__main__":
    serve()
