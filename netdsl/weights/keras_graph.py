"""How a Keras model's configuration wires its layers, and in which order elements reach one of them.

No layer is built. Source: keras/src/models/functional.py, version 3 (`keras_history`), and Keras 2's lists of
`[name, node, tensor, arguments]`.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.weights.keras_parts import layers_of, snake_case

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array

    Ref = tuple[str, int]

DEEPEST = 100
"""Maximum depth of models within models."""

ELEMENTWISE = re.compile(
    r"input_layer|identity|masking|rescaling|activity_regularization|activation|softmax|relu6?|sigmoid|tanh|gelu|silu"
    r"|((p|leaky|thresholded)_)?re_lu|s?elu|softplus|softsign|\w*dropout([123]d)?|gaussian_noise|random_\w+"
    r"|((batch|layer|group|unit|rms)_)?normalization|add|subtract|multiply|average|maximum|minimum|concatenate"
)
"""Layers that keep the order of elements, and merges of values in one order."""

ORIGINS = re.compile(
    r"dense|embedding|\w*conv[123]d(_transpose)?|((global|adaptive)_)?(average|max)_pooling[123]d"
    r"|(zero_padding|cropping|up_sampling)[123]d|resizing|center_crop|random_crop"
)
"""Layers that decide the layout of their result: channels last, unless `data_format` says otherwise."""

SHAPING = ("flatten", "reshape", "permute")
MODELS = ("functional", "sequential", "model")
FIRST, LAST = "channels_first", "channels_last"


class Step:
    """A layer: its class in snake case, its arguments, and the results of layers that it reads, over all its calls."""

    __slots__ = ("about", "kind", "sources")

    def __init__(self, kind: str, about: dict[str, Any], sources: list[Ref]) -> None:
        self.kind = kind
        self.about = about
        self.sources = sources

    @property
    def layout(self) -> str | None:
        """`channels_last` or `channels_first`, where the layer decides."""
        found = self.about.get("data_format", LAST if self.kind == "embedding" else None)
        return found if isinstance(found, str) and ORIGINS.fullmatch(self.kind) else None

    @property
    def is_known(self) -> bool:
        known = (ELEMENTWISE.fullmatch(self.kind), ORIGINS.fullmatch(self.kind), self.kind in (*SHAPING, *MODELS))
        return any(known)

    @property
    def reorders(self) -> bool:
        """Whether it can change the order of elements."""
        return self.kind == "permute" or (self.kind == "flatten" and self.about.get("data_format") == FIRST)

    def apply(self, x: Array) -> Array:
        """Its result for one example. Raises TypeError or ValueError where the example or the arguments do not fit."""
        if self.kind == "permute":
            return x.transpose([axis - 1 for axis in self.about.get("dims", ())])
        if self.kind == "reshape":
            return x.reshape(self.about.get("target_shape", ()))
        return (np.moveaxis(x, 0, -1) if self.reorders and x.ndim > 1 else x).reshape(-1)


class Way:
    """How a value reaches a layer: the layouts in which its parts begin, what reshapes and reorders the whole of it,
    first to last, and the layer that makes its order unknown."""

    __slots__ = ("layouts", "steps", "unknown")

    def __init__(self) -> None:
        self.layouts: set[str] = set()
        self.steps: list[Step] = []
        self.unknown = ""

    @property
    def reorders(self) -> bool:
        return any(step.reorders for step in self.steps)

    def arrivals(self, sizes: tuple[int, ...]) -> Array:
        """For each element of the value at the end, its place at the beginning, where Keras holds it in these `sizes`.
        Raises TypeError or ValueError where they do not fit."""
        x = np.arange(int(np.prod(sizes))).reshape(sizes)
        for step in self.steps:
            x = step.apply(x)
        return x.reshape(-1)


class Graph:
    """The layers of a configuration by name; those of a model in it follow that model's name and a dot."""

    __slots__ = ("inputs", "results", "steps")

    def __init__(self, model: Any) -> None:
        self.steps: dict[str, Step] = {}
        self.results: dict[str, list[Ref]] = {}
        self.inputs: list[str] = []
        waiting: list[tuple[Any, str, list[list[Ref]]]] = [(model, "", [])]
        for config, prefix, calls in waiting:  # which grows
            if prefix.count(".") <= DEEPEST:
                waiting += self._add(config, prefix, calls)

    def _add(self, model: Any, prefix: str, given: list[list[Ref]]) -> list[tuple[Any, str, list[list[Ref]]]]:
        """Add the layers of one model, which is called with `given`. Return the models in it."""
        found = list(layers_of(model))
        names = [prefix + name for _, name, _, _ in found]
        config = model["config"] if found else {}
        wired = "input_layers" in config
        starts = [prefix + name for name, _ in _references(config["input_layers"])] if wired else names[:1]
        ends = _references(config.get("output_layers")) if wired else []
        self.results[prefix[:-1]] = [(prefix + name, at) for name, at in ends] or [(name, 0) for name in names[-1:]]
        if not prefix:
            self.inputs = starts
        models = []
        calls = given
        for name, (layer, _, kind, about) in zip(names, found, strict=True):
            if wired and name in starts:
                at = starts.index(name)
                calls = [call[at : at + 1] for call in given]
            elif wired:
                nodes = layer.get("inbound_nodes")
                calls = [_references(node) for node in (nodes if isinstance(nodes, list) else ())]
                calls = [[(prefix + source, at) for source, at in call] for call in calls]
            self.steps[name] = Step(_wrapped(kind, about), about, list(dict.fromkeys(chain(*calls))))
            models.append((layer, f"{name}.", calls))
            calls = [[(name, 0)]]
        return models

    @property
    def layouts(self) -> set[str]:
        """The layouts that its layers name."""
        return {step.layout for step in self.steps.values() if step.layout and "data_format" in step.about}

    @property
    def permutes(self) -> bool:
        """Whether a layer permutes axes, or may do so."""
        return any(step.kind == "permute" or not step.is_known for step in self.steps.values())

    def sizes(self, name: str) -> list[Any] | None:
        """The shape that an input declares, without the batch."""
        about = self.steps[name].about if name in self.steps else {}
        found = about.get("batch_shape") or about.get("batch_input_shape")
        return found[1:] if isinstance(found, list) else None

    @property
    def output_sizes(self) -> list[Any] | None:
        """The shape of the model's only result, without the batch, where a layer declares it."""
        names = [self._maker(source) for source in self.results[""]]
        for _ in range(DEEPEST):
            step = self.steps.get(names[0]) if len(names) == 1 else None
            if step is None or not ELEMENTWISE.fullmatch(step.kind):
                break
            names = [self._maker(source) for source in step.sources]
        found = step.about.get("target_shape") if step is not None else None
        return [None if size == -1 else size for size in found] if isinstance(found, list) else None

    def way_to(self, name: str) -> Way:
        """How values reach a layer. Branches may meet on the way, where none of them reorders its part."""
        way, began = Way(), False
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
            elif step.kind in ("permute", *MODELS) or not step.is_known:
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
        """The layers whose results a layer reads, those within included models; whether each is all that it reads."""
        sources = [self._maker(source) for source in self.steps[name].sources]
        return [(source, whole and len(sources) == 1, turned) for source in sources]

    def _maker(self, source: Ref) -> str:
        for _ in range(DEEPEST):
            name, at = source
            ends = self.results.get(name) if name else None
            if not ends or at >= len(ends):
                break
            source = ends[at]
        return source[0]


def _wrapped(kind: str, about: dict[str, Any]) -> str:
    """The class of a layer, or of the one that it applies at each step, where that acts on the last axis alone."""
    match about:
        case {"layer": {"class_name": str(inner)}} if kind == "time_distributed":
            inner = snake_case(inner)
            return inner if inner == "dense" or ELEMENTWISE.fullmatch(inner) else kind
    return kind


def _references(value: Any) -> list[Ref]:
    """The results of layers that a part of a configuration names, in its order."""
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
