"""What a net and its losses want of a data set. No numpy here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.data.errors import BadAugment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.data.augment import Augment
    from netdsl.data.images import Picture
    from netdsl.data.reader import Dims


class Target:
    """What an output is held against, for each example.

    `class`: a whole number from 0 to `classes` - 1, int64. `value`: numbers of the shape, float32. `sign`: -1 or 1,
    float32, which may be given as 0 and 1. Labels may have a shape too, such as one for each pixel.
    """

    __slots__ = ("classes", "kind", "name", "shape")

    def __init__(self, name: str, kind: str, *, classes: int | None = None, shape: Dims = ()) -> None:
        assert kind in ("class", "value", "sign"), kind
        assert (classes is not None) == (kind == "class")
        self.name = name
        self.kind = kind
        self.classes = classes
        self.shape = shape

    @property
    def dtype(self) -> str:
        return "int64" if self.kind == "class" else "float32"


class Wanted:
    """The inputs' shapes (without the batch) and types, the targets, and how examples are made ready.

    `pictures` says how an input frames pictures; `classes` are names that labels must be of, as a validation set's are
    training's; `augment` is what will be done to the examples, which may so be larger than the input; `threads` decode.
    """

    __slots__ = ("augment", "classes", "inputs", "pictures", "targets", "threads")

    def __init__(
        self,
        inputs: Mapping[str, tuple[Dims, str]],
        targets: Mapping[str, Target],
        *,
        pictures: Mapping[str, Picture] | None = None,
        classes: Sequence[str] | None = None,
        augment: Augment | None = None,
        threads: int | None = None,
    ) -> None:
        assert not inputs.keys() & targets.keys(), "an input and a target of the same name"
        self.inputs = dict(inputs)
        self.targets = dict(targets)
        self.pictures = dict(pictures or {})
        self.classes = None if classes is None else tuple(classes)
        self.augment = augment
        self.threads = threads

    def example(self, name: str) -> Dims:
        """The shape of an input's examples before they are augmented."""
        shape, dtype = self.inputs[name]
        if self.augment is not None and self.augment.steps and all(len(s) != 3 for s, _ in self.inputs.values()):
            raise BadAugment("pictures are augmented, [channels, height, width], and no input takes any")
        return self.augment.source(shape, dtype) if self.augment is not None else shape
