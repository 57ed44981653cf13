"""Read the graph of a Keras model from its configuration: how values reach a layer, and in which element order.

No layer is built. Source: keras/src/models/functional.py, version 3 (`keras_history`), and Keras 2's lists of
`[name, node, tensor, arguments]`.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.base.dtypes import Array

    Config = dict[str, Any]
    Ref = tuple[str, int]

MAX_MODEL_DEPTH = 100
"""Maximum nesting of models."""

KEEPS_ORDER = re.compile(
    r"input_layer|identity|masking|rescaling|activity_regularization|activation|softmax|relu6?|sigmoid|tanh|gelu|silu"
    r"|((p|leaky|thresholded)_)?re_lu|s?elu|softplus|softsign|\w*dropout([123]d)?|gaussian_noise|random_\w+"
    r"|((batch|layer|group|unit|rms)_)?normalization|add|subtract|multiply|average|maximum|minimum|concatenate"
)
"""Layers that preserve the order of elements, and merges of values in the same order."""

ORIGINS = re.compile(
    r"dense|embedding|\w*conv[123]d(_transpose)?|((global|adaptive)_)?(average|max)_pooling[123]d"
    r"|(zero_padding|cropping|up_sampling)[123]d|resizing|center_crop|random_crop"
)
"""Layers whose result has the layout of their `data_format`: channels last by default."""

SHAPING = ("flatten", "reshape", "permute")
MODEL_CLASSES = ("functional", "sequential", "model")
FIRST, LAST = "channels_first", "channels_last"


def layers_of(model: object) -> Iterator[tuple[Config, str, str, Config]]:
    """Yield each layer in a model's configuration: the whole entry, its name, class in snake case, and arguments."""
    match model:
        case {"config": {"layers": list(layers)}} | {"config": list(layers)}:
            for layer in layers:
                match layer:
                    case {"class_name": str(kind), "config": {"name": str(name)} as about}:
                        yield layer, name, snake_case(kind), about


def snake_case(name: str) -> str:
    """Return `Conv2DTranspose` as `conv2d_transpose`. Source: keras/src/utils/naming.py, to_snake_case."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


class KerasLayer:
    """A layer: its class in snake case, its arguments, and the outputs that it reads in any of its calls."""

    __slots__ = ("about", "kind", "sources")

    def __init__(self, kind: str, about: Config, sources: list[Ref]) -> None:
        self.kind = kind
        self.about = about
        self.sources = sources

    @property
    def layout(self) -> str | None:
        """`channels_last` or `channels_first`; None if the layer does not determine its layout."""
        found = self.about.get("data_format", LAST if self.kind == "embedding" else None)
        return found if isinstance(found, str) and ORIGINS.fullmatch(self.kind) else None

    @property
    def is_known(self) -> bool:
        known = (
            KEEPS_ORDER.fullmatch(self.kind),
            ORIGINS.fullmatch(self.kind),
            self.kind in (*SHAPING, *MODEL_CLASSES),
        )
        return any(known)

    @property
    def reorders(self) -> bool:
        """Whether the layer can change the order of elements."""
        return self.kind == "permute" or (self.kind == "flatten" and self.about.get("data_format") == FIRST)

    def apply(self, x: Array) -> Array:
        """Apply the layer to one example. Raises TypeError or ValueError if the shape or the arguments are invalid."""
        if self.kind == "permute":
            return x.transpose([axis - 1 for axis in self.about.get("dims", ())])
        if self.kind == "reshape":
            return x.reshape(self.about.get("target_shape", ()))
        return (np.moveaxis(x, 0, -1) if self.reorders and x.ndim > 1 else x).reshape(-1)


class Path:
    """How a value reaches a layer.

    `layouts` are those of the layers where its parts originate; `steps` are the layers that reshape or permute the
    whole value, in order; `unknown` names the layer that makes the order unknown, if any.
    """

    __slots__ = ("layouts", "steps", "unknown")

    def __init__(self) -> None:
        self.layouts: set[str] = set()
        self.steps: list[KerasLayer] = []
        self.unknown = ""

    @property
    def reorders(self) -> bool:
        return any(step.reorders for step in self.steps)

    def arrivals(self, sizes: tuple[int, ...]) -> Array:
        """Return, for each element of the value on arrival, its index at the origin, where it has the shape `sizes`.

        Raises TypeError or ValueError if a step does not accept the shape.
        """
        x = np.arange(int(np.prod(sizes))).reshape(sizes)
        for step in self.steps:
            x = step.apply(x)
        return x.reshape(-1)


class KerasGraph:
    """The layers of a configuration by name; layers of nested models have the prefix `MODEL.`."""

    __slots__ = ("inputs", "results", "steps")

    def __init__(self, model: object) -> None:
        self.steps: dict[str, KerasLayer] = {}
        self.results: dict[str, list[Ref]] = {}
        self.inputs: list[str] = []
        waiting: list[tuple[object, str, list[list[Ref]]]] = [(model, "", [])]
        for config, prefix, calls in waiting:  # grows during the loop
            if prefix.count(".") <= MAX_MODEL_DEPTH:
                waiting += self._add(config, prefix, calls)

    def _add(self, model: object, prefix: str, outer: list[list[Ref]]) -> list[tuple[object, str, list[list[Ref]]]]:
        """Add the layers of a model, and return them as possible models. `outer` are the model's inputs per call."""
        found = list(layers_of(model))
        names = [prefix + name for _, name, _, _ in found]
        config = model["config"] if found and isinstance(model, dict) else {}
        wired = "input_layers" in config
        starts = [prefix + name for name, _ in _references(config["input_layers"])] if wired else names[:1]
        ends = _references(config.get("output_layers")) if wired else []
        self.results[prefix[:-1]] = [(prefix + name, at) for name, at in ends] or [(name, 0) for name in names[-1:]]
        if not prefix:
            self.inputs = starts
        models: list[tuple[object, str, list[list[Ref]]]] = []
        calls = outer
        for name, (layer, _, kind, about) in zip(names, found, strict=True):
            if wired and name in starts:
                at = starts.index(name)
                calls = [call[at : at + 1] for call in outer]
            elif wired:
                nodes = layer.get("inbound_nodes")
                calls = [_references(node) for node in (nodes if isinstance(nodes, list) else ())]
                calls = [[(prefix + source, at) for source, at in call] for call in calls]
            self.steps[name] = KerasLayer(_wrapped(kind, about), about, list(dict.fromkeys(chain(*calls))))
            models.append((layer, f"{name}.", calls))
            calls = [[(name, 0)]]
        return models

    @property
    def layouts(self) -> set[str]:
        """The layouts that layers declare with `data_format`."""
        return {step.layout for step in self.steps.values() if step.layout and "data_format" in step.about}

    @property
    def permutes(self) -> bool:
        """Whether a layer permutes axes, or is unknown and might."""
        return any(step.kind == "permute" or not step.is_known for step in self.steps.values())

    def sizes(self, name: str) -> list[Any] | None:
        """Return the declared shape of an input without the batch; None if there is none."""
        about = self.steps[name].about if name in self.steps else {}
        found = about.get("batch_shape") or about.get("batch_input_shape")
        return found[1:] if isinstance(found, list) else None

    @property
    def output_sizes(self) -> list[Any] | None:
        """The shape of the model's only output without the batch, if a Reshape determines it; otherwise None."""
        names = [self._maker(source) for source in self.results[""]]
        for _ in range(MAX_MODEL_DEPTH):
            step = self.steps.get(names[0]) if len(names) == 1 else None
            if step is None or not KEEPS_ORDER.fullmatch(step.kind):
                break
            names = [self._maker(source) for source in step.sources]
        found = step.about.get("target_shape") if step is not None else None
        return [None if size == -1 else size for size in found] if isinstance(found, list) else None

    def way_to(self, name: str) -> Path:
        """Return how a value reaches a layer. Branches may merge on the way if none of them changes the order."""
        way, began = Path(), False
        seen: set[str] = set()
        waiting = self._before(name, whole=True, turned=False) if name in self.steps else []
        way.unknown = "" if name in self.steps else name
        while waiting and not way.unknown:
            name, whole, turned = waiting.pop()
            step = self.steps.get(name)
            if step is None or name in seen:
                way.unknown = "" if step else name
                continue
            seen.add(name)
            began = began or name in self.inputs or bool(ORIGINS.fullmatch(step.kind))
            if ORIGINS.fullmatch(step.kind):
                if step.layout:
                    way.layouts.add(LAST if turned else step.layout)
                way.unknown = name if turned and step.layout == LAST else ""
                continue
            if step.kind in SHAPING and whole:
                way.steps.append(step)
            elif step.kind in ("permute", *MODEL_CLASSES) or not step.is_known:
                way.unknown = name
            else:
                turned = turned or step.reorders
            waiting += self._before(name, whole=whole, turned=turned)
            if not step.sources and name not in self.inputs:
                way.unknown = name
        way.steps.reverse()
        way.unknown = way.unknown or ("" if began else name)
        return way

    def _before(self, name: str, *, whole: bool, turned: bool) -> list[tuple[str, bool, bool]]:
        """Return the layers whose outputs a layer reads, resolved into nested models.

        For each, also whether it is the only source of the value, and whether the order was changed after it.
        """
        sources = [self._maker(source) for source in self.steps[name].sources]
        return [(source, whole and len(sources) == 1, turned) for source in sources]

    def _maker(self, source: Ref) -> str:
        for _ in range(MAX_MODEL_DEPTH):
            name, at = source
            ends = self.results.get(name) if name else None
            if not ends or at >= len(ends):
                break
            source = ends[at]
        return source[0]


def _wrapped(kind: str, about: Config) -> str:
    """Return the class of a layer; for TimeDistributed that of its layer, if this acts only on the last axis."""
    match about:
        case {"layer": {"class_name": str(inner)}} if kind == "time_distributed":
            inner = snake_case(inner)
            return inner if inner == "dense" or KEEPS_ORDER.fullmatch(inner) else kind
    return kind


def _references(value: object) -> list[Ref]:
    """Return the outputs of layers that a part of a configuration refers to, in order."""
    found: list[Ref] = []
    waiting = [value]
    while waiting:
        match waiting.pop():
            case [str(name), int(), int(at), *_] | {"config": {"keras_history": [str(name), int(), int(at)]}}:
                found.append((name, at))
            case {"args": args, "kwargs": named}:
                waiting += [value for key, value in named.items() if key != "mask"] if isinstance(named, dict) else []
                waiting.append(args)
            case list(items):
                waiting += reversed(items)
    return found
