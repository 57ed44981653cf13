"""A net in Python: its parts, its model, and sessions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from netdsl.api.options import LARGEST, between, fitted, options
from netdsl.api.parts import Layer, Value
from netdsl.backend.compile import OPSET
from netdsl.ir.names import Names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import onnx

    from netdsl.api.options import Matching, Precision, Weights
    from netdsl.api.session import Session
    from netdsl.api.summary import Summary
    from netdsl.ir import net as ir
    from netdsl.ir.net import Parameter


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

    __slots__ = ("_names", "_net")

    def __init__(self, net: ir.Net, names: Names | None = None) -> None:
        self._net = net
        self._names = names or Names()

    @property
    def name(self) -> str:
        return self._net.name

    @property
    def doc(self) -> str:
        """The comment above the net."""
        return self._net.doc

    @property
    def about(self) -> dict[str, object]:
        """The net's `about`: its paper, the year, …"""
        return dict(self._net.about)

    @property
    def settings(self) -> dict[str, object]:
        """The values of the net's own parameters (`depth`), written as in the language."""
        return dict(self._net.settings)

    @property
    def inputs(self) -> dict[str, Value]:
        return {
            node.name: Value(node.name, node, getattr(node.layer, "dtype", node.dtype)) for node in self._net.inputs
        }

    @property
    def outputs(self) -> dict[str, Value]:
        """The outputs by name, without those of training heads, which no model has."""
        return {
            name: Value(name, output.node, output.node.dtype)
            for name, output in self._net.outputs.items()
            if not output.training
        }

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers, with blocks and loops expanded, in source order: the inputs of a layer precede it."""
        return tuple([Layer(node) for node in self._net.nodes])

    @property
    def parameters(self) -> dict[str, Parameter]:
        """All weights and running statistics (`buffer`) by name, with `shape` and `trainable`; shared ones once."""
        return dict(self._net.parameters)

    @property
    def class_names(self) -> dict[str, tuple[str, ...]]:
        """By output, the names of the classes that `netdsl.fit` has trained the net on, in their order; empty without
        names. Models that are made of the net carry them, or those of their weights' file."""
        return dict(self._names.classes)

    def summary(self, *, batch: int = 1) -> Summary:
        """The figures of each layer and of the net, which print as `netdsl summary` prints them; bytes are those for a
        batch."""
        from netdsl.api.summary import Summary

        return Summary(self._net, between("batch", batch, 1, LARGEST))

    def to_onnx(
        self,
        *,
        weights: Weights | None = None,
        rename: Mapping[str, str] | None = None,
        match: Matching = "name",
        exclude: Iterable[str] = (),
        partial: bool = False,
        allow_nonfinite: bool = False,
        seed: int = 0,
        batch: int | None = None,
        opset: int = OPSET,
        dtype: Precision = "f32",
        io: Precision = "f32",
        metadata: Mapping[str, str] | None = None,
        functions: bool = False,
    ) -> onnx.ModelProto:
        """The model, with the weights of a file or of a mapping from names to arrays, or with drawn ones.

        `rename`, from patterns to what stands in their places, changes the weights' names as `--rename` does; with the
        `match` "order" they are paired with the net's by their order and shapes. The weights that the labels of
        `exclude` name (`["fc", "layer4.*"]`) are drawn from the seed, with `partial` those too that the file lacks, and
        a UserWarning says which. NaN, infinities and negative variances are taken with `allow_nonfinite` alone.
        `batch` fixes the batch, which else is free; `opset` is one of 17 to 26, 21 by default. With the `dtype` f16 it
        computes in half precision, and with `io` its inputs and outputs are halves too. `metadata` is what it shall say
        of itself. With `functions` blocks are functions of the model. Raises UserError where the weights do not fit,
        and ValueError for other numbers than these.
        """
        import onnx

        from netdsl.backend.compile import compile_to_bytes

        how: dict[str, Any] = {"exclude": exclude, "partial": partial, "allow_nonfinite": allow_nonfinite}
        given = fitted(self._net, weights, rename, match, seed=seed, **how)
        chosen = options(given, seed, batch, opset, dtype, io)
        model = onnx.ModelProto()
        model.ParseFromString(
            compile_to_bytes(self._net, metadata=metadata, functions=functions, names=self._names, **chosen)
        )
        return model

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        weights: Weights | None = None,
        rename: Mapping[str, str] | None = None,
        match: Matching = "name",
        exclude: Iterable[str] = (),
        partial: bool = False,
        allow_nonfinite: bool = False,
        seed: int = 0,
        batch: int | None = None,
        opset: int = OPSET,
        dtype: Precision = "f32",
        io: Precision = "f32",
        external_data: bool = False,
        metadata: Mapping[str, str] | None = None,
        functions: bool = False,
        force: bool = False,
    ) -> None:
        """Write the model, as `netdsl compile` does: whole or not at all, weight by weight, and never over a file that
        netdsl did not make, unless `force` is set.

        With `external_data`, and over 2 GB, the weights go into PATH.data beside it. Other arguments and errors are
        those of `to_onnx`; UserError too where nothing can be written.
        """
        from netdsl.app.output import WouldOverwrite, replace_model
        from netdsl.backend.compile import compile_net, weights_size

        how: dict[str, Any] = {"exclude": exclude, "partial": partial, "allow_nonfinite": allow_nonfinite}
        given = fitted(self._net, weights, rename, match, seed=seed, **how)
        chosen = options(given, seed, batch, opset, dtype, io)
        target = os.fsdecode(path)
        if target == "-":  # which the commands take for the standard output
            target = os.path.join(".", target)
        read = os.fsdecode(weights) if isinstance(weights, str | os.PathLike) else None
        reads = (self._net.source.name, read)
        size = weights_size(self._net, dtype)
        try:
            with replace_model(target, size, apart=external_data, force=force, reads=reads) as (file, data):
                compile_net(
                    self._net, file, metadata=metadata, data=data, functions=functions, names=self._names, **chosen
                )
        except WouldOverwrite as error:
            raise WouldOverwrite(error.message, "name another file, or overwrite it with force=True") from None

    def session(
        self,
        *,
        provider: str = "cpu",
        weights: Weights | None = None,
        rename: Mapping[str, str] | None = None,
        match: Matching = "name",
        exclude: Iterable[str] = (),
        partial: bool = False,
        allow_nonfinite: bool = False,
        seed: int = 0,
        batch: int | None = None,
        dtype: Precision = "f32",
        threads: int | None = None,
        allow_fallback: bool = False,
    ) -> Session:
        """The net ready to run, on a provider of onnxruntime: `cpu`, `cuda`, with options `cuda:device_id=1`.

        Without weights it computes with drawn ones. `threads` are those of the CPU, all by default. Raises UserError
        where the weights do not fit, where the provider is not there, and where it leaves something to the CPU, unless
        `allow_fallback` permits that.
        """
        from netdsl.api.session import Session
        from netdsl.backend.compile import compile_to_bytes
        from netdsl.backend.session import FellBack
        from netdsl.backend.session import Session as Runtime

        if threads is not None:
            threads = between("threads", threads, 1, LARGEST)
        how: dict[str, Any] = {"exclude": exclude, "partial": partial, "allow_nonfinite": allow_nonfinite}
        given = fitted(self._net, weights, rename, match, seed=seed, **how)
        chosen = options(given, seed, batch, OPSET, dtype)
        model = compile_to_bytes(self._net, names=self._names, **chosen)
        try:
            runtime = Runtime(model, provider=provider, threads=threads, name=self.name, allow_fallback=allow_fallback)
        except FellBack as error:
            raise FellBack(error.message, "allow_fallback=True permits it") from None
        return Session(runtime, self.inputs, self.outputs)

    def __repr__(self) -> str:
        return f"<net {self.name}: {len(self._net.nodes)} layers>"

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        from netdsl.api.notebook import bundle, table

        heads = ("layer", "kind", "output", "parameters", "place")
        html = table(repr(self)[1:-1], heads, [layer.cells for layer in self.layers])
        return bundle(repr(self), html, include, exclude)
