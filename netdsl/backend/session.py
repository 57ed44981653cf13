"""Run a model in memory on an execution provider of onnxruntime."""

from __future__ import annotations

import os
import re
from contextlib import redirect_stdout, suppress
from functools import cache
from io import StringIO
from typing import TYPE_CHECKING, Any

from netdsl.backend.heap import returned_blocks
from netdsl.backend.providers import NoProvider, choose
from netdsl.backend.run_time_sizes import RunTimeSizes, Unfit
from netdsl.base.files import mistaken, open_file
from netdsl.base.shape import format_shape
from netdsl.base.user_error import NotEnoughMemory, UserError
from netdsl.data.indices import INDICES, refuse_negative
from netdsl.ir.names import LEAST, WRITER, read_names
from netdsl.weights.onnx_external import data_files

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy as np

    from netdsl.ir.names import Names

    Array = np.ndarray[Any, np.dtype[Any]]

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
"""NumPy names of element types, by onnxruntime's names."""

CPU = "CPUExecutionProvider"
RECORD, ASSIGNMENT = "session.record_ep_graph_assignment_info", "get_provider_graph_assignment_info"
REFUSE, REFUSED = "session.disable_cpu_ep_fallback", "fallback to CPU EP has been explicitly disabled"
SILENT = 4
THREADS = 1024
"""Maximum number of threads. onnxruntime has no limit, and would try to start any number."""

MAX_NODES_SHOWN = 3
"""Maximum number of node names in a message."""

NO_MEMORY = re.compile(r"bad_alloc|failed to allocate memory|out of memory|Available memory of \d+ is", re.IGNORECASE)
"""Messages of onnxruntime about a lack of memory, of C++, its arenas and CUDA."""


class BadModel(UserError, code="E0812", title="an invalid ONNX model"):
    """The file is not an ONNX model that onnxruntime can run: it is damaged, too new, or has unknown operators."""


class WrongFeed(UserError, code="E0813", title="inputs that do not match the model"):
    """The inputs do not match those of the model in their names, types, shapes or number of examples.

    ```sh
    netdsl run model.onnx left=a.npy right=b.npy
    ```
    """


class FellBack(UserError, code="E0815", title="nodes left to the CPU"):
    """The requested execution provider leaves some or all nodes of the model to the CPU.

    ```sh
    netdsl run net.net x.npy --provider cuda --allow-fallback
    ```
    """


class RunFailed(UserError, code="E0814", title="a model that failed at run time"):
    """The model failed at run time."""


class Tensor:
    """An input or output as declared by the model. A size of None is dynamic; `dtype` is a NumPy name."""

    __slots__ = ("dtype", "name", "shape")

    def __init__(self, name: str, shape: tuple[int | None, ...], dtype: str) -> None:
        self.name = name
        self.shape = shape
        self.dtype = dtype

    def __repr__(self) -> str:
        return f"{self.name} {self.description}"

    @property
    def description(self) -> str:
        return f"{self.dtype} {format_shape(self.shape)}"


PROFILE, OPTIMIZED, OPTIMIZED_WEIGHTS = "profile", "optimized.onnx", "optimized.weights"
"""Names of what a session writes to the folder of its profile: the prefix of the events, and the optimized model."""


def _options(threads: int | None, in_order: bool = False, in_turns: bool = False, profile: str = "") -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if in_order:
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED  # in the order of the nodes
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it reorders nodes
        options.enable_mem_pattern = False  # a planned block takes 50 % more memory
        options.enable_mem_reuse = False  # reuse reserves buffers for later values of the same size
    if in_turns:
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")  # threads would wait for the next run
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(profile, PROFILE)
        options.optimized_model_filepath = os.path.join(profile, OPTIMIZED)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", OPTIMIZED_WEIGHTS)
    # Denormals are kept: session.set_denormal_as_zero applies to the whole process, including NumPy, and is set by its
    # first session, so the last bits of a training would depend on other sessions.
    options.log_severity_level = SILENT  # errors are also raised as exceptions
    if threads is not None:
        if not 1 <= threads <= THREADS:
            raise NoProvider(f"a model takes from 1 to {THREADS:,} threads, not {threads:,}")
        options.intra_op_num_threads = threads
    return options


@cache
def _share_arena() -> None:
    """Create the arena for sessions that run in turns, one for the whole process."""
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import OrtArenaCfg

    kind, memory = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    with suppress(Exception):  # another package has created one
        onnxruntime.create_and_register_allocator(
            onnxruntime.OrtMemoryInfo("Cpu", kind, 0, memory), OrtArenaCfg(0, -1, -1, -1)
        )


def _loads_on_cpu(model: bytes | str) -> bool:
    """Return whether the model loads on the CPU; if so, the provider caused the failure."""
    import onnxruntime

    try:
        onnxruntime.InferenceSession(model, _options(None), providers=[CPU])
    except Exception:
        return False
    return True


def _assigned(session: Any, long: str) -> tuple[list[Any], list[Any]]:
    """Return all nodes, and those that are not assigned to the provider."""
    parts = getattr(session, ASSIGNMENT)() if hasattr(session, ASSIGNMENT) else ()
    nodes = [(part.ep_name == long, node) for part in parts for node in part.get_nodes()]
    return [node for _, node in nodes], [node for fits, node in nodes if not fits]


def _left_to_cpu(session: Any, long: str) -> str:
    """Describe the nodes that the provider leaves to the CPU; an empty string if there are none."""
    if long not in session.get_providers():
        return "all of it"
    nodes, left = _assigned(session, long)
    if not left:
        return ""
    names = ", ".join(f"{node.op_type} {node.name}" for node in left[:MAX_NODES_SHOWN])
    return f"{len(left):,} of {len(nodes):,} nodes ({names}{', …' if len(left) > MAX_NODES_SHOWN else ''})"


class Session:
    """A loaded model. Inputs and outputs are not copied.

    `inputs` and `outputs` are by name, in the model's order, `metadata` is the model's, and `provider` runs it. Inputs
    that are `weights` are fed by each run itself, without being copied.
    `fallback` describes the nodes left to the CPU, if that is allowed; `native` is onnxruntime's session.
    """

    __slots__ = (
        "_fitting",
        "_indices",
        "_run",
        "_sizes",
        "_weights",
        "fallback",
        "inputs",
        "metadata",
        "name",
        "native",
        "outputs",
        "provider",
    )

    def __init__(
        self,
        model: bytes | str,
        *,
        provider: str = "cpu",
        threads: int | None = None,
        name: str | None = None,
        allow_fallback: bool = False,
        in_order: bool = False,
        in_turns: bool = False,
        profile: str = "",
        never_left: Collection[str] = (),
        weights: Mapping[str, Array] | None = None,
    ) -> None:
        """Load a model from bytes or a path. Raises NoProvider, BadModel, and FellBack unless that is allowed.

        `name` is the model's name in messages. `provider` can have options: `cuda:device_id=1`. With `in_order`, the
        CPU runs the nodes unchanged, in order and with minimal memory. Sessions that run `in_turns` share the memory
        that they need during a run. With `profile`, a folder, the session measures its kernels until
        `native.end_profiling()`, and writes its optimized model to OPTIMIZED. Nodes of the types in `never_left` must
        run on the provider even with `allow_fallback`.
        """
        import onnxruntime

        self.name = name or (model if isinstance(model, str) else "the model")
        self.provider, long, settings, devices = choose(provider)
        if isinstance(model, str):
            _check_head(model)
            data_files(model)
        options = _options(threads, in_order and long == CPU, in_turns and long == CPU, profile)
        if long != CPU:
            options.add_session_config_entry(RECORD, "1")
            if (not allow_fallback or never_left) and not hasattr(onnxruntime.InferenceSession, ASSIGNMENT):
                options.add_session_config_entry(REFUSE, "1")  # older versions of onnxruntime cannot report placements
        session = self._open(model, long, settings, devices, options)
        if long not in session.get_providers() and not allow_fallback:
            raise NoProvider(
                f"the provider `{self.provider}` does not start on this machine", "are its drivers installed?"
            )
        self.fallback = "" if long == CPU else _left_to_cpu(session, long)
        if self.fallback and not allow_fallback:
            raise self._fell_back(self.fallback)
        if long != CPU:
            self._check_left(never_left, _assigned(session, long)[1])
        session.disable_fallback()  # otherwise it silently changes the provider after a failure
        session._model_bytes = None  # kept for such a change
        self.native = session
        self._weights = dict(weights or {})
        self.inputs = {node.name: _tensor(node) for node in session.get_inputs() if node.name not in self._weights}
        self.metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
        self.outputs = {node.name: _tensor(node) for node in session.get_outputs()}
        # Without the wrapper, whose checks are ours: they matter where a run takes microseconds.
        self._run = getattr(session, "_sess", session).run
        self._fitting: dict[str, Any] | None = None
        self._sizes = _sizes(self.name, session.get_inputs(), self.metadata)
        indices = self.metadata.get(INDICES, "").split()
        self._indices = [name for name, tensor in self.inputs.items() if name in indices and tensor.dtype == "int64"]

    def _open(
        self, model: bytes | str, long: str, settings: dict[str, str], devices: list[Any] | None, options: Any
    ) -> Any:
        """Create onnxruntime's session on the provider, with the CPU for nodes that it does not support."""
        import onnxruntime

        if long.startswith(("CUDA", "Tensorrt")) and hasattr(onnxruntime, "preload_dlls"):
            with redirect_stdout(StringIO()):  # it prints failures to load NVIDIA's libraries
                onnxruntime.preload_dlls()
        providers: list[tuple[str, dict[str, str]]] | None = [(long, settings)]
        if devices is not None:
            try:
                options.add_provider_for_devices(devices, settings)
            except Exception as error:
                raise self._refused(str(error)) from None
            providers = None
        elif long != CPU:
            providers = [(long, settings), (CPU, {})]
        try:
            with returned_blocks(os.path.getsize(model) if isinstance(model, str) else len(model)):
                return onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
        except Exception as error:  # onnxruntime's exceptions share no base class
            if REFUSED in str(error):
                raise self._fell_back("some of its nodes") from None
            problem = _load_problem(self.name, str(error))
            if long != CPU and _loads_on_cpu(model):
                raise self._refused(str(error)) from None
            raise problem from None

    def _check_left(self, never: Collection[str], nodes: list[Any]) -> None:
        """Check that no node of these types is left to the CPU. Raises FellBack."""
        if left := {*never}.intersection(node.op_type for node in nodes):
            raise FellBack(
                f"{self.name}: {self.provider} leaves {', '.join(sorted(left))} to the CPU, which computes in f32",
                "train with another `--dtype`",
            )

    def _fell_back(self, what: str) -> FellBack:
        return FellBack(f"{self.name}: {self.provider} leaves {what} to the CPU", "--allow-fallback permits it")

    def _refused(self, said: str) -> NoProvider:
        return NoProvider(f"the provider `{self.provider}` failed; onnxruntime reports: {_first_line(said)}")

    @property
    def names(self) -> Names:
        """The names of classes, columns and losses in the metadata. Raises BadNames."""
        shapes = ({name: tensor.shape[1:] for name, tensor in part.items()} for part in (self.inputs, self.outputs))
        return read_names(self.metadata, self.name, *shapes)

    def run(
        self, feeds: Mapping[str, Array], first: int = 0, outputs: Collection[str] | None = None
    ) -> dict[str, Array]:
        """Run a batch, and return `outputs`, by default all, by name; `first` is the number of its first example in
        messages. Raises WrongFeed, OutsideVocabulary, RunFailed or NotEnoughMemory."""
        self.check(feeds, first)
        names = [*(self.outputs if outputs is None else outputs)]
        try:
            values = self._run(names, {**self._weights, **feeds}, None)
        except Exception as error:
            raise failed(self.name, error) from None
        return dict(zip(names, values, strict=True))

    def check(self, feeds: Mapping[str, Array], first: int = 0) -> None:
        """Check a batch without running it. Raises WrongFeed and OutsideVocabulary."""
        kinds = {name: (array.shape, array.dtype) for name, array in feeds.items()}
        if kinds != self._fitting:
            self.check_names(feeds)
            self._check_arrays(feeds)
            self._fitting = kinds
        for name in self._indices:
            refuse_negative(feeds[name], f"input `{name}` of {self.name}", first)

    def check_names(self, feeds: Mapping[str, Array]) -> None:
        """Check that there is an array for each input. Raises WrongFeed."""
        if feeds.keys() != self.inputs.keys():
            wanted, given = ", ".join(self.inputs), ", ".join(feeds) or "nothing"
            raise WrongFeed(f"{self.name} requires {wanted}, but got {given}")

    def _check_arrays(self, feeds: Mapping[str, Array]) -> None:
        for name, array in feeds.items():
            tensor = self.inputs[name]
            fits = len(array.shape) == len(tensor.shape) and all(
                want is None or want == size for size, want in zip(array.shape, tensor.shape, strict=True)
            )
            if not fits or array.dtype.name != tensor.dtype:
                raise WrongFeed(
                    f"input `{name}` of {self.name} requires {tensor.description}, "
                    f"but got {array.dtype.name} {format_shape(array.shape)}"
                )
            # An axis of length 0 makes onnxruntime's recurrent operators end the process.
            if 0 in array.shape[1:]:
                raise WrongFeed(f"input `{name}` of {self.name} got {format_shape(array.shape)}: an axis has length 0")
        try:
            self._sizes.check({name: array.shape for name, array in feeds.items()})
        except Unfit as error:
            raise WrongFeed(str(error), *error.helps) from None


def failed(name: str, error: Exception) -> RunFailed | NotEnoughMemory:
    """Return the error for a model that failed while running."""
    if NO_MEMORY.search(str(error)):
        return NotEnoughMemory(f"there is not enough memory to run {name}", "a smaller batch needs less")
    said = re.sub("^Error in execution: ", "", _first_line(str(error)))
    return RunFailed(f"{name} failed: {said}")


def _sizes(name: str, inputs: list[Any], metadata: Mapping[str, str]) -> RunTimeSizes:
    """Return the run-time sizes of a model."""
    least = {
        key.removeprefix(LEAST): int(value[:20])
        for key, value in metadata.items()
        if key.startswith(LEAST) and value.isascii() and value.isdecimal()
    }
    return RunTimeSizes(name, {node.name: node.shape for node in inputs}, WRITER in metadata, least)


def _tensor(node: Any) -> Tensor:
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return Tensor(node.name, shape, TYPES.get(kind, kind))


def _check_head(path: str) -> None:
    with open_file(path) as file:
        what = mistaken(file.read(64))
    if what:
        raise BadModel(f"{path} {what}")


def not_a_model(name: str) -> BadModel:
    return BadModel(f"{name} is not an ONNX model, or is truncated")


def _load_problem(name: str, said: str) -> BadModel | NotEnoughMemory:
    """Return the error for a model that onnxruntime cannot load, from its message."""
    if "INVALID_PROTOBUF" in said or "No graph was found" in said:
        return not_a_model(name)
    if found := re.search(r"IR version: (\d+), max supported IR version: (\d+)", said):
        return BadModel(
            f"{name} has IR version {found[1]}, but this onnxruntime supports up to {found[2]}",
            "install a newer onnxruntime",
        )
    if found := re.search(r"Opset (\d+) is under development.* for domain (\S+) is till opset (\d+)", said):
        return BadModel(
            f"{name} has opset {found[1]}, but this onnxruntime supports {found[2]} up to {found[3]}",
            "install a newer onnxruntime, or compile with a lower --opset",
        )
    if found := re.search(r"(\S+)\(-?\d+\) is not a registered function/op|No Op registered for (\S+)", said):
        return BadModel(f"{name} has the operator {found[1] or found[2]}, which this onnxruntime does not support")
    if NO_MEMORY.search(said):
        return NotEnoughMemory(f"there is not enough memory to load {name}")
    return BadModel(f"{name} cannot be run; onnxruntime reports: {_first_line(said)}")


def _first_line(said: str) -> str:
    """Return the first line of onnxruntime's message, without codes and source locations."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", said)
    text = re.sub(r"^(Load model from .* failed:)?(/\S+:\d+ .*?\) (?=[A-Z]))?", "", text)
    return text.strip().splitlines()[0] if text.strip() else "nothing"
