"""Prove that a text is the model that it was made of: equal outputs for random inputs, and for random weights."""

from __future__ import annotations

from math import inf, isnan, prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from netdsl.data.random_inputs import known_sizes
from netdsl.importing.proof_inputs import BATCH, SIZES, random_inputs, sizes_of_symbols
from netdsl.importing.proof_net import RunnableNet, rounded_otherwise
from netdsl.importing.random_weights import SEEDS
from netdsl.importing.recompile import Differs, ModelFailed, compared, named_weights
from netdsl.lower import macs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.importing.flat import FlatLayer, FlatNet, Trial
    from netdsl.ir.net import Net

    Runs = Sequence[Sequence[Array | None]]
    """The values of some layers for each batch of inputs."""

SQUASHING = frozenset(["softmax", "log_softmax", "sigmoid", "tanh", "hard_sigmoid", "step", "sign", "argmax"])
"""Layers whose results can be equal for unequal inputs; what they read is compared too."""

SATURATING = SQUASHING | {"clip", "relu6"}
"""These, and others with limits."""

TOLERANCE = 1e-6
"""Largest difference of two values, relative to the largest magnitude, that is rounding in any net."""

ROUNDINGS = 4
"""Larger differences are rounding up to this factor of the net's own: the change of its values if sums have another
order, or if inputs and weights differ in their last bit."""

COARSE = 1e-4
"""Largest difference that is ever rounding."""

MEMORY = 2**30
"""Bytes that the weights and values of a net may take to be compared, beside 16 times those of the model's files."""

WORK = 2**39
"""Multiply-adds of a comparison, beside 4096 for each byte of the model's files. Reading or writing an element counts
as 16 of them."""


class Proof(NamedTuple):
    """What was compared: the number of inputs, and the largest difference of a value, relative to the largest magnitude
    of its tensor; with random numbers in place of weights that could hide a mistake, if `random`. `sizes` are those of
    the axes whose size is known only at run time. `rounding` is the net's own, if it was measured. `failure` says
    why it proves nothing."""

    inputs: int
    difference: float
    magnitude: float
    random: bool
    failure: str = ""
    sizes: tuple[int, ...] = ()
    rounding: float = 0.0

    @property
    def limit(self) -> float:
        """The largest relative difference that is rounding."""
        return limit(self.rounding)

    @property
    def relative(self) -> float:
        return self.difference / self.magnitude if self.magnitude else 0.0

    @property
    def holds(self) -> bool:
        """Whether the values are equal, but for rounding."""
        return not self.failure and self.relative <= self.limit


def limit(rounding: float) -> float:
    """Return the largest relative difference that is rounding for a net whose own is known."""
    return min(max(TOLERANCE, ROUNDINGS * rounding), COARSE)


def prove(flat: FlatNet, net: Net, count: int) -> Proof:
    """Compare a net with the reference of its flat list, on `count` random inputs. Raises Differs."""
    assert flat.reference is not None
    if failure := _too_large(flat, net):
        return Proof(0, 0.0, 0.0, False, failure)
    proofs = [_compare(flat.reference(None), net, count, random=False)]
    if _can_hide(flat) or proofs[0].failure:  # the file's own weights may give nothing to compare
        for seed in SEEDS:
            proofs[1:] = [_compare(flat.reference(seed), net, count, random=True)]
            if not proofs[1].failure:
                break
    worst = max(proofs, key=lambda proof: proof.relative / proof.limit)
    return worst._replace(
        inputs=sum(proof.inputs for proof in proofs),
        random=len(proofs) > 1,
        failure=proofs[-1].failure,
        sizes=proofs[0].sizes,
    )


def _too_large(flat: FlatNet, net: Net) -> str:
    """Return why a comparison would take too long, or too much memory, for the size of the model's files."""
    symbols = sizes_of_symbols(flat, SIZES[0])
    batch = flat.batch or BATCH
    layers = flat.live()
    sizes = {layer: prod((batch, *known_sizes(layer.shape, symbols))) for layer in layers}
    weights = sum(prod(parameter.shape) for parameter in net.parameters.values())
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
    proof = Proof(len(feeds), 0.0, 1.0, random, sizes=sizes)
    observed, weights = [nodes[layer] for layer in layers], named_weights(nodes, net)
    with RunnableNet(net, observed, weights) as ours:
        found = ours.run(feeds)
        if failure := _failure(flat, layers, found, wanted):
            return proof._replace(failure=failure)
        differences = _differences(layers, found, wanted)
        own = dict.fromkeys(layers, 0.0)
        exceeded = any(each.relative > TOLERANCE for each in differences.values())
        others = [ours.run(feeds, optimized=True)] if exceeded else []
    if others:
        with RunnableNet(net, observed, weights, rounded_otherwise) as ours:
            others.append(ours.run([{name: rounded_otherwise(x) for name, x in feed.items()} for feed in feeds]))
    for again in others:
        for layer, each in _differences(layers, again, found).items():
            own[layer] = max(own[layer], each.relative)
    layer, worst = max(differences.items(), key=lambda each: each[1].relative / limit(own[each[0]]))
    return proof._replace(difference=worst.difference, magnitude=worst.magnitude, rounding=own[layer])


class _Difference(NamedTuple):
    """The largest difference of a value, and the largest magnitude of its tensor."""

    difference: float = 0.0
    magnitude: float = 1.0

    @property
    def relative(self) -> float:
        return self.difference / self.magnitude


def _differences(layers: Sequence[FlatLayer], found: Runs, wanted: Runs) -> dict[FlatLayer, _Difference]:
    """Return the largest relative difference of the values of each layer."""
    worst = dict.fromkeys(layers, _Difference())
    for ours, theirs in zip(found, wanted, strict=True):
        for layer, mine, other in zip(layers, ours, theirs, strict=True):
            if mine is None or other is None:
                continue
            magnitude = float(np.abs(other).max(initial=0)) or 1.0
            if layer.kind in SQUASHING:  # small results are rounded like large ones
                magnitude = max(magnitude, 1.0)
            difference = float(np.abs(mine.astype(np.float64) - other).max(initial=0))
            each = _Difference(inf if isnan(difference) else difference, magnitude)
            worst[layer] = max(worst[layer], each, key=lambda each: each.relative)
    return worst


def _failure(flat: FlatNet, layers: Sequence[FlatLayer], found: Runs, wanted: Runs) -> str:
    """Return why the values of a model prove nothing. Raises Differs for values of another shape."""
    telling: set[FlatLayer] = set()
    for at, layer in enumerate(layers):
        shown = [(ours[at], theirs[at]) for ours, theirs in zip(found, wanted, strict=True)]
        pairs = [(mine, other) for mine, other in shown if mine is not None and other is not None]
        assert pairs or layer not in flat.outputs.values(), f"the other program does not compute {layer}"
        alike: dict[tuple[int, ...], list[Array]] = {}
        for mine, other in pairs:
            if mine.shape != other.shape:
                raise Differs(f"{layer} has the shape {list(mine.shape)}, and in the model {list(other.shape)}")
            if not np.isfinite(other).all():
                return f"the values of the model at {layer.place} are not finite"
            alike.setdefault(other.shape[1:], []).append(other)
        if any(map(_tells, alike.values())):
            telling.add(layer)
    for name, output in flat.outputs.items():
        if telling.isdisjoint(_scores(output)):
            return f"the values of the model's output {name} are equal for all inputs"
    return ""


def _computed(
    trial: Trial, layers: Sequence[FlatLayer], count: int
) -> tuple[tuple[int, ...], list[dict[str, Array]], list[Sequence[Array | None]]]:
    """Return the sizes, the inputs, and the values of a model for `count` batches of inputs; for at least two sizes if
    they are known only at run time, unless the model fails for all others. Raises ModelFailed."""
    feeds: list[dict[str, Array]] = []
    wanted: list[Sequence[Array | None]] = []
    sizes: list[int] = []
    tried = SIZES if sizes_of_symbols(trial.net, SIZES[0]) else SIZES[:1]
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
