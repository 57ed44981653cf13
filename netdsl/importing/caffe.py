"""Read a Caffe net, in the TEST phase, with or without the weights of a .caffemodel."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from netdsl.declare.arguments import Word
from netdsl.importing.caffe_layers import CONVERSIONS, FILLERS, batch_norm
from netdsl.importing.caffe_model import CaffeModel
from netdsl.importing.caffe_step import Step
from netdsl.importing.caffemodel import read_caffemodel
from netdsl.importing.calls import drop_unread_inputs, is_same, refused
from netdsl.importing.flat import FlatLayer, FlatNet, FlatWeight, Trial
from netdsl.importing.random_weights import random_weight
from netdsl.importing.training import caffe_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.importing.caffe_model import CaffeInput, CaffeLayer
    from netdsl.importing.caffemodel import Blob
    from netdsl.importing.flat import Value
    from netdsl.importing.readers import SourceOptions

    Ref = tuple[int, int]
    """A blob: the index of the layer that makes it, and which of its tops it is; of an input, -1 and its index."""

HEADS = {
    "ArgMax": "the index of the largest score",
    "DenseCRF": "a conditional random field",
    "DetectionOutput": "non-maximum suppression",
    "MultiStageMeanfield": "a conditional random field",
    "PSROIAlign": "boxes that another layer proposes",
    "PSROIPooling": "boxes that another layer proposes",
    "PriorBox": "boxes that depend on sizes alone",
    "Proposal": "non-maximum suppression",
    "Python": "a program",
    "ROIAlign": "boxes that another layer proposes",
    "ROIPooling": "boxes that another layer proposes",
}
"""Layers that a net cannot have, at which it ends, and what they compute."""

NO_VALUES = frozenset(("Accuracy", "Silence", "HDF5Output", "DetectionEvaluate"))
"""Layers that compute nothing for others."""
BOTH = frozenset(("ContrastiveLoss", "Python"))
"""Losses that compare two results; others have a target behind the result."""


def read(path: str, options: SourceOptions) -> FlatNet:
    """Return the net of a prototxt file, or of the one that a solver names. Raises BadImport, BadWeightFile."""
    model = CaffeModel(path)
    blobs = read_caffemodel(options.weights) if options.weights else {}
    conversion = Conversion(model, StoredBlobs(blobs, options.weights or ""), options.inputs)
    conversion.net.reference = partial(_trial, conversion)
    conversion.net.training = list(caffe_lines(model))
    for name in blobs.keys() - {layer.name for layer in model.layers}:
        conversion.net.leave_out("weights of a layer that is not in the net", name)
    return conversion.net


def _trial(conversion: Conversion, seed: int | None) -> Trial:
    """Return the net with random weights, or those of the file, and a program in NumPy for the same file."""
    from netdsl.importing.caffe_reference import CaffeReference

    if seed is not None or not conversion.blobs.stored:
        conversion = Conversion(conversion.model, RandomBlobs(seed or 0), conversion.sizes)
    reference = CaffeReference(conversion.model, conversion.sources, conversion.blobs)
    return Trial(conversion.net, partial(reference.run, conversion.places))


class StoredBlobs:
    """The weights of a file by layers, or none."""

    def __init__(self, stored: Mapping[str, list[Blob]], path: str) -> None:
        self.stored = stored
        self.path = path

    def get(self, layer: str, at: int, shape: tuple[int, ...], role: str) -> FlatWeight | str | None:
        """Return a weight, what is wrong with it, or None if there is no file. Axes of size 1 do not count."""
        if not self.path:
            return None
        found = self.stored.get(layer)
        if not found or at >= len(found):
            return f"`{layer}` has {len(found or ())} arrays in {self.path}"
        blob = found[at]
        if [n for n in blob.shape if n != 1] != [n for n in shape if n != 1]:
            return f"array {at} of `{layer}` has the shape {list(blob.shape)} in {self.path}, but needs {list(shape)}"
        return FlatWeight(shape, lambda: blob.read().reshape(shape))


class RandomBlobs(StoredBlobs):
    """Random weights of any layer."""

    def __init__(self, seed: int) -> None:
        super().__init__({}, "")
        self.seed = seed

    def get(self, layer: str, at: int, shape: tuple[int, ...], role: str) -> FlatWeight:
        return random_weight(self.seed, f"{layer} {at}", shape, role)


def sources_of(model: CaffeModel) -> list[list[Ref | None]]:
    """Return which blobs each layer reads, since layers in place give a blob new values; None for unknown ones."""
    names: dict[str, Ref] = {name: (-1, at) for at, name in enumerate(model.inputs)}
    found: list[list[Ref | None]] = []
    for index, layer in enumerate(model.layers):
        found.append([names.get(bottom) for bottom in layer.bottoms])
        if not layer.is_source:
            names.update({top: (index, at) for at, top in enumerate(layer.tops)})
    return found


class Conversion:
    """A Caffe net as a flat list, and the blob that each layer of it computes (`places`)."""

    def __init__(self, model: CaffeModel, blobs: StoredBlobs, sizes: Mapping[str, tuple[int, ...]]) -> None:
        self.model = model
        self.blobs = blobs
        self.sizes = sizes
        self.net = FlatNet(model.name, model.path)
        self.sources = sources_of(model)
        self.readers: dict[Ref, list[int]] = {}
        for index, refs in enumerate(self.sources):
            for ref in refs:
                if ref is not None:
                    self.readers.setdefault(ref, []).append(index)
        self.values: dict[Ref, Value] = {}
        self.cut: set[Ref] = set()
        self.heads = False
        self.ends: dict[Ref, str] = {}
        self.places: dict[FlatLayer, Ref] = {}
        self.owners: dict[tuple[str, ...], FlatLayer] = {}
        self.merged: dict[int, CaffeLayer] = {}
        for index, layer in enumerate(model.layers):
            if not layer.is_source:
                self._convert(index, layer)
        self._leave_out()
        self._declare_outputs()
        drop_unread_inputs(self.net)

    def _convert(self, index: int, layer: CaffeLayer) -> None:
        refs = self.sources[index]
        tops = [(index, at) for at in range(len(layer.tops))]
        if layer.type in NO_VALUES or layer.is_loss:
            self._drop(index, layer)
        elif layer.type in HEADS or any(ref in self.cut for ref in refs):
            self._cut(index, layer)
        elif layer.type not in CONVERSIONS:
            self.net.refuse(f"a layer of type {layer.type}", layer.place, "netdsl does not know it")
            self.values.update(dict.fromkeys(tops))
        else:
            self._apply(index, layer, tops)

    def _cut(self, index: int, layer: CaffeLayer) -> None:
        """Leave out a head, or a layer behind one. What it reads of the net is an output, but not what only gives a
        PriorBox its sizes."""
        head = layer.type in HEADS
        self.net.leave_out(layer.type if head else "layers behind heads", layer.place, HEADS.get(layer.type, ""))
        self.cut.update((index, at) for at in range(len(layer.tops)))
        if layer.type != "PriorBox":
            read = zip(self.sources[index], layer.bottoms, strict=True)
            self.ends.update({ref: name for ref, name in read if ref is not None and ref not in self.cut})
            self.heads = True

    def _apply(self, index: int, layer: CaffeLayer, tops: list[Ref]) -> None:
        inputs = [self._value(ref, name, layer) for ref, name in zip(self.sources[index], layer.bottoms, strict=True)]
        if any(x is None for x in inputs):
            self.values.update(dict.fromkeys(tops))
            return
        step = Step(self.net, layer, self._weight)
        if index in self.merged:
            found: Value | list[Value] = inputs[0]
        elif layer.type == "BatchNorm":
            found = batch_norm(step, inputs[0], self._scale_behind(index))  # type: ignore[arg-type]
        else:
            try:
                found = CONVERSIONS[layer.type](step, *inputs)
            except TypeError:
                found = step.refuse(f"a {layer.type} of {len(inputs)} inputs")
            except (ValueError, IndexError, ZeroDivisionError, OverflowError):
                found = step.refuse(f"a {layer.type} with these parameters")
        if found is not None:
            self._judge_fields(layer)
        results = found if isinstance(found, list) else [found] * len(tops)
        for ref, value in zip(tops, results, strict=True):
            if value is not None and layer.shared and index not in self.merged:
                value = self._shared(layer, value)
            self.values[ref] = value
            if value is not None:
                self.places[value] = ref

    def _value(self, ref: Ref | None, name: str, layer: CaffeLayer) -> Value:
        """Return the value of a blob; an input is declared when a layer reads it first."""
        if ref is None:
            return refused(self.net, f"the blob `{name}`", layer.place, "no layer before makes it")
        if ref[0] < 0 and ref not in self.values:
            self.values[ref] = self._input(ref, self.model.inputs[name])
        if ref[1] == 1 and ref[0] >= 0 and self.model.layers[ref[0]].type == "Pooling" and layer.type != "Upsample":
            return refused(self.net, f"a {layer.type} of the indices of a max pool", layer.place)
        return self.values[ref]

    def _input(self, ref: Ref, about: CaffeInput) -> Value:
        sizes = self.sizes.get(about.name) or (about.sizes or ())[1:]
        if not sizes or min(sizes) < 1:
            why = f"the file does not state its size; `--input {about.name}=3x224x224` does"
            return refused(self.net, f"the input `{about.name}`", about.place, why)
        value = self.net.input(about.name, sizes, about.place, **self._preparation(about, sizes))
        if value is not None:
            self.places[value] = ref
        return value

    def _preparation(self, about: CaffeInput, sizes: tuple[int, ...]) -> dict[str, object]:
        """Return how an image becomes the input: (pixels - mean) scale, with the channels blue, green, red."""
        if about.source is None or len(sizes) != 3 or about.source.type in ("Input", "DummyData", "MemoryData"):
            return {}
        fields, place = about.source.fields.message("transform_param"), about.place
        found: dict[str, object] = {"order": Word("bgr")} if sizes[0] == 3 else {}
        means, factor = fields.numbers("mean_value"), fields.number("scale", 1.0)
        if fields.words("mean_file"):
            self.net.leave_out("the mean image of `mean_file`", place, "subtract it before, or replace it by `mean`")
        if any(means):
            found["mean"] = tuple(means) if len(means) > 1 else means[0]
        if factor != 1 and factor > 0:
            found["std"] = 1 / factor
        if fields.integer("crop_size", 0) and sizes[1] == sizes[2] == fields.integer("crop_size", 0):
            found["crop"] = sizes[1]
        resize = fields.message("resize_param")
        if (resize.integer("height", 0), resize.integer("width", 0)) == sizes[1:] and "crop" not in found:
            found["resize"] = sizes[1:]
        return found

    def _weight(self, layer: CaffeLayer, at: int, shape: tuple[int, ...], role: str) -> FlatWeight | None:
        if layer.shared and (layer.type, *layer.shared) in self.owners:
            return None
        found = self.blobs.get(layer.name, at, shape, role)
        if isinstance(found, str):
            self.net.refuse("weights that do not fit", layer.place, found)
            return None
        return found

    def _shared(self, layer: CaffeLayer, value: FlatLayer) -> Value:
        """Return a layer with the weights of the first whose parameters have the same names."""
        owner = self.owners.setdefault((layer.type, *layer.shared), value)
        if owner is value:
            names = set(layer.shared) - {""}
            if any(names & {*other} for other in self.owners if other != (layer.type, *layer.shared)):
                return refused(self.net, "a layer that shares a part of its weights", layer.place)
            return value
        if not is_same(owner, value) or owner.inputs[0].shape[:1] != value.inputs[0].shape[:1]:
            return refused(self.net, "layers that share weights, but differ otherwise", layer.place)
        value.shares = owner
        return value

    def _scale_behind(self, index: int) -> CaffeLayer | None:
        """Return the Scale that alone reads a BatchNorm, and becomes a part of it."""
        readers = self.readers.get((index, 0), [])
        layer = self.model.layers[readers[0]] if len(readers) == 1 else None
        if layer is None or layer.type != "Scale" or len(layer.bottoms) != 1:
            return None
        fields = layer.parameters("scale_param")
        if fields.integer("axis", 1) != 1 or fields.integer("num_axes", 1) != 1:
            return None
        self.merged[readers[0]] = layer
        return layer

    def _judge_fields(self, layer: CaffeLayer) -> None:
        """Refuse parameters that nobody read: what a fork adds may change the result."""
        for name, fields in layer.used:
            for field in fields.unread:
                if field not in FILLERS:
                    place = f"{self.model.path}:{field.line}"
                    self.net.refuse(f"`{field}` of {name}", place, "netdsl does not know what it means")

    def _drop(self, index: int, layer: CaffeLayer) -> None:
        """Leave out a layer without values; what a loss judges is an output."""
        if layer.type == "Silence":
            return
        self.cut.update((index, at) for at in range(len(layer.tops)))
        self.net.leave_out(layer.type, layer.place, "a loss" if layer.is_loss else "a metric")
        main = max((max(each.loss_weights or [1.0]) for each in self.model.layers if each.is_loss), default=0.0)
        if layer.is_loss and 0 < max(layer.loss_weights or [1.0]) < main:
            self.net.leave_out("an auxiliary classifier", layer.place, "its loss has less weight than another")
        elif layer.is_loss or not main:
            judged = list(zip(self.sources[index], layer.bottoms, strict=True))[: 2 if layer.type in BOTH else 1]
            read = [(ref, name) for ref, name in judged if ref is not None]
            self.ends.update({ref: name for ref, name in read if all(map(self._is_end, self.readers[ref]))})

    def _is_end(self, index: int) -> bool:
        layer = self.model.layers[index]
        return layer.is_loss or layer.type in NO_VALUES

    def _leave_out(self) -> None:
        for layer in self.model.left_out:
            self.net.leave_out("layers of another phase or stage", layer.place)
        for at, (name, about) in enumerate(self.model.inputs.items()):
            if (-1, at) in self.readers and (-1, at) not in self.values:
                self.net.leave_out("inputs and targets that only these layers read", f"`{name}` at {about.place}")

    def _declare_outputs(self) -> None:
        """Declare what heads and losses read, and what no layer reads."""
        ends = {ref: name for ref, name in self.ends.items() if ref not in self.cut}
        for index, layer in enumerate(self.model.layers):
            for at, top in enumerate(layer.tops):
                ref = (index, at)
                if ref in self.values and ref not in self.readers and not (at and layer.type == "Pooling"):
                    ends.setdefault(ref, top)
        for ref, name in sorted(ends.items()):
            value = self.values.get(ref)
            if value is not None and value.kind != "input":
                self.net.output(name if name not in self.net.outputs else f"{name}_{ref[0]}", value)
        if self.heads and self.net.outputs:
            self.net.leave_out("everything behind " + ", ".join(self.net.outputs))
        if not self.net.outputs and not len(self.net.refused):
            self.net.refuse("the net", self.model.path, "nothing of it is left")
