"""A flat list as a text, with labels and `from` only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.importing.notation import Labels, clean, fold, head, written
from netdsl.layers.table import LAYER_MODULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from netdsl.importing.flat import FlatLayer, FlatNet

FOLLOWING = frozenset(["activation", "affine", "elementary", "norm", "shrinkage"])
"""Modules of layers that stand behind another on its line."""

MARK = b"# Imported by netdsl "
"""The beginning of every text that was imported."""


def output_names(net: FlatNet) -> dict[str, str]:
    """Return the names of outputs in the text; the only one has the default name."""
    if len(net.outputs) == 1:
        return dict.fromkeys(net.outputs, "output")
    labels = Labels()
    return {name: labels.take(name, "y") for name in net.outputs}


def flat_text(net: FlatNet, comments: Iterable[str] = ()) -> str:
    """Return a net as the text of a file. `comments` stand above it."""
    return whole_text(net, fold(_Writer(net).statements()), comments)


def whole_text(net: FlatNet, body: list[str], comments: Iterable[str] = (), above: Iterable[str] = ()) -> str:
    """Return the text of a file with the lines of a net's body, and the facts and the training that the list has.
    Comments and other lines stand above it."""
    name = net_name(net.name)
    lines = [*(f"# {comment}" for comment in comments), *above, f"net {name} {{", *about_line(net.about), *body, "}"]
    return "\n".join([*lines, *training_comment(net.training, name)]) + "\n"


def about_line(about: Mapping[str, object]) -> list[str]:
    """Return the facts of a net as a line, if there are any."""
    facts = "; ".join(f"{key} {_fact(value)}" for key, value in about.items())
    return [f"  about {{ {facts} }}"] if facts else []


def training_comment(training: Sequence[str], name: str) -> list[str]:
    """Return the lines of a `train` block without its data as a comment, if there are any."""
    if not training:
        return []
    lines = ["", "# How the model was trained; a `train` block also needs its `data`.", f"# train {name} {{"]
    return [*lines, *(f"#   {line}" for line in training), "# }"]


def net_name(name: str) -> str:
    """Return a word for the name of a net."""
    return Labels().take(clean(name), "net")


def _fact(value: object) -> str:
    return written(value.replace('"', "'") if isinstance(value, str) else value)


class _Writer:
    """The statements of a net, in the order of its layers."""

    def __init__(self, net: FlatNet) -> None:
        self.net = net
        self.layers = net.live()
        self.readers: dict[FlatLayer, list[FlatLayer]] = {layer: [] for layer in self.layers}
        for layer in self.layers:
            for value in layer.inputs:
                self.readers[value].append(layer)
        self.outputs = set(net.outputs.values())
        self.owners = {layer.shares for layer in self.layers if layer.shares is not None}
        self.inline = self._inline()
        self.labels = Labels({name for layer in self.layers for name in layer.layer.arguments})
        self.referred: set[FlatLayer] = set()

    def statements(self) -> list[tuple[str, bool]]:
        """Return the statements, each with whether it begins a line. A first pass finds the labels that are needed."""
        for layer in self.layers:
            if layer.kind == "input":
                self.labels.of(layer)
        self._written()
        return self._written()

    def _written(self) -> list[tuple[str, bool]]:
        found: list[tuple[str, bool]] = []
        current: FlatLayer | None = None
        names = output_names(self.net)
        by_layer: dict[FlatLayer, list[str]] = {}
        for name, layer in self.net.outputs.items():
            by_layer.setdefault(layer, []).append(names[name])
        for layer in self.layers:
            if layer in self.inline:
                continue
            found += self._statement(layer, current)
            current = layer
            if len(names) > 1:
                found += [(f"output {name}", False) for name in by_layer.get(layer, ())]
        if len(names) == 1 and current not in self.outputs:
            found.append((f"from {self._label(next(iter(self.outputs)))}", True))
        return found

    def _statement(self, layer: FlatLayer, current: FlatLayer | None) -> list[tuple[str, bool]]:
        """Return a layer's statement, behind a `from` if it needs one."""
        if layer.kind == "input":
            return [(head(layer.layer, {}).replace("input", f"input {self.labels.of(layer)}", 1), True)]
        operands, values = layer.layer.split(layer.inputs)
        before, written_operands = self._operands(layer, operands, current)
        labels = {name: self._label(value) for name, value in values.items()}
        if layer.shares is not None and getattr(layer.layer, "tied", None) is not None:
            labels["tied"] = self._label(layer.shares)
        text = f"reuse {self._label(layer.shares)}" if self._is_reuse(layer) else head(layer.layer, labels)
        text = " ".join([text, *written_operands])
        named = layer in self.referred or (layer.kind == "param" and bool(layer.path))
        if named:
            text = f"{self.labels.of(layer)}: {text}"
        first = current is None or current.kind == "input"
        begins = first or named or bool(written_operands) or LAYER_MODULES[layer.kind] not in FOLLOWING
        return [(text, begins)] if before is None else [(f"from {self._label(before)}", True), (text, False)]

    def _is_reuse(self, layer: FlatLayer) -> bool:
        return layer.shares is not None and getattr(layer.layer, "tied", None) is None

    def _operands(
        self, layer: FlatLayer, operands: Sequence[FlatLayer], current: FlatLayer | None
    ) -> tuple[FlatLayer | None, list[str]]:
        """Return the value that must become the current one first, if any, and the texts of the operands."""
        made = layer.layer
        if not operands:
            return None, []
        takes = type(made).operands
        alone = not takes or (0 in takes and len(operands) == 1)
        if alone or (made.flow_first and len(operands) not in takes):
            first, *rest = operands
            return (None if first is current else first), [self._operand(each, first) for each in rest]
        if made.flow_first and operands[0] is current and len(operands) == 2:
            return None, [self._operand(operands[1], current)]
        return None, [self._operand(each, current) for each in operands]

    def _operand(self, value: FlatLayer, current: FlatLayer | None) -> str:
        if value in self.inline:
            chain = [value]
            while chain[-1].inputs:
                chain.append(chain[-1].inputs[0])
            steps = [self._statement(each, each.inputs[0] if each.inputs else None)[0][0] for each in chain[::-1]]
            return f"{{ {'; '.join(steps)} }}"
        return "{ }" if value is current else self._label(value)

    def _label(self, layer: FlatLayer | None) -> str:
        assert layer is not None
        self.referred.add(layer)
        return self.labels.of(layer)

    def _inline(self) -> set[FlatLayer]:
        """Return the layers that are written in the branch of their only reader: constants, and what follows them."""
        fit: set[FlatLayer] = set()
        for layer in self.layers:
            alone = len(self.readers[layer]) == 1 and layer not in self.outputs and layer not in self.owners
            plain = not layer.layer.operands and not layer.layer.values and layer.shares is None
            from_nothing = not layer.inputs and layer.kind != "input"
            if alone and plain and (from_nothing or (len(layer.inputs) == 1 and layer.inputs[0] in fit)):
                fit.add(layer)
        for layer in reversed(self.layers):
            if layer in fit and not self._takes_branch(layer, self.readers[layer][0], fit):
                fit.remove(layer)
        return fit

    def _takes_branch(self, layer: FlatLayer, reader: FlatLayer, inline: set[FlatLayer]) -> bool:
        """Return whether a reader takes a value as a branch, or is itself in one."""
        operands, values = reader.layer.split(reader.inputs)
        if reader.kind == "state" or layer in values.values():
            return False
        if reader.layer.operands and len(operands) > 1:
            return len(operands) in reader.layer.operands or layer is not operands[0]
        return reader in inline
