"""Requirements of a net and its losses on a data set, and the files that it may come from. Imports no NumPy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from netdsl.base.files import is_within
from netdsl.data.errors import BadAugment, NoSuchTarget, OutsideData

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from netdsl.data.augment import Augment
    from netdsl.data.picture import Picture
    from netdsl.data.reader import Dims
    from netdsl.ir.names import Names


class Bounds:
    """Limits on the files that a net may read.

    `root`: the folder that must contain all data, after links are resolved (`--root`). `home`: the folder whose files
    may be quoted in messages, usually that of the `.net` file. None means no limit.
    """

    __slots__ = ("home", "root")

    def __init__(self, root: str | None = None, home: str | None = None) -> None:
        self.root = None if root is None else os.path.realpath(root)
        self.home = None if home is None else os.path.realpath(home)

    def check(self, path: str) -> None:
        """Raise OutsideData if a path leads outside the root."""
        if self.root is not None and not is_within(self.root, path):
            raise OutsideData(
                f"{path} is outside the root, {self.root}",
                "`--root DIR` sets the folder that must contain the files of a net, including its data",
            )

    def quotes(self, path: str) -> bool:
        """Return whether messages may quote the contents of a file."""
        return self.home is None or is_within(self.home, path)


class Target:
    """The target of a loss for each example.

    Kinds: `class`, an integer from 0 to `classes` - 1, or `ignore`, int64; `value`, numbers of the given shape,
    float32; `sign`, -1 or 1, float32 (0 and 1 in files are accepted); `sequence`, integers from 0 to `classes` - 1
    except `blank`, padded with -1 at the end, int64. Labels can have a shape too, such as one per pixel. That of a
    sequence is the length of the longest, or empty if any length is accepted.
    """

    __slots__ = ("blank", "classes", "ignore", "kind", "name", "shape")

    def __init__(
        self,
        name: str,
        kind: str,
        *,
        classes: int | None = None,
        shape: Dims = (),
        ignore: int | None = None,
        blank: int | None = None,
    ) -> None:
        assert kind in ("class", "value", "sign", "sequence"), kind
        assert (classes is not None) == (kind in ("class", "sequence"))
        self.name = name
        self.kind = kind
        self.classes = classes
        self.ignore = ignore
        self.blank = blank
        self.shape = shape

    @property
    def dtype(self) -> str:
        return "int64" if self.kind in ("class", "sequence") else "float32"


class DataSpec:
    """Requirements of a net and its losses on a data set.

    `inputs`: shape (without the batch) and element type by input. `targets`: the targets by name. `pictures`: how
    images are preprocessed, by input. `names`: names of classes (by target) and columns to match the data with, or None
    if the data define them, as training data do. `augment`: augmentations applied later; before a crop, examples may be
    larger than the input. `threads`: number of threads that decode images. `bounds`: files that may be read and quoted.
    `untargeted`: names of targets that losses without one would have.
    """

    __slots__ = ("augment", "bounds", "inputs", "names", "pictures", "targets", "threads", "untargeted")

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
        untargeted: Collection[str] = (),
    ) -> None:
        assert not inputs.keys() & targets.keys(), "an input and a target of the same name"
        self.inputs = dict(inputs)
        self.targets = dict(targets)
        self.pictures = dict(pictures or {})
        self.names = names
        self.bounds = bounds or Bounds()
        self.augment = augment
        self.threads = threads
        self.untargeted = frozenset(untargeted)

    def refuse_untargeted(self, names: Iterable[str], what: str) -> None:
        """Raise NoSuchTarget if data have a target of an output whose loss reads none."""
        for name in sorted(self.untargeted.intersection(names)):
            raise NoSuchTarget(
                f"{what} has `{name}`, but the loss of this output is `mean`, which reads no target",
                "leave it out, or choose a loss that compares the output with it, such as `mse`",
            )

    def _has(self, augmentation: str) -> bool:
        return self.augment is not None and any(step.kind == augmentation for step in self.augment.steps)

    def example(self, name: str) -> Dims:
        """Return the shape of an input's examples before augmentation."""
        shape, _ = self.inputs[name]
        pictured = any(len(shape) == 3 for shape, _ in self.inputs.values())
        if self.augment is not None and any(step.pictures for step in self.augment.steps) and not pictured:
            raise BadAugment("augmentations need an image input, [channels, height, width], but the net has none")
        if name in self.pictures and self.pictures[name].normalizes and self._has("fgsm"):
            raise BadAugment(
                f"`fgsm` changes inputs in pixels, but `{name}` is normalized by `mean` and `std` before the net",
                "normalize in the net instead: the layer `normalize mean [...] std [...]`",
            )
        return self.augment.source(shape) if self.augment is not None else shape
