"""Import a model of another tool: read it, write it as a text, prove that they are equal, and save both."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from netdsl.app.analyse import check_file
from netdsl.app.output import replace
from netdsl.base.size import Size
from netdsl.base.terminal import plural
from netdsl.base.text import Source
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.diagnostics.report import Report
from netdsl.formatting.formatter import format_text
from netdsl.importing.errors import ImportRefused, Unproved
from netdsl.importing.notation import clean
from netdsl.importing.proof import Proof, prove
from netdsl.importing.readers import SourceOptions, read_model
from netdsl.importing.recompile import Differs, ModelFailed, compared, named_weights, recompiled
from netdsl.importing.rewrite import Rewriter
from netdsl.importing.structure import arrange
from netdsl.importing.text import MARK, net_name
from netdsl.weights.safetensors import write_tensors

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.importing.flat import FlatNet, FlatWeight, Trial
    from netdsl.ir.net import Net

SOURCE_KEY = "netdsl.imported"
"""Metadata key of the weights, whose value is the name of the file that they are from."""

WEIGHTS_MARK = f'{{"__metadata__":{{"{SOURCE_KEY}":'.encode()
"""The beginning of the weights of every imported net, behind the size of their header."""


class NotANetFile(
    UserError, code="E0674", title="an output of an import that is no `.net` file", exit_code=USAGE_IS_WRONG
):
    """`netdsl import` writes a text and a file of weights beside it, so the name of its output ends with `.net`.

    ```sh
    netdsl import model.onnx -o model.net
    ```
    """


class ImportOptions(NamedTuple):
    """How to import a model: the output, the name of the net, the number of random inputs of the proof, whether its
    text is flat, whether it keeps names that make it long, and whether an import without a proof, or over other files,
    is accepted; for `weights`, `eps` and `shapes`, see `SourceOptions`."""

    weights: str | None = None
    eps: str | None = None
    shapes: Mapping[str, tuple[int, ...]] | None = None
    output: str | None = None
    net: str | None = None
    check: int = 2
    flat: bool = False
    keep_names: bool = False
    allow_unproved: bool = False
    force: bool = False


class Imported:
    """An imported model: its text, the net that the text compiles to, and its weights by their names there."""

    __slots__ = ("dropped", "file", "flat", "net", "path", "proof", "text", "weights")

    def __init__(
        self, rewriter: Rewriter, text: str, net: Net, weights: Mapping[str, FlatWeight], proof: Proof | None
    ) -> None:
        self.flat = rewriter.net
        self.dropped = rewriter.dropped
        self.file = self.flat.file
        self.text = text
        self.net = net
        self.weights = weights
        self.proof = proof
        self.path: str | None = None

    @property
    def weights_path(self) -> str | None:
        """The file of the weights beside that of the text; None if there is none."""
        if self.path is None or self.path == "-" or not self.weights:
            return None
        return f"{os.path.splitext(self.path)[0]}.safetensors"

    @property
    def blocks(self) -> int:
        """The number of blocks of the text."""
        return sum(line.startswith("block ") for line in self.text.splitlines())

    def arrays(self) -> Mapping[str, Array]:
        """Return the weights by name, each of which is read when it is used."""
        return Arrays(self.weights)

    def data(self) -> dict[str, object]:
        """Return what was written and left out, as `import --json` prints it."""
        proof = self.proof
        return {
            "file": self.path,
            "weights": self.weights_path,
            "net": self.net.name,
            "lines": self.text.count("\n"),
            "blocks": self.blocks,
            "layers": len(self.net.nodes),
            "parameters": sum(prod(each.shape) for each in self.net.parameters.values() if not each.buffer),
            "proved": proof is not None and not proof.failure,
            "inputs": proof.inputs if proof else 0,
            "difference": proof.difference if proof else None,
            "magnitude": proof.magnitude if proof else None,
            "notes": self.flat.notes,
            "left_out": [str(remark) for remark in self.flat.left_out],
            "dropped": self.dropped,
        }

    def lines(self) -> list[str]:
        """Return what is to be told."""
        count = sum(prod(weight.shape) for weight in self.weights.values())
        numbers = f", {plural(count, 'number')}" if count else ""
        there = f" in {self.weights_path}" if self.weights_path else ""
        lines, layers = plural(self.text.count("\n"), "line"), plural(len(self.net.nodes), "layer")
        blocks = f", {plural(self.blocks, 'block')}" if self.blocks else ""
        where = {"-": "the standard output", None: self.net.name}.get(self.path, self.path)
        told = [f"{where}: {lines}{blocks}, {layers}{numbers}{there}"]
        told.append(proof_text(self.proof))
        told += [f"compared in another form: {note}" for note in self.flat.notes]
        told += [f"left out: {remark}" for remark in self.flat.left_out]
        return [*told, *(f"without {name}: {why}" for name, why in self.dropped.items())]


def proof_text(proof: Proof | None) -> str:
    """Return what was proved in a sentence."""
    if proof is None:
        return "not proved: nothing computes the model to compare it with"
    if proof.failure:
        return f"not proved: {proof.failure}"
    also = f", of sizes about {' and '.join(map(str, proof.sizes))}" if proof.sizes else ""
    also += ", also with random weights" if proof.random else ""
    rounding = f"; its own rounding is {proof.rounding:.1g} of it" if proof.rounding else ""
    if not proof.difference:
        return f"equal to the model in every bit for {plural(proof.inputs, 'random input')}{also}"
    return (
        f"differs from the model by at most {proof.difference:.2g} of {proof.magnitude:.3g} "
        f"({proof.relative:.1g}) for {plural(proof.inputs, 'random input')}{also}{rounding}"
    )


def import_model(file: str, options: ImportOptions) -> Imported:
    """Return an imported model, which is written as the options say. Raises UserError."""
    check_output(options.output)
    found = read(file, options)
    found.path = options.output or f"{clean(os.path.splitext(os.path.basename(file))[0]) or 'model'}.net"
    _write(found, options)
    return found


def check_output(path: str | None) -> None:
    """Raise NotANetFile for an output with another suffix."""
    if path is not None and path != "-" and not path.endswith(".net"):
        raise NotANetFile(f"the output {path} is no `.net` file", f"name it {path}.net")


def read(file: str, options: ImportOptions) -> Imported:
    """Return an imported model without writing it. Raises UserError."""
    flat = read_flat(file, options)
    flat.name = options.net or stem_of(options.output) or flat.name
    rewriter = Rewriter(flat, options.keep_names)
    name = f"{net_name(flat.name)}.net"
    try:
        if not options.flat:
            rewriter.run()
        net = recompiled(rewriter.text(), name)
        weights = named_weights(compared(flat, net), net)
        proof = prove(flat, net, options.check) if flat.reference is not None else None
    except ModelFailed as error:
        raise Unproved(f"{file} was not imported: {error}") from None
    except Differs as error:
        raise not_the_model(file, error) from None
    judge(file, proof, options)
    text = silenced(rewriter.text(comments([flat], [proof])), name)
    return Imported(rewriter, text, net, weights, proof)


def stem_of(output: str | None) -> str | None:
    """Return the name of a net that is written to a file; None if it is not."""
    return None if output in (None, "-") else os.path.splitext(os.path.basename(output))[0]


def read_flat(file: str, options: ImportOptions) -> FlatNet:
    """Return a model as an arranged flat list. Raises UserError."""
    flat = read_model(file, SourceOptions(options.weights, options.eps, options.shapes or {}))
    if len(flat.refused):
        count = sum(remark.times for remark in flat.refused)
        raise ImportRefused(
            f"{file} cannot be imported: netdsl has no layers for {plural(count, 'part')} of it",
            _remedy(flat),
            details=[f"  {remark}" for remark in flat.refused],
        )
    _arrange(flat)
    return flat


def not_the_model(file: str, error: Differs) -> Unproved:
    """Return the error for a text that is not the model."""
    return Unproved(f"{file} was not imported: its text is not the model: {error}")


def _remedy(flat: FlatNet) -> str:
    """Return what may help with a model that is refused."""
    unknown = [name for name, layer in flat.inputs.items() if any(isinstance(size, Size) for size in layer.shape)]
    if unknown and any("known only at run time" in remark.why for remark in flat.refused):
        sizes = "x".join("64" if isinstance(size, Size) else str(size) for size in flat.inputs[unknown[0]].shape)
        return f"`--input {unknown[0]}={sizes}` fixes the sizes of an input"
    return "`netdsl layers` lists the layers that a net can have"


def silenced(text: str, name: str) -> str:
    """Return a formatted text with a comment on each line that `check` would warn about: the model is as it is."""
    report = Report()
    text = _formatted(text, name)
    check_file(Source(name, text), report)
    lines = text.splitlines()
    codes: dict[int, dict[str, None]] = {}
    for problem in report:
        assert problem.severity == "warning", problem.message()
        line, _ = problem.span.source.position(problem.span.start)
        codes.setdefault(line - 1, {})[problem.code] = None
    for at, found in codes.items():
        lines[at] += f"  # allow {' '.join(sorted(found))}: as in the model"
    return _formatted("\n".join(lines), name)


def _formatted(text: str, name: str) -> str:
    found = format_text(text, name, Report())
    assert found is not None, text
    return found


def _arrange(flat: FlatNet) -> None:
    """Arrange a net, and those that it is compared with."""
    arrange(flat)
    if (reference := flat.reference) is not None:

        def arranged(seed: int | None) -> Trial:
            trial = reference(seed)
            arrange(trial.net)
            return trial

        flat.reference = arranged


def judge(file: str, proof: Proof | None, options: ImportOptions) -> None:
    """Raise Unproved unless a proof holds, or none is required."""
    if options.allow_unproved or (proof is not None and proof.holds):
        return
    hint = "--allow-unproved accepts it, and says so in the text"
    raise Unproved(f"{file} was not imported ({proof_text(proof)})", hint)


def comments(nets: Sequence[FlatNet], proofs: Sequence[Proof | None]) -> list[str]:
    """Return the comment above a text of one or several nets."""
    unproved = not all(proof is not None and proof.holds for proof in proofs)
    mark = MARK.decode().removeprefix("# ").rstrip()
    files = joined([os.path.basename(flat.file) for flat in nets])
    producers = joined([*dict.fromkeys(flat.producer for flat in nets if flat.producer)])
    about = f", written by {producers}" if producers else ""
    first = f"{mark}{', unproved,' if unproved else ''} from {files}{about}."
    return ["".join(c if c.isprintable() else "?" for c in first)]


def joined(words: Sequence[str]) -> str:
    """Return words with commas, and `and` before the last one."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _write(found: Imported, options: ImportOptions) -> None:
    """Write the text and the weights, both or none. Raises UserError."""
    path, weights = found.path, found.weights_path
    assert path is not None
    files = {} if weights is None else {weights: (found.flat, found.arrays())}
    write_files(path, found.text, files, options, (found.file, options.weights))


def write_files(
    path: str,
    text: str,
    weights: Mapping[str, tuple[FlatNet, Mapping[str, Array]]],
    options: ImportOptions,
    reads: Sequence[str | None],
) -> None:
    """Write a text, or print it, and the weights of nets by their paths: all files or none. Raises UserError."""
    if path == "-":
        sys.stdout.write(text)
        return
    with ExitStack() as stack:
        file = stack.enter_context(replace(path, made=MARK, force=options.force, reads=reads))
        file.write(text.encode())
        file.flush()  # a full disk is found before the weights are replaced
        for name, (flat, arrays) in weights.items():
            beside = stack.enter_context(replace(name, made=WEIGHTS_MARK, force=options.force, reads=reads))
            write_tensors(beside, arrays, {SOURCE_KEY: os.path.basename(flat.file), **flat.metadata})


class Arrays(Mapping[str, "Array"]):
    """Weights as arrays, each of which is read when it is used."""

    def __init__(self, weights: Mapping[str, FlatWeight]) -> None:
        self._weights = weights

    def __getitem__(self, name: str) -> Array:
        return self._weights[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)
