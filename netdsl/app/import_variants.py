"""Import several models that differ by numbers alone: one text with a parameter, and a file of weights for each."""

from __future__ import annotations

import os
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from netdsl.app.import_model import (
    Arrays,
    check_output,
    comments,
    joined,
    judge,
    not_the_model,
    proof_text,
    read_flat,
    silenced,
    stem_of,
    write_files,
)
from netdsl.base.terminal import plural
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.importing.merge import Mismatch
from netdsl.importing.proof import prove
from netdsl.importing.readers import WITH_WEIGHTS
from netdsl.importing.recompile import Differs, compared, named_weights, recompiled
from netdsl.importing.variant_names import variant_names
from netdsl.importing.variants import Variants

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.app.import_model import ImportOptions
    from netdsl.importing.flat import FlatNet, FlatWeight
    from netdsl.importing.proof import Proof
    from netdsl.ir.net import Net

MAX_SHOWN = 90
"""Maximum number of characters of a statement in a message."""


class NotVariants(UserError, code="E0675", title="models that differ by more than numbers"):
    """Several models become one net if they differ by numbers alone: how often a block is repeated, channels, kernels,
    strides, the size of the input. These have other layers, or other connections. The message says where the first
    difference is, and what each model has there. Nothing is written; each model can be imported by itself.

    ```sh
    netdsl import resnet34.onnx
    netdsl import resnet50.onnx
    ```
    """


class NotForSeveral(
    UserError, code="E0677", title="options that do not fit the models of an import", exit_code=USAGE_IS_WRONG
):
    """`--flat` writes a line for each layer, and so it is for a single model. `--weights` is given once for each model
    that has its weights in another file, in the order of the models, or not at all.

    ```sh
    netdsl import a.prototxt b.prototxt --weights a.caffemodel --weights b.caffemodel
    ```
    """


class Variant(NamedTuple):
    """One of several models: its net, its weights by their names there, and the names of its inputs in the model, empty
    for those that are called like the first model's."""

    flat: FlatNet
    net: Net
    weights: Mapping[str, FlatWeight]
    proof: Proof | None
    inputs: list[str]


class ImportedVariants:
    """Models that were imported as one text: `name` is that of the net, `variants` are by those of their aliases."""

    __slots__ = ("name", "named", "path", "text", "variants")

    def __init__(self, name: str, text: str, variants: Mapping[str, Variant], named: bool) -> None:
        """`named` says that weights have the names of the models, if these have any."""
        self.name = name
        self.text = text
        self.variants = variants
        self.named = named
        self.path: str | None = None

    def weights_path(self, name: str) -> str | None:
        """Return the file of the weights of a model, beside that of the text; None if there is none."""
        if self.path is None or self.path == "-" or not self.variants[name].weights:
            return None
        return os.path.join(os.path.dirname(self.path), f"{name}.safetensors")

    @property
    def blocks(self) -> int:
        """The number of blocks of the text."""
        return sum(line.startswith("block ") for line in self.text.splitlines())

    def data(self) -> dict[str, object]:
        """Return what was written and left out, as `import --json` prints it."""
        return {
            "file": self.path,
            "lines": self.text.count("\n"),
            "blocks": self.blocks,
            "nets": [self._data(name, variant) for name, variant in self.variants.items()],
        }

    def _data(self, name: str, variant: Variant) -> dict[str, object]:
        proof, parameters = variant.proof, variant.net.parameters.values()
        return {
            "net": name,
            "model": variant.flat.file,
            "weights": self.weights_path(name),
            "layers": len(variant.net.nodes),
            "parameters": sum(prod(each.shape) for each in parameters if not each.buffer),
            "proved": proof is not None and not proof.failure,
            "inputs": proof.inputs if proof else 0,
            "difference": proof.difference if proof else None,
            "magnitude": proof.magnitude if proof else None,
            "left_out": [str(remark) for remark in variant.flat.left_out],
        }

    def lines(self) -> list[str]:
        """Return what is to be told."""
        where = {"-": "the standard output", None: "the text"}.get(self.path, self.path)
        blocks = f", {plural(self.blocks, 'block')}" if self.blocks else ""
        told = [f"{where}: {plural(self.text.count(chr(10)), 'line')}{blocks}, {len(self.variants)} nets"]
        for name, variant in self.variants.items():
            count = sum(prod(weight.shape) for weight in variant.weights.values())
            there = f" in {path}" if (path := self.weights_path(name)) else ""
            numbers = f", {plural(count, 'number')}{there}" if count else ""
            told.append(f"{name}: {plural(len(variant.net.nodes), 'layer')}{numbers}; {proof_text(variant.proof)}")
            for own, node in zip(variant.inputs, variant.net.inputs, strict=True):
                told += [f"{name}: the input {own} is called {node.name}"] if own and own != node.name else []
            told += [f"{name}: left out: {remark}" for remark in variant.flat.left_out]
        if not self.named and any(variant.weights for variant in self.variants.values()):
            told.append("weights have the names of the text: those of the models differ by more than numbers")
        return told


def import_variants(files: Sequence[str], weights: Sequence[str], options: ImportOptions) -> ImportedVariants:
    """Return several models as one text, which is written as the options say. Raises UserError."""
    check_output(options.output)
    found = read_variants(files, weights, options)
    path = found.path = options.output or f"{found.name}.net"
    arrays = {
        beside: (variant.flat, Arrays(variant.weights))
        for name, variant in found.variants.items()
        if (beside := found.weights_path(name)) is not None
    }
    write_files(path, found.text, arrays, options, [*files, *weights])
    return found


def read_variants(files: Sequence[str], weights: Sequence[str], options: ImportOptions) -> ImportedVariants:
    """Return several models as one text without writing it. Raises UserError."""
    if options.flat:
        raise NotForSeveral("--flat is for a single model", "import the models one by one")
    names = variant_names(files, options.net or stem_of(options.output))
    given = weights_of(files, weights)
    nets = [read_flat(file, options._replace(weights=own)) for file, own in zip(files, given, strict=True)]
    renamed = [_same_inputs(nets[0], net) for net in nets]
    try:
        merged = Variants(nets, names)
        text = merged.draft.text()
    except Mismatch as error:
        raise _not_variants(files, error) from None
    except Differs as error:
        message = f"{joined(files)} cannot be written as one net: {error}"
        raise NotVariants(message, "import them one by one") from None
    variants = {}
    for file, flat, alias, inputs in zip(files, nets, names.aliases, renamed, strict=True):
        try:
            net = recompiled(text, f"{alias}.net")
            own = named_weights(compared(flat, net), net)
            proof = prove(flat, net, options.check) if flat.reference is not None else None
        except Differs as error:
            raise not_the_model(file, error) from None
        judge(file, proof, options)
        variants[alias] = Variant(flat, net, own, proof, inputs)
    above = comments(nets, [variant.proof for variant in variants.values()])
    text = silenced(merged.draft.text(above), f"{names.net}.net")
    return ImportedVariants(names.net, text, variants, not merged.renamed)


def weights_of(files: Sequence[str], weights: Sequence[str]) -> list[str | None]:
    """Return the file of the weights of each model, None for those that contain them. Raises NotForSeveral."""
    without = [file for file in files if len(files) == 1 or not file.lower().endswith(WITH_WEIGHTS)]
    if weights and len(weights) != len(without):
        raise NotForSeveral(
            f"--weights is given {plural(len(weights), 'time')} for {plural(len(without), 'model')} without weights",
            "give it once for each model, in their order",
        )
    given = iter(weights)
    return [next(given, None) if file in without else None for file in files]


def _same_inputs(first: FlatNet, net: FlatNet) -> list[str]:
    """Name the inputs of a net as those of the first one. Return the other names that they had."""
    others = [layer.path for layer in first.inputs.values()]
    known = [*net.inputs.values()]
    names = ["" if layer.path in others[at : at + 1] else layer.path for at, layer in enumerate(known)]
    for layer, name in zip(known, others, strict=False):
        layer.path = name
    return names


def _not_variants(files: Sequence[str], error: Mismatch) -> NotVariants:
    """Return the error for models of unequal form, which shows the first difference."""
    where = f" in {error.where}" if error.where else ""
    after = f" behind `{_short(error.before)}`" if error.before else ""
    names = joined([os.path.basename(file) for file in files])
    return NotVariants(
        f"{names} differ by more than numbers{where}{after}",
        "import them one by one",
        details=[f"  {file}: {_short(text) or 'nothing more'}" for file, text in zip(files, error.texts, strict=True)],
    )


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
