"""A model in memory, run on a provider by onnxruntime."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from netdsl.diagnostics.terminal import escape
from netdsl.diagnostics.user_error import USAGE_IS_WRONG, UserError
from netdsl.files import mistaken, open_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from netdsl.data.reader import Reader

    Array = np.ndarray[Any, np.dtype[Any]]

PROVIDERS: dict[str, tuple[str, dict[str, str]]] = {
    "cpu": ("CPUExecutionProvider", {}),
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}),  # TF32 would round to 10 bits
    "tensorrt": ("TensorrtExecutionProvider", {}),
    "migraphx": ("MIGraphXExecutionProvider", {}),
    "openvino": ("OpenVINOExecutionProvider", {}),
    "coreml": ("CoreMLExecutionProvider", {}),
    "directml": ("DmlExecutionProvider", {}),
}
"""What a user calls a provider, onnxruntime's name for it, and its options."""

TYPES = {
    "float": "float32",
    "float16": "float16",
    "double": "float64",
    "uint8": "uint8",
    "int8": "int8",
    "uint16": "uint16",
    "int16": "int16",
    "uint32": "uint32",
    "int32": "int32",
    "uint64": "uint64",
    "int64": "int64",
    "bool": "bool",
}
"""ONNX's names of element types, and NumPy's."""

SILENT = 4


class NoProvider(UserError, code="E0811", exit_code=USAGE_IS_WRONG):
    """The provider is unknown, is not in this build of onnxruntime, or does not start on this machine."""


class BadModel(UserError, code="E0812"):
    """The file is no ONNX model that onnxruntime can run: damaged, too new, or with operators that it does not know."""


class WrongFeed(UserError, code="E0813"):
    """The model's inputs are not what it is fed with: names, types, shapes, or the number of examples."""


class RunFailed(UserError, code="E0814"):
    """The model failed while it was computed."""


class Tensor:
    """An input or output as the model declares it; a size of None may be any, `dtype` is NumPy's name."""

    __slots__ = ("dtype", "name", "shape")

    def __init__(self, name: str, shape: tuple[int | None, ...], dtype: str) -> None:
        self.name = name
        self.shape = shape
        self.dtype = dtype

    def __repr__(self) -> str:
        return f"{self.name} {self.spelled}"

    @property
    def spelled(self) -> str:
        return f"{self.dtype} {_spell(self.shape)}"


def _spell(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape) or "a single number"


class Session:
    """A model that is ready to run; it copies nothing that goes in or out.

    `inputs` and `outputs` are by name, in the model's order, `metadata` is what the model's file says of itself.
    """

    __slots__ = ("_run", "inputs", "metadata", "name", "outputs", "provider")

    def __init__(
        self, model: bytes | str, *, provider: str = "cpu", threads: int | None = None, name: str | None = None
    ) -> None:
        """Load a model, given as its bytes or as a file's path. `name` is what messages call it."""
        import onnxruntime

        self.name = name or (model if isinstance(model, str) else "the model")
        self.provider = provider
        options = onnxruntime.SessionOptions()
        options.log_severity_level = SILENT  # what it has to say comes as an exception too
        if threads is not None:
            if threads < 1:
                raise NoProvider(f"a model needs at least one thread, not {threads}")
            options.intra_op_num_threads = threads
        chosen = _provider(provider, onnxruntime.get_available_providers())
        if isinstance(model, str):
            _check_head(model)
        try:
            session = onnxruntime.InferenceSession(model, options, providers=chosen)
        except Exception as error:  # its exceptions share no base class
            raise _load_problem(self.name, str(error)) from None
        if session.get_providers()[0] != chosen[0][0]:
            raise NoProvider(f"the provider `{provider}` does not start on this machine", "are its drivers installed?")
        self._run = session.run
        self.inputs = {node.name: _tensor(node) for node in session.get_inputs()}
        self.metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
        self.outputs = {node.name: _tensor(node) for node in session.get_outputs()}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name for one batch of each input."""
        self._check(feeds)
        try:
            values = self._run(None, feeds)
        except Exception as error:
            raise RunFailed(f"{escape(self.name)} failed: {_first_line(str(error))}") from None
        return dict(zip(self.outputs, values, strict=True))

    def _check(self, feeds: Mapping[str, Array]) -> None:
        if feeds.keys() != self.inputs.keys():
            wanted, given = ", ".join(map(escape, self.inputs)), ", ".join(map(escape, feeds)) or "nothing"
            raise WrongFeed(f"{escape(self.name)} takes {wanted}, and is given {given}")
        for name, array in feeds.items():
            tensor = self.inputs[name]
            fits = len(array.shape) == len(tensor.shape) and all(
                want is None or want == size for size, want in zip(array.shape, tensor.shape, strict=True)
            )
            if not fits or array.dtype.name != tensor.dtype:
                raise WrongFeed(
                    f"input `{escape(name)}` of {escape(self.name)} takes {tensor.spelled}, "
                    f"and is given {array.dtype.name} {_spell(array.shape)}"
                )


def predict(session: Session, readers: Mapping[str, Reader], batch: int) -> Iterator[dict[str, Array]]:
    """The outputs for all examples, a batch at a time. A model whose batch is fixed must be given whole ones."""
    assert batch > 0
    counts = {name: len(reader) for name, reader in readers.items()}
    if len(set(counts.values())) > 1:
        raise WrongFeed(
            "the inputs differ in length: " + ", ".join(f"{escape(k)} has {n:,}" for k, n in counts.items())
        )
    for name in readers:
        fixed = session.inputs[name].shape[0] if name in session.inputs and session.inputs[name].shape else None
        if fixed is not None and (batch != fixed or counts[name] % fixed):
            raise WrongFeed(
                f"{escape(session.name)} takes batches of exactly {fixed}, and is given {counts[name]:,} examples "
                f"in batches of {batch}",
            )
    streams = [reader.batches(batch) for reader in readers.values()]
    for arrays in zip(*streams, strict=True):
        yield session.run(dict(zip(readers, arrays, strict=True)))


def _provider(name: str, available: list[str]) -> list[tuple[str, dict[str, str]]]:
    """The provider with its options, and the CPU behind it for what it cannot compute."""
    there = [short for short, (long, _) in PROVIDERS.items() if long in available]
    if name not in there:
        state = "is not in this build of onnxruntime" if name in PROVIDERS else "is not one that is known"
        helps = ["install onnxruntime-gpu in the place of onnxruntime"] if name in ("cuda", "tensorrt") else []
        raise NoProvider(f"the provider `{escape(name)}` {state}; there is {', '.join(there)}", *helps)
    return [PROVIDERS[name]] if name == "cpu" else [PROVIDERS[name], PROVIDERS["cpu"]]


def _tensor(node: Any) -> Tensor:
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return Tensor(node.name, shape, TYPES.get(kind, kind))


def _check_head(path: str) -> None:
    with open_file(path) as file:
        what = mistaken(file.read(64))
    if what:
        raise BadModel(f"{escape(path)} {what}")


def _load_problem(name: str, said: str) -> BadModel:
    """Why onnxruntime refuses a model, from what it said of it."""
    name = escape(name)
    if "INVALID_PROTOBUF" in said or "No graph was found" in said:
        return BadModel(f"{name} is not an ONNX model, or cut short")
    if found := re.search(r"IR version: (\d+), max supported IR version: (\d+)", said):
        return BadModel(
            f"{name} has IR version {found[1]}, and this onnxruntime knows those up to {found[2]}",
            "install a newer onnxruntime",
        )
    if found := re.search(r"Opset (\d+) is under development.* for domain (\S+) is till opset (\d+)", said):
        return BadModel(
            f"{name} is of opset {found[1]}, and this onnxruntime knows {found[2]} up to {found[3]}",
            "install a newer onnxruntime, or compile with a lower --opset",
        )
    if found := re.search(r"(\S+)\(-?\d+\) is not a registered function/op|No Op registered for (\S+)", said):
        return BadModel(f"{name} has the operator {escape(found[1] or found[2])}, which this onnxruntime does not know")
    if "bad_alloc" in said or "Failed to allocate memory" in said:
        return BadModel(f"{name} does not fit into the memory of this machine")
    return BadModel(f"{name} cannot be run: onnxruntime says, {_first_line(said)}")


def _first_line(said: str) -> str:
    """onnxruntime's message without its codes and its source's places."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", said)
    text = re.sub(r"^(Load model from .* failed:)?(/\S+:\d+ .*?\) (?=[A-Z]))?", "", text)
    return escape(text.strip().splitlines()[0]) if text.strip() else "nothing"
