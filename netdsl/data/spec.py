"""What a net and its losses require of a data set, and which files it may come from. No NumPy here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from netdsl.base.files import is_within
from netdsl.data.errors import BadAugment, OutsideData

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.data.augment import Augment
    from netdsl.data.images import Picture
    from netdsl.data.reader import Dims
    from netdsl.ir.names import Names


class Bounds:
    """`root` is the folder that no path may leave, links followed, and `home` the one whose files may be quoted in
    messages, as a file beside its `.net` file may; None for no limit."""

    __slots__ = ("home", "root")

    def __init__(self, root: str | None = None, home: str | None = None) -> None:
        self.root = None if root is None else os.path.realpath(root)
        self.home = None if home is None else os.path.realpath(home)

    def check(self, path: str) -> None:
        """Raise OutsideData where a path leads out of the root."""
        if self.root is not None and not is_within(self.root, path):
            raise OutsideData(
                f"{path} is outside the root, {self.root}",
                "`--root DIR` sets the folder that must contain the files of a net, including its data",
            )

    def quotes(self, path: str) -> bool:
        return self.home is None or is_within(self.home, path)


class Target:
    """What an output is compared with, for each example.

    `class`: an integer from 0 to `classes` - 1, int64. `value`: numbers of the shape, float32. `sign`: -1 or 1,
    float32, also accepted as 0 and 1. Labels can have a shape too, such as one per pixel.
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


class DataSpec:
    """What a net and its losses want of a data set: the inputs' shapes (without the batch) and types, and the targets.

    `pictures` says how an input frames pictures. `names`, with those of outputs by target, are what classes and columns
    are matched with, as a validation set's are with training's; None for the data that define them. `augment` will
    change the examples, which may be larger than the input before. `threads` decode pictures. `bounds` says which files
    are read, and quoted.
    """

    __slots__ = ("augment", "bounds", "inputs", "names", "pictures", "targets", "threads")

    def __init__(
        self,
        inputs: Mapping[str, tuple[Dims, str]],
        targets: Mapping[str, Target],
        *,
        pictures: Mapping[str, Picture] | None = None,
        names: Names | None = None,
        augment: Augment | None = None,
        threads: int | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        assert not inputs.keys() & targets.keys(), "an input and a target of the same name"
        self.inputs = dict(inputs)
        self.targets = dict(targets)
        self.pictures = dict(pictures or {})
        self.names = names
        self.bounds = bounds or Bounds()
        self.augment = augment
        self.threads = threads

    def example(self, name: str) -> Dims:
        """Return the shape of an input's examples before augmentation."""
        shape, dtype = self.inputs[name]
        pictured = any(len(shape) == 3 for shape, _ in self.inputs.values())
        if self.augment is not None and any(step.pictures for step in self.augment.steps) and not pictured:
            raise BadAugment("augmentations need an image input, [channels, height, width], but the net has none")
        return self.augment.source(shape, dtype) if self.augment is not None else shape
