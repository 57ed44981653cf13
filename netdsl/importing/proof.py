"""Prove that a text is the model that it was made of: equal outputs for random inputs, and for random weights."""

from __future__ import annotations

import os
import tempfile
from math import inf, isnan, prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from netdsl.backend.compile import CompileOptions, compile_net
from netdsl.base.files import CannotWrite, reason
from netdsl.base.size import Size
from netdsl.importing.recompile import Differs, ModelFailed, compared, named_weights
from netdsl.ir.net import Net, Output
from netdsl.lower import macs
from netdsl.weights.file import Entry, WeightFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.base.shape import Shape
    from netdsl.importing.flat import FlatLayer, FlatNet, FlatWeight, Trial
    from netdsl.ir.net import Node

SQUASHING = frozenset(["softmax", "log_softmax", "sigmoid", "tanh", "hard_sigmoid", "step", "sign", "argmax"])
"""Layers whose results can be equal for unequal inputs; what they read is compared too."""

SATURATING = SQUASHING | {"clip", "relu6"}
"""These, and others with limits."""

TOLERANCE = 5e-6
"""Largest difference of two values, relative to the largest magnitude, that rounding explains."""

COARSE = 1e-4
"""The same for the file's own weights, if others were compared too: sums of equal numbers are rounded more."""

BATCH = 2
"""Examples of a batch, if the model takes any number of them."""

SIZES = (64, 97, 96, 32, 128, 16, 224)
"""What sizes that are known only at run time are, or about that: the first two for which the model runs. One is odd,
since sizes are rounded where a net strides."""


MEMORY = 2**30
"""Bytes that the weights and values of a net may take to be compared, beside 16 times those of the model's files."""


WORK = 2**38
"""Multiply-adds of a comparison, beside 4096 for each byte of the model's files. Reading or writing an element counts
as 16 of them."""


class Proof(NamedTuple):
    """What was compared: the number of inputs, and the largest difference of a value, relative to the largest magnitude
    of its tensor; with random numbers in place of weights that could hide a mistake, if `random`. `sizes` are those of
    the axes whose size is known only at run time. `failure` says why it proves nothing."""

    inputs: int
    difference: float
    magnitude: float
    random: bool
    failure: str = ""
    sizes: tuple[int, ...] = ()

    @property
    def relative(self) -> float:
        return self.difference / self.magnitude if self.magnitude else 0.0

    @property
    def holds(self) -> bool:
        """Whether the values are equal, but for rounding."""
        return not self.failure and self.relative <= TOLERANCE


def prove(flat: FlatNet, net: Net, count: int) -> Proof:
    """Compare a net with the reference of its flat list, on `count` random inputs. Raises Differs."""
    assert flat.reference is not None
    if failure := _too_large(flat, net):
        return Proof(0, 0.0, 0.0, False, failure)
    proofs = [_compare(flat.reference(None), net, count, random=False)]
    if _can_hide(flat):
        proofs.append(_compare(flat.reference(1), net, count, random=True))
    failed = [proof for proof in proofs if proof.failure]
    if failed and len(proofs) > 1 and not proofs[1].failure:  # the file's own weights may give nothing to compare
        failed = []
    worst = proofs[0] if proofs[0].relative > COARSE else proofs[-1]
    return Proof(
        sum(proof.inputs for proof in proofs),
        worst.difference,
        worst.magnitude,
        len(proofs) > 1,
        failed[0].failure if failed else "",
        proofs[0].sizes,
    )


def _too_large(flat: FlatNet, net: Net) -> str:
    """Return why a comparison would take too long, or too much memory, for the size of the model's files."""
    symbols = _symbols(flat, SIZES[0])
    batch = flat.batch or BATCH
    layers = flat.live()
    sizes = {layer: prod((batch, *_known(layer.shape, symbols))) for layer in layers}
    weights = sum(prod(weight.shape) for layer in layers for weight in layer.weights.values())
    if (needed := 4 * weights + 8 * _most(layers, sizes)) > MEMORY + 16 * flat.bytes:
        return f"it would take {needed / 2**30:,.1f} GiB of memory, many times its files"
    work = 16 * sum(sizes[x] for layer in layers for x in (layer, *layer.inputs))
    if not symbols:
        work += batch * macs(net)
    if work > WORK + 4096 * flat.bytes:
        return f"it would take {work / 1e9:,.0f} billion multiply-adds, too many for its files"
    return ""


def _most(layers: Sequence[FlatLayer], sizes: Mapping[FlatLayer, int]) -> int:
    """Return the largest sum of sizes of values that exist at the same time."""
    last = {x: at for at, layer in enumerate(layers) for x in (layer, *layer.inputs)}
    ends: dict[int, list[FlatLayer]] = {}
    for layer, at in last.items():
        ends.setdefault(at, []).append(layer)
    held = most = 0
    for at, layer in enumerate(layers):
        held += sizes[layer]
        most = max(most, held)
        held -= sum(sizes[each] for each in ends.get(at, ()))
    return most


def _symbols(flat: FlatNet, size: int) -> dict[str, int]:
    """Return a value for each symbol in the sizes of the inputs, so that these sizes are about `size`; neighbors, such
    as a height and a width, get other ones."""
    found: dict[str, int] = {}
    for layer in flat.inputs.values():
        for each in layer.shape:
            if isinstance(each, Size):
                other = SIZES[0] if size != SIZES[0] and len(found) % 2 else size
                found.setdefault(each.symbols[0], max(other // each.terms[0][1], 1))
    return found


def _known(shape: Shape, symbols: Mapping[str, int]) -> list[int]:
    """Return the sizes of a shape with values for its symbols."""
    return [size.substitute({**symbols}) if isinstance(size, Size) else size for size in shape]  # type: ignore[misc]


def _can_hide(flat: FlatNet) -> bool:
    """Return whether the weights of a net can hide a mistake."""
    weights = [weight.read() for layer in flat.live() for weight in layer.weights.values()]
    return bool(hiding({str(at): array for at, array in enumerate(weights)}))


def hiding(arrays: Mapping[str, Array]) -> list[str]:
    """Return the names of arrays of several elements that are all equal, or those of another array."""
    found = []
    seen: set[tuple[tuple[int, ...], bytes]] = set()
    for name, array in arrays.items():
        if array.size < 2:
            continue
        first = array[(0,) * array.ndim]
        if array.strides == (0,) * array.ndim or bool((array == first).all()):
            found.append(name)
            continue
        flat = array.reshape(-1)
        key = array.shape, flat[:: max(1, flat.size // 64)].tobytes()
        if key in seen:
            found.append(name)
        seen.add(key)
    return found


def replacements(arrays: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """Return random numbers for the arrays that could hide a mistake: positive ones for those of one axis, which may be
    variances, and otherwise ones that keep the size of what they are multiplied by."""
    generator = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for name in hiding(arrays):
        array = arrays[name]
        if array.ndim > 1 and array.size > max(array.shape):
            fan = array.size // array.shape[0]
            values = generator.standard_normal(array.shape, np.float32) * np.float32((2 / fan) ** 0.5)
        else:
            values = generator.uniform(0.5, 1.5, array.shape).astype(np.float32)
        found[name] = values.astype(array.dtype)
    return found


def _compare(trial: Trial, net: Net, count: int, *, random: bool) -> Proof:
    """Compare a net that has the weights of a trial with what its other program computes."""
    flat = trial.net
    nodes = compared(flat, net)
    layers = _observed(flat)
    try:
        sizes, feeds, wanted = _computed(trial, layers, count)
    except ModelFailed:
        if flat.batch is not None:
            raise
        flat.batch = 1  # exporters forget what depends on the example that they saw
        return _compare(trial, net, count, random=random)
    del trial  # the model's memory, before the net's is needed
    found = _run(net, [nodes[layer] for layer in layers], named_weights(nodes, net), feeds)
    worst = Proof(len(feeds), 0.0, 1.0, random, sizes=sizes)
    telling: set[FlatLayer] = set()
    for at, layer in enumerate(layers):
        pairs = [(ours[at], theirs[at]) for ours, theirs in zip(found, wanted, strict=True)]
        shown = [(mine, other) for mine, other in pairs if other is not None]
        assert shown or layer not in flat.outputs.values(), f"the other program does not compute {layer}"
        alike: dict[tuple[int, ...], list[Array]] = {}
        for _, other in shown:
            alike.setdefault(other.shape[1:], []).append(other)
        if any(map(_tells, alike.values())):
            telling.add(layer)
        for mine, other in shown:
            if mine.shape != other.shape:
                raise Differs(f"{layer} has the shape {list(mine.shape)}, and in the model {list(other.shape)}")
            if not np.isfinite(other).all():
                return worst._replace(failure=f"the values of the model at {layer.place} are not finite")
            magnitude = float(np.abs(other).max(initial=0)) or 1.0
            if layer.kind in SQUASHING:  # small results are rounded like large ones
                magnitude = max(magnitude, 1.0)
            difference = float(np.abs(mine.astype(np.float64) - other).max(initial=0))
            difference = inf if isnan(difference) else difference
            if not difference / magnitude <= worst.relative:
                worst = worst._replace(difference=difference, magnitude=magnitude)
    for name, output in flat.outputs.items():
        if telling.isdisjoint(_scores(output)):
            return worst._replace(failure=f"the values of the model's output {name} are equal for all inputs")
    return worst


def _computed(
    trial: Trial, layers: Sequence[FlatLayer], count: int
) -> tuple[tuple[int, ...], list[dict[str, Array]], list[Sequence[Array | None]]]:
    """Return the sizes, the inputs, and the values of a model for `count` batches of inputs; for at least two sizes if
    they are known only at run time, unless the model fails for all others. Raises ModelFailed."""
    feeds: list[dict[str, Array]] = []
    wanted: list[Sequence[Array | None]] = []
    sizes: list[int] = []
    tried = SIZES if _symbols(trial.net, SIZES[0]) else SIZES[:1]
    for size in tried:
        feed = random_inputs(trial.net, len(feeds), size)
        try:
            wanted.append(trial.run(feed, layers))
        except ModelFailed:
            if size == tried[-1] and not sizes:
                raise
            continue
        feeds.append(feed)
        sizes.append(size)
        if len(sizes) == 2:
            break
    while len(feeds) < count:
        feeds.append(random_inputs(trial.net, len(feeds), sizes[len(feeds) % len(sizes)]))
        wanted.append(trial.run(feeds[-1], layers))
    return tuple(sizes) if len(tried) > 1 else (), feeds, wanted


def _tells(arrays: Sequence[Array]) -> bool:
    """Return whether the values of a layer depend on the inputs: those of several examples are not equal. Those of a
    single example are not all equal; a single value is not 0."""
    values = np.concatenate(arrays)
    if len(values) == 1:
        values = values.reshape(-1)
    magnitude = float(np.abs(values).max(initial=0))
    if not 0 < magnitude < inf:
        return False
    return values.size == 1 or float(np.ptp(values, axis=0).max()) > 1e-6 * magnitude


def _observed(flat: FlatNet) -> list[FlatLayer]:
    """Return the layers whose values are compared: the outputs, and what those that squash are computed from."""
    return list(dict.fromkeys(layer for output in flat.outputs.values() for layer in _scores(output)))


def _scores(output: FlatLayer) -> list[FlatLayer]:
    """Return an output, and what it is computed from if it squashes that."""
    layer = output
    while layer.kind in SATURATING or (layer.layer.dtype_transparent and len(layer.inputs) == 1):
        layer = layer.inputs[0]
    return [output, layer]


def random_inputs(flat: FlatNet, seed: int, size: int = SIZES[0]) -> dict[str, Array]:
    """Return a batch of random inputs by name. Sizes known only at run time are about `size`."""
    symbols = _symbols(flat, size)
    generator = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for name, layer in flat.inputs.items():
        shape = (flat.batch or BATCH, *_known(layer.shape, symbols))
        dtype = layer.layer.dtype  # type: ignore[attr-defined]
        if dtype == "i64":
            found[name] = generator.integers(0, _vocabulary(flat, layer), shape)
        elif dtype == "u8":
            found[name] = generator.integers(0, 256, shape, np.uint8)
        else:
            array = generator.standard_normal(shape, np.float32)
            found[name] = array.astype(np.float16) if dtype == "f16" else array
    return found


def _vocabulary(flat: FlatNet, source: FlatLayer) -> int:
    """Return the least number of words of the embeddings that read an input."""
    reached, found = {source}, 2
    sizes = []
    for layer in flat.layers:
        if reached.intersection(layer.inputs) and layer.dtype == "i64":
            reached.add(layer)
        if layer.kind == "embedding" and layer.inputs[0] in reached:
            sizes.append(layer.layer.vocabulary)  # type: ignore[attr-defined]
    return min(sizes, default=found)


class NamedWeights(WeightFile):
    """Weights of an imported model by their names in the net."""

    __slots__ = ("weights",)

    def __init__(self, weights: Mapping[str, FlatWeight]) -> None:
        self.path = "the imported weights"
        self.weights = weights
        self.entries = {name: Entry("float32", weight.shape) for name, weight in weights.items()}

    @property
    def allow_nonfinite(self) -> bool:
        return True

    def read(self, key: str) -> Array:
        return self.weights[key].read()


def _run(
    net: Net, nodes: Sequence[Node], weights: Mapping[str, FlatWeight], feeds: Sequence[Mapping[str, Array]]
) -> list[list[Array]]:
    """Return the values of some nodes of a net for each batch of inputs."""
    names = [f"observed{at}" for at in range(len(nodes))]
    outputs = {name: Output(name, node, node.span) for name, node in zip(names, nodes, strict=True)}
    observed = Net(net.name, net.source, inputs=net.inputs, outputs=outputs, nodes=net.nodes)
    inputs = [node.name for node in net.inputs]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "imported.onnx")
        try:
            with open(path, "wb") as file:
                compile_net(observed, file, CompileOptions(weights=NamedWeights(weights)))
        except OSError as error:
            raise CannotWrite(f"cannot write {path}: {reason(error)}") from None
        session = unoptimized(path)
        return [session.run(names, dict(zip(inputs, feed.values(), strict=True))) for feed in feeds]


def unoptimized(model: str | bytes, folder: str = "") -> Any:
    """Return a session of onnxruntime that computes each node as it stands."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    if folder:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
