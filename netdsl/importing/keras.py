"""Read a model saved by Keras: the layers in the configuration of a `.keras` or `.h5` file, and their weights.

Keras usually has the channels last. Here, a value of two axes or more without the batch has its last axis first:
[H, W, C] is [C, H, W]. In a model whose layers have the channels first, it stays as it is. A flattened value stays as
it is until a layer needs the order of its elements.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from netdsl.base.zip_archive import ZipArchive
from netdsl.declare.arguments import Word
from netdsl.importing.calls import drop_unread_inputs, refused
from netdsl.importing.flat import FlatLayer, FlatNet, Trial
from netdsl.importing.keras_layers import CONVERSIONS, LAST_ONLY
from netdsl.importing.keras_model import MAX_CONFIG_BYTES, KerasModel
from netdsl.importing.keras_step import Flattened, KerasStep
from netdsl.importing.keras_weights import RandomKerasWeights, StoredKerasWeights
from netdsl.weights.errors import damaged
from netdsl.weights.keras_graph import FIRST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.importing.flat import Value
    from netdsl.importing.keras_model import KerasCall
    from netdsl.importing.readers import SourceOptions


MAX_METADATA = 2**16


def read(path: str, options: SourceOptions) -> FlatNet:
    """Return the net of a `.keras` or `.h5` file. Raises BadImport, BadWeightFile."""
    model, stored = _opened(path)
    net = Conversion(model, stored, options.inputs).net
    net.reference = partial(_trial, model, stored, options.inputs)
    return net


def _opened(path: str) -> tuple[KerasModel, StoredKerasWeights]:
    if not path.lower().endswith(".keras"):
        stored = StoredKerasWeights(path, None)
        return KerasModel(path, stored.file.config, stored.file.version), stored
    archive = ZipArchive(path, partial(damaged, path))
    members = {"config.json": MAX_CONFIG_BYTES, "metadata.json": MAX_METADATA}
    config, about = (archive.read(name, most) if name in archive.members else b"" for name, most in members.items())
    found = VERSION.search(about.decode("utf-8", "replace"))
    return KerasModel(path, config, found[1] if found else ""), StoredKerasWeights(path, archive)


VERSION = re.compile(r'"keras_version": *"([^"]*)"')


def _trial(
    model: KerasModel, stored: StoredKerasWeights, sizes: Mapping[str, tuple[int, ...]], seed: int | None
) -> Trial:
    """Return the net with random weights, or those of the file, and a program in NumPy for the same file."""
    from netdsl.importing.keras_reference import KerasReference

    weights = stored if seed is None else RandomKerasWeights(stored, seed)
    conversion = Conversion(model, weights, sizes)
    return Trial(conversion.net, partial(KerasReference(model, weights).run, conversion.places, conversion.before))


class Conversion:
    """A Keras model as a flat list, and the call whose result each layer of it has (`places`), or what the activation
    of the call is applied to (`before`)."""

    def __init__(self, model: KerasModel, weights: StoredKerasWeights, sizes: Mapping[str, tuple[int, ...]]) -> None:
        self.model = model
        self.weights = weights
        self.sizes = sizes
        self.net = FlatNet(model.name, model.path)
        self.net.producer = "Keras"
        self.values: list[Value | Flattened] = []
        self.places: dict[FlatLayer, int] = {}
        self.before: dict[FlatLayer, int] = {}
        self.first: dict[str, list[FlatLayer]] = {}
        self.words = self._inputs_of_words()
        for at, call in enumerate(model.calls):
            value = self._convert(call)
            self.values.append(value)
            if isinstance(value, FlatLayer):
                self.places[value] = at
        for name, at in model.outputs.items():
            self._declare(name, at)
        drop_unread_inputs(self.net)

    def _inputs_of_words(self) -> set[int]:
        """Return the inputs that an embedding reads."""
        return {at for call in self.model.calls if call.kind == "embedding" for at in call.inputs}

    def _declare(self, name: str, at: int) -> None:
        value = self.values[at]
        step = KerasStep(self, self.model.calls[at])
        plain = step.plain(value)
        if plain is not None:
            self.places[plain] = at
            self.net.output(name.replace(".", "_"), plain)

    def _convert(self, call: KerasCall) -> Value | Flattened:
        if call.kind == "input_layer":
            return self._input(call)
        step = KerasStep(self, call)
        if call.kind not in CONVERSIONS:
            return step.refuse(f"a layer of class {call.about.get('class', call.kind)}", "netdsl does not know it")
        inputs = [self.values[at] for at in call.inputs]
        if any(x is None for x in inputs) or any(self.values[at] is None for at in call.named.values()):
            return None
        if call.about.get("data_format") == FIRST and not self.model.channels_first:
            return step.refuse("a layer with the channels first", "others have them last")
        wide = any(isinstance(x, FlatLayer) and len(x.shape) > 1 for x in inputs)
        if self.model.channels_first and wide and call.kind in LAST_ONLY:
            return step.refuse(
                f"a {call.kind} beside layers with the channels first", "it takes the last axis for them"
            )
        if call.options:
            return step.refuse(f"a {call.kind} with {', '.join(call.options)}")
        if call.about.get("mask_zero"):
            return step.refuse(
                "an Embedding that hides places", "later layers of Keras ignore them, and netdsl's would not"
            )
        try:
            return CONVERSIONS[call.kind](step, *inputs)
        except (TypeError, ValueError, KeyError, AttributeError, IndexError, ZeroDivisionError):
            return step.refuse(f"a {call.kind} with these arguments or inputs")

    def _input(self, call: KerasCall) -> Value:
        shape = call.about.get("batch_shape") or call.about.get("batch_input_shape")
        shape = shape if isinstance(shape, list) else [None]
        sizes = self.sizes.get(call.name) or tuple(shape[1:])
        if not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
            why = f"it has the shape {list(shape)[1:]}; give its sizes by `--input {call.name}=32x32x3`"
            return refused(self.net, f"the input `{call.name}`", call.name, why)
        last = tuple(sizes) if self.model.channels_first else (sizes[-1], *sizes[:-1])
        words = str(call.about.get("dtype", "")).startswith("int") or len(self.values) in self.words
        return self.net.input(call.name, last, call.name, **({"dtype": Word("i64")} if words else {}))
