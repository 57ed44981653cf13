"""The layers of a Caffe net as they run in its TEST phase, and the sizes of its inputs.

Sources: caffe.proto; `FilterNet` and `StateMeetsRule` in src/caffe/net.cpp; upgrade_proto.cpp for `layers`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from netdsl.base.files import read_text
from netdsl.importing.errors import BadImport
from netdsl.importing.prototxt import Message, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

V1_TYPES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "TANH": "TanH",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
}
"""Types of `layers` whose names in `layer` are not those of their words."""

SOLVER_NETS = ("test_net_param", "net_param", "train_net_param")
SOLVER_PATHS = ("test_net", "net", "train_net")
DATA_TYPES = frozenset(
    [
        "AnnotatedData",
        "Data",
        "DenseImageData",
        "DummyData",
        "HDF5Data",
        "ImageData",
        "ImageSegData",
        "MemoryData",
        "VideoData",
        "WindowData",
    ]
)
MAX_LAYERS = 20_000


class CaffeLayer:
    """A layer of a prototxt: its type in the words of `layer`, and the names of the blobs that it reads and makes."""

    __slots__ = ("bottoms", "fields", "name", "place", "shared", "tops", "type", "used")

    def __init__(self, fields: Message, type: str, place: str) -> None:
        self.fields = fields
        self.type = type
        self.place = place
        self.name = str(fields.word("name"))
        self.bottoms = [str(word) for word in fields.words("bottom")]
        self.tops = [str(word) for word in fields.words("top")]
        named = [str(word.word("name")) for word in fields.messages("param") if isinstance(word, Message)]
        self.shared = tuple(named) if any(named) else ()
        self.used: list[tuple[str, Message]] = []

    def parameters(self, name: str) -> Message:
        """Return the message of a layer's parameters, of which every field should be read."""
        found = self.fields.message(name)
        self.used.append((name, found))
        return found

    @property
    def is_source(self) -> bool:
        """Whether the layer makes data for the others."""
        return not self.bottoms and (self.type in DATA_TYPES or self.type in ("Input", "Python"))

    @property
    def loss_weights(self) -> list[float]:
        return self.fields.numbers("loss_weight")

    @property
    def is_loss(self) -> bool:
        return self.type.endswith("Loss") or any(self.loss_weights)


class CaffeInput:
    """An input: the sizes that the file states, with the batch, and the layer of the data, if that is one."""

    __slots__ = ("name", "place", "sizes", "source")

    def __init__(self, name: str, sizes: tuple[int, ...] | None, place: str, source: CaffeLayer | None = None) -> None:
        self.name = name
        self.sizes = sizes
        self.place = place
        self.source = source


class CaffeModel:
    """A net in its TEST phase: its layers in order, its inputs by name, and the solver's settings, if there are any.

    `left_out` are the layers of other phases.
    """

    __slots__ = ("inputs", "layers", "left_out", "name", "path", "solver")

    def __init__(self, path: str) -> None:
        self.path = path
        self.solver: Message | None = None
        root = self._parsed(path)
        stages: set[str] = set()
        if any(name in ("base_lr", "lr_policy", "max_iter", *SOLVER_NETS) for name, _ in root.fields):
            self.solver = root
            states = root.messages("test_state")
            stages = {str(stage) for state in states[:1] for stage in state.words("stage")}
            root = self._net_of(root)
        self.name = str(root.word("name")) or os.path.splitext(os.path.basename(path))[0]
        every = self._every_layer(root)
        self.layers = [layer for layer in every if _included(layer.fields, stages)]
        kept = set(map(id, self.layers))
        self.left_out = [layer for layer in every if id(layer) not in kept]
        self.inputs = {each.name: each for each in (*self._stated(root), *self._made())}

    def bad(self, line: int, reason: str) -> BadImport:
        return BadImport(f"{self.path}:{line}: {reason}")

    def _parsed(self, path: str) -> Message:
        return parse(read_text(path), self.bad)

    def _net_of(self, solver: Message) -> Message:
        """Return the net in a solver, or in the file that it names, which must be beside it."""
        for name in SOLVER_NETS:
            for found in solver.messages(name):
                return found
        for word in solver.words(*SOLVER_PATHS):
            path = os.path.join(os.path.dirname(self.path), os.path.basename(word))
            if os.path.isfile(path):
                self.path = path
                return self._parsed(path)
        named = ", ".join(os.path.basename(word) for word in solver.words(*SOLVER_PATHS))
        raise self.bad(1, f"this is a solver, whose net {named} is not beside it")

    def _every_layer(self, root: Message) -> list[CaffeLayer]:
        found = []
        for fields in root.messages("layer", "layers"):
            place = f"{self.path}:{fields.line}"
            type = fields.word("type")
            if not type:
                raise self.bad(
                    fields.line, "a layer without a `type`: Caffe upgrades such old files by upgrade_net_proto_text"
                )
            words = "".join(word.capitalize() for word in type.split("_")) if type.isupper() else type
            found.append(CaffeLayer(fields, V1_TYPES.get(type, words) if type.kind == "word" else str(type), place))
        if not found:
            raise self.bad(1, "there are no layers")
        if len(found) > MAX_LAYERS:
            raise self.bad(1, f"there are more than {MAX_LAYERS:,} layers")
        return found

    def _stated(self, root: Message) -> Iterable[CaffeInput]:
        """Yield the inputs that the net itself declares: `input`, with `input_shape` or four `input_dim`."""
        shapes = [tuple(shape.integers("dim")) for shape in root.messages("input_shape")]
        dims = root.integers("input_dim")
        shapes = shapes or [tuple(dims[i : i + 4]) for i in range(0, len(dims), 4)]
        for at, name in enumerate(root.words("input")):
            yield CaffeInput(str(name), shapes[at] if at < len(shapes) else None, f"{self.path}:{name.line}")

    def _made(self) -> Iterable[CaffeInput]:
        """Yield the blobs that data layers make; those of another phase count if no layer of this one makes them."""
        made = {top for layer in self.layers for top in layer.tops}
        read = {bottom for layer in self.layers for bottom in layer.bottoms}
        for layer in self.left_out:
            if layer.is_source:
                yield from (each for each in self._of(layer) if each.name in read - made)
        for layer in self.layers:
            if layer.is_source:
                yield from self._of(layer)

    def _of(self, layer: CaffeLayer) -> Iterable[CaffeInput]:
        shapes = _shapes(layer)
        for at, top in enumerate(layer.tops):
            sizes = shapes[min(at, len(shapes) - 1)] if shapes and (at < len(shapes) or len(shapes) == 1) else None
            yield CaffeInput(top, sizes, layer.place, layer)


def _included(fields: Message, stages: set[str]) -> bool:
    """Return whether a layer is in the net of phase TEST at level 0."""
    includes, excludes = fields.messages("include"), fields.messages("exclude")
    if includes:
        return any(_met(rule, stages) for rule in includes)
    return not any(_met(rule, stages) for rule in excludes)


def _met(rule: Message, stages: set[str]) -> bool:
    wanted, unwanted = ({str(word) for word in rule.words(name)} for name in ("stage", "not_stage"))
    return (
        rule.word("phase", "TEST") in ("TEST", "1")
        and rule.integer("min_level", 0) <= 0 <= rule.integer("max_level", 0)
        and wanted <= stages
        and not unwanted & stages
    )


def _shapes(layer: CaffeLayer) -> Sequence[tuple[int, ...]]:
    """Return the sizes of the blobs that a data layer makes, with the batch, as far as the file states them."""
    fields = layer.fields
    if layer.type in ("Input", "DummyData"):
        about = fields.message("input_param" if layer.type == "Input" else "dummy_data_param")
        shapes = [tuple(shape.integers("dim")) for shape in about.messages("shape")]
        legacy = [about.integers(name) for name in ("num", "channels", "height", "width")]
        return shapes or list(zip(*legacy, strict=False))
    if layer.type == "MemoryData":
        about = fields.message("memory_data_param")
        sizes = tuple(about.integer(name, 0) for name in ("batch_size", "channels", "height", "width"))
        return [sizes, (sizes[0],)] if all(sizes) else []
    transform = fields.message("transform_param")
    crop = transform.integer("crop_size", 0) or fields.message("window_data_param").integer("crop_size", 0)
    resize = transform.message("resize_param")
    image = fields.message("image_data_param")
    height = crop or resize.integer("height", 0) or image.integer("new_height", 0)
    width = crop or resize.integer("width", 0) or image.integer("new_width", 0)
    channels = len(transform.numbers("mean_value"))
    if not channels:
        channels = 1 if transform.flag("force_gray", False) else 3
    return [(1, channels, height, width)] if height and width else []
