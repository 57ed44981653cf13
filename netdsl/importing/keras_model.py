"""The layers of a `.keras` model as calls in order, with those of nested models among them. No layer is built.

Source: keras/src/models/functional.py and sequential.py, version 3.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from netdsl.importing.errors import BadImport
from netdsl.weights.keras_graph import FIRST, MAX_MODEL_DEPTH, snake_case

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Config = dict[str, Any]
    Ref = tuple[str, int, int]
    """A value: the name of a layer, the number of its call, and which of its results."""

MAX_CONFIG_BYTES = 2**26
MAX_CALLS = 20_000
MODELS = ("functional", "sequential", "model")

OLD_HARD_SIGMOID = "hard_sigmoid_2"
"""The activation that Keras 2 called hard_sigmoid: 0.2 x + 0.5 from 0 to 1."""


class KerasCall:
    """A layer applied to values, which are the numbers of the calls that make them.

    `name` is its path through nested models, `kind` its class in snake case, and `about` its arguments. `named` are
    the values of keyword arguments. `number` counts the calls of the same layer from 0. `constant` is a number among
    the operands of an operation such as `x + 1`, and `constant_first` whether it is the first.
    `options` are the keyword arguments that are neither values nor None, such as `use_causal_mask`.
    """

    __slots__ = ("about", "constant", "constant_first", "inputs", "kind", "name", "named", "number", "options")

    def __init__(
        self, name: str, kind: str, about: Config, inputs: Sequence[int], named: Mapping[str, int], number: int
    ) -> None:
        self.options: dict[str, object] = {}
        self.constant: float | None = None
        self.constant_first = False
        self.name = name
        self.kind = kind
        self.about = about
        self.inputs = inputs
        self.named = named
        self.number = number

    def inner(self) -> KerasCall:
        """Return the call of the layer in a wrapper. Raises KeyError, TypeError."""
        layer = self.about["layer"]
        name = f"{self.name}.{layer['config']['name']}"
        found = KerasCall(name, snake_case(layer["class_name"]), layer["config"], self.inputs, self.named, self.number)
        found.options = self.options
        return found


class KerasModel:
    """The calls of a model; an input is a call of kind `input_layer`. `outputs` are numbers of calls by their names.

    `config` is its configuration as JSON, and `version` that of Keras, if the file states it. `channels_first` is set
    if all layers that tell channels from positions have the channels first.
    """

    def __init__(self, path: str, config: str | bytes, version: str) -> None:
        self.path = path
        self.is_old = version[:2] in ("1.", "2.")
        self.calls: list[KerasCall] = []
        self.outputs: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        root = self._root(config)
        about = root.get("config")
        self.name = str(about.get("name", "model")) if isinstance(about, dict) else "model"
        ends = self._model(root, "", None, 0)
        formats = {str(call.about.get("data_format")) for call in self.calls if call.kind != "flatten"}
        self.channels_first = FIRST in formats and formats <= {FIRST, "None"}
        for at in ends:
            name = self.calls[at].name
            self.outputs[name if name not in self.outputs else f"{name}_{at}"] = at

    def bad(self, reason: str) -> BadImport:
        return BadImport(f"{self.path}: {reason}")

    def _root(self, config: str | bytes) -> Config:
        if not config:
            raise self.bad("it has weights, and no configuration of a model")
        try:
            root = json.loads(config)
        except (ValueError, RecursionError):
            raise self.bad("its configuration is not JSON") from None
        if not isinstance(root, dict) or snake_case(str(root.get("class_name"))) not in MODELS:
            raise self.bad("its configuration describes neither a Functional nor a Sequential model")
        return root

    def _call(
        self, name: str, kind: str, about: Config, inputs: Sequence[int] = (), named: Mapping[str, int] | None = None
    ) -> int:
        if len(self.calls) >= MAX_CALLS:
            raise self.bad(f"it has more than {MAX_CALLS:,} layers")
        number = self._numbers[name] = self._numbers.get(name, -1) + 1
        if self.is_old and about.get("activation") == "hard_sigmoid":
            about = {**about, "activation": OLD_HARD_SIGMOID}
        self.calls.append(KerasCall(name, kind, about, inputs, named or {}, number))
        return len(self.calls) - 1

    def _model(self, model: Config, prefix: str, given: Sequence[int] | None, depth: int) -> list[int]:
        """Add the calls of a model that is applied to values; without any, its inputs are declared."""
        about = model.get("config")
        if isinstance(about, list):  # Sequential models before Keras 2.2
            about = {"layers": about}
        layers = about.get("layers") if isinstance(about, dict) else None
        if not isinstance(about, dict) or not isinstance(layers, list) or depth > MAX_MODEL_DEPTH:
            raise self.bad(f"the model {prefix.rstrip('.') or self.name} has no layers")
        named = []
        for layer in layers:
            match layer:
                case {"class_name": str(kind), "config": dict(config)}:
                    name = layer.get("name", config.get("name"))
                    named.append((str(name), snake_case(kind), layer))
                case _:
                    raise self.bad("a layer has no class and no configuration")
        if snake_case(str(model.get("class_name"))) == "sequential":
            return self._sequential(about, named, prefix, given, depth)
        return self._functional(about, named, prefix, given, depth)

    def _sequential(
        self,
        about: Config,
        layers: list[tuple[str, str, Config]],
        prefix: str,
        given: Sequence[int] | None,
        depth: int,
    ) -> list[int]:
        current = list(given) if given is not None else None
        if current is None and (not layers or layers[0][1] != "input_layer"):
            shape = about.get("build_input_shape") or (
                layers[0][2]["config"].get("batch_input_shape") if layers else None
            )
            current = [self._call("input", "input_layer", {"batch_shape": shape})]
        for name, kind, layer in layers:
            if kind == "input_layer":
                current = current or [self._call(prefix + name, kind, layer["config"])]
            else:
                current = self._applied(prefix + name, kind, layer, current or [], {}, depth)
        return current or []

    def _functional(
        self,
        about: Config,
        layers: list[tuple[str, str, Config]],
        prefix: str,
        given: Sequence[int] | None,
        depth: int,
    ) -> list[int]:
        made: dict[Ref, int] = {}
        about_inputs = {name: layer["config"] for name, kind, layer in layers if kind == "input_layer"}
        starts = [name for name, _, _ in _references(about.get("input_layers"))]
        for at, name in enumerate(dict.fromkeys([*starts, *about_inputs])):
            if given is not None and at < len(given):
                made[name, 0, 0] = given[at]
            elif name in about_inputs:
                made[name, 0, 0] = self._call(prefix + name, "input_layer", about_inputs[name])
        nodes = {name: layer.get("inbound_nodes") or [] for name, _, layer in layers}
        if not all(isinstance(each, list) for each in nodes.values()):
            raise self.bad("the calls of a layer are not a list")
        read = [*_references([*nodes.values()]), *_references(about.get("output_layers"))]
        starting = {
            name: max([0, *(node + 1 - len(nodes[name]) for by, node, _ in read if by == name)]) for name in nodes
        }
        waiting = [  # Keras 2 counts the calls of a nested model from 1
            (name, kind, layer, starting[name] + at, node)
            for name, kind, layer in layers
            if kind != "input_layer"
            for at, node in enumerate(nodes[name])
        ]
        while waiting:
            later = []
            for name, kind, layer, at, node in waiting:
                positional, named = _arguments(node)
                wanted = [*positional, *named.values()]
                if all(ref in made for ref in wanted):
                    inputs = [made[ref] for ref in positional]
                    values = {key: made[ref] for key, ref in named.items()}
                    found = self._applied(prefix + name, kind, layer, inputs, values, depth)
                    self._add_constants(node)
                    made.update({(name, at, index): value for index, value in enumerate(found)})
                else:
                    later.append((name, kind, layer, at, node))
            if len(later) == len(waiting):
                raise self.bad(f"the inputs of {prefix}{waiting[0][0]} are results of no layer, or of a cycle")
            waiting = later
        ends = list(_references(about.get("output_layers")))
        if not ends or not all(ref in made for ref in ends):
            raise self.bad(f"the outputs of the model {prefix.rstrip('.') or self.name} are results of no layer")
        return [made[ref] for ref in ends]

    def _add_constants(self, node: object) -> None:
        """Keep the number among the operands of the last call, and its keyword arguments that are no values."""
        for key, value in _keywords(node).items():
            if value not in (None, False) and key != "training" and next(_references(value), None) is None:
                self.calls[-1].options[key] = value
        args = node.get("args") if isinstance(node, dict) else None
        for at, value in enumerate(args if isinstance(args, list) else ()):
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self.calls[-1].constant = float(value)
                self.calls[-1].constant_first = at == 0

    def _applied(
        self, name: str, kind: str, layer: Config, inputs: Sequence[int], named: Mapping[str, int], depth: int
    ) -> list[int]:
        if kind in MODELS:
            return self._model(layer, f"{name}.", inputs, depth + 1)
        if kind.startswith("custom_") and not str(layer.get("module")).startswith("keras."):
            kind = f"{kind} of a user"
        return [self._call(name, kind, layer["config"], inputs, named)]


def _references(value: object) -> Iterator[Ref]:
    """Yield the values that a part of a configuration refers to, in order."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case [str(name), int(node), int(at), *_] | {"config": {"keras_history": [str(name), int(node), int(at)]}}:
                yield name, node, at
            case list(items):
                waiting += reversed(items)
            case dict(items):
                waiting += reversed(list(items.values()))


def _keywords(node: object) -> Config:
    """Return the keyword arguments of a call. Keras 2 has them behind values: [[name, node, tensor, keywords], …]"""
    if isinstance(node, list):
        found = [each for ref in node if isinstance(ref, list) for each in ref[3:4] if isinstance(each, dict)]
        return {key: value for each in found for key, value in each.items()}
    named = node.get("kwargs") if isinstance(node, dict) else None
    return named if isinstance(named, dict) else {}


def _arguments(node: object) -> tuple[list[Ref], dict[str, Ref]]:
    """Return the values of a call, by position and by keyword."""
    args = node.get("args") if isinstance(node, dict) else node
    by_name = {key: next(_references(value), None) for key, value in _keywords(node).items()}
    return list(_references(args)), {key: ref for key, ref in by_name.items() if ref is not None}
