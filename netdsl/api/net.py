"""A net, as a program has it: what is in it, its model, and a session that runs it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from operator import index
from typing import TYPE_CHECKING

from netdsl.api.parts import Layer, Value
from netdsl.compile import OPSET

if TYPE_CHECKING:
    from collections.abc import Collection

    import onnx
    from numpy.typing import ArrayLike

    from netdsl.api.session import Session
    from netdsl.api.summary import Summary
    from netdsl.ir import net as ir
    from netdsl.ir.net import Parameter
    from netdsl.weights.file import WeightFile

    Weights = str | os.PathLike[str] | Mapping[str, ArrayLike]

SEEDS = 2**63 - 1
LARGEST = 2**31 - 1


class Net:
    """A checked net. `netdsl.load` and `netdsl.parse` make it.

    ```python
    >>> net = netdsl.load("lenet5")
    >>> net.inputs["image"].shape
    (1, 28, 28)
    >>> net.parameters["conv1.weight"].shape
    (6, 1, 5, 5)
    >>> [layer.name for layer in net.layers if layer.kind == "dense"]
    ['dense1', 'dense2', 'dense3']

    ```
    """

    __slots__ = ("_net",)

    def __init__(self, net: ir.Net) -> None:
        self._net = net

    @property
    def name(self) -> str:
        return self._net.name

    @property
    def doc(self) -> str:
        """The comment above the net."""
        return self._net.doc

    @property
    def about(self) -> dict[str, object]:
        """What the net says of itself: its paper, the year, …"""
        return dict(self._net.about)

    @property
    def settings(self) -> dict[str, object]:
        """The values of the net's own parameters (`depth`), in the words of the language."""
        return dict(self._net.settings)

    @property
    def inputs(self) -> dict[str, Value]:
        return {
            node.name: Value(node.name, node, getattr(node.layer, "dtype", node.dtype)) for node in self._net.inputs
        }

    @property
    def outputs(self) -> dict[str, Value]:
        """By name, but for those of training heads, which no model has."""
        return {
            name: Value(name, output.node, output.node.dtype)
            for name, output in self._net.outputs.items()
            if not output.training
        }

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer, blocks and loops expanded, in the order of the source: a layer stands behind its inputs."""
        return tuple([Layer(node) for node in self._net.nodes])

    @property
    def parameters(self) -> dict[str, Parameter]:
        """All weights and running statistics (`buffer`) by name, with `shape` and `trainable`; shared ones once."""
        return dict(self._net.parameters)

    def summary(self, *, batch: int = 1) -> Summary:
        """The figures of each layer and of the net, which print as `netdsl summary` prints them; bytes are those for a
        batch."""
        from netdsl.api.summary import Summary

        return Summary(self._net, _between("batch", batch, 1, LARGEST))

    def to_onnx(
        self, *, weights: Weights | None = None, seed: int = 0, batch: int | None = None, opset: int = OPSET
    ) -> onnx.ModelProto:
        """The model, with the weights of a file or of a mapping from names to arrays, or with drawn ones.

        `batch` fixes the batch, which else is free; `opset` is one of 17 to 26, 21 by default. Raises UserError where
        the weights do not fit, and ValueError for other numbers than these.
        """
        import onnx

        model = onnx.ModelProto()
        model.ParseFromString(self._bytes(weights, seed, batch, opset))
        return model

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        weights: Weights | None = None,
        seed: int = 0,
        batch: int | None = None,
        opset: int = OPSET,
        external_data: bool = False,
        metadata: Mapping[str, str] | None = None,
        force: bool = False,
    ) -> None:
        """Write the model, as `netdsl compile` does: whole or not at all, weight by weight, and never over a file that
        netdsl did not make, unless it is told to by `force`.

        With `external_data`, and over 2 GB, the weights go into PATH.data beside it. `metadata` is what the model shall
        say of itself. Arguments and errors are else those of `to_onnx`; UserError too where nothing can be written.
        """
        from netdsl.cli.output import WouldOverwrite, replace_model
        from netdsl.compile import compile_net, weights_size

        seed, batch, opset = _checked(seed, batch, opset)
        target = os.fsdecode(path)
        if target == "-":  # which the commands take for the standard output
            target = os.path.join(".", target)
        read = os.fsdecode(weights) if isinstance(weights, str | os.PathLike) else None
        reads = (self._net.source.name, read)
        size = weights_size(self._net)
        try:
            with replace_model(target, size, apart=external_data, force=force, reads=reads) as (file, data):
                compile_net(
                    self._net,
                    file,
                    seed=seed,
                    weights=_opened(weights),
                    batch=batch,
                    opset=opset,
                    metadata=metadata,
                    data=data,
                )
        except WouldOverwrite as error:
            raise WouldOverwrite(error.message, "name another file, or overwrite it with force=True") from None

    def session(
        self,
        *,
        provider: str = "cpu",
        weights: Weights | None = None,
        seed: int = 0,
        batch: int | None = None,
        threads: int | None = None,
        allow_fallback: bool = False,
    ) -> Session:
        """The net ready to run, on a provider of onnxruntime: `cpu`, `cuda`, with options `cuda:device_id=1`.

        Without weights it computes with drawn ones. `threads` are those of the CPU, all by default. Raises UserError
        where the weights do not fit, where the provider is not there, and where it leaves something to the CPU, unless
        `allow_fallback` permits that.
        """
        from netdsl.api.session import Session
        from netdsl.session import FellBack
        from netdsl.session import Session as Runtime

        model = self._bytes(weights, seed, batch, OPSET)
        if threads is not None:
            threads = _between("threads", threads, 1, LARGEST)
        try:
            runtime = Runtime(model, provider=provider, threads=threads, name=self.name, allow_fallback=allow_fallback)
        except FellBack as error:
            raise FellBack(error.message, "allow_fallback=True permits it") from None
        return Session(runtime, self.inputs, self.outputs)

    def _bytes(self, weights: Weights | None, seed: int, batch: int | None, opset: int) -> bytes:
        from netdsl.compile import compile_to_bytes

        seed, batch, opset = _checked(seed, batch, opset)
        return compile_to_bytes(self._net, seed=seed, weights=_opened(weights), batch=batch, opset=opset)

    def __repr__(self) -> str:
        return f"<net {self.name}: {len(self._net.nodes)} layers>"

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        from netdsl.api.notebook import bundle, table

        heads = ("layer", "kind", "output", "parameters", "place")
        html = table(repr(self)[1:-1], heads, [layer.cells for layer in self.layers])
        return bundle(repr(self), html, include, exclude)


def _opened(weights: Weights | None) -> WeightFile | None:
    if weights is None:
        return None
    if isinstance(weights, Mapping):
        from netdsl.weights.mapping import MappedWeights

        return MappedWeights(weights)
    from netdsl.weights.file import open_weights

    return open_weights(os.fsdecode(weights))


def _checked(seed: int, batch: int | None, opset: int) -> tuple[int, int | None, int]:
    """The numbers, if the compiler takes them. Raises TypeError or ValueError."""
    from netdsl.emit import OPSETS

    return (
        _between("seed", seed, 0, SEEDS),
        None if batch is None else _between("batch", batch, 1, LARGEST),
        _between("opset", opset, OPSETS[0], OPSETS[-1]),
    )


def _between(name: str, number: int, low: int, high: int) -> int:
    wrong = f"{name} is a whole number from {low} to {high}, not {number!r}"
    try:
        whole = index(number)
    except TypeError:
        raise TypeError(wrong) from None
    if not low <= whole <= high:
        raise ValueError(wrong)
    return whole
