"""The kinds of data that a `train` block can name, as declarations. NumPy and readers are imported on opening."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from netdsl.base.shape import Size, elements, format_shape
from netdsl.data.spec import DataSpec
from netdsl.declare.arguments import Character, Choice, Integer, Path, Real, Sequence, Text, Texts
from netdsl.declare.declared import Declared, keyword, positional, registrar
from netdsl.diagnostics.argument_problems import Contradiction
from netdsl.diagnostics.problem import Misfit

if TYPE_CHECKING:
    from collections import abc
    from typing import Self

    from netdsl.base.shape import Shape
    from netdsl.data.dataset import Dataset
    from netdsl.losses import Target

KINDS: dict[str, type[DataKind]] = {}
"""The kinds of data by their names in the language."""

data = registrar(KINDS)


NO_SEQUENCES = "has no sequences of symbols as targets, as `npz` and `npy` have"
UNREAD_TARGET = "has a target, which no loss of the net reads; `npz` can have the inputs alone"


class DataKind(Declared):
    """A source of examples: files, or a generator. The docstring of a subclass describes what is read and how."""

    single: ClassVar[bool] = True
    """Whether the data have one input and one target."""
    labelled: ClassVar[bool] = False
    """Whether the target is one class number per example."""
    sequences: ClassVar[bool] = False
    """Whether the target can be a sequence of symbols."""
    untargeted: ClassVar[bool] = False
    """Whether the inputs can be read without the target, if no loss needs one."""

    @property
    def raw(self) -> bool:
        """Whether examples are images with values from 0 to 255."""
        return False

    @property
    def sizes(self) -> Shape:
        """The sizes of the last axes of an example, as far as they are known without opening the data."""
        return ()

    def filled(self, shape: Shape) -> Shape | None:
        """Return a shape with the examples' sizes in place of unknown ones; None if these do not suffice."""
        first = len(shape) - len(self.sizes)
        found = [
            self.sizes[at - first] if isinstance(size, Size) and at >= first else size for at, size in enumerate(shape)
        ]
        return None if any(isinstance(size, Size) for size in found) else tuple(found)

    def misfit(self, inputs: abc.Sequence[Shape], targets: abc.Sequence[Target]) -> str:
        """Return why data of this kind cannot fit inputs and targets of these shapes, as a clause for a message, or an
        empty string if they can."""
        if self.untargeted and not targets and (len(inputs) == 1 or not self.single):
            return ""
        if not targets and len(inputs) == 1:
            return UNREAD_TARGET
        if self.single and (len(inputs), len(targets)) != (1, 1):
            return f"has one input and one target, but the net has {len(inputs)} and {len(targets)}"
        if not self.sequences and any(target.kind == "sequence" for target in targets):
            return NO_SEQUENCES
        if self.labelled and any(size != 1 for size in targets[0].shape):
            return f"has one label for each example, and the loss needs {format_shape(targets[0].shape)}"
        return ""

    def equals(self, other: DataKind) -> bool:
        """Return whether other data have the same arguments."""
        return type(other) is type(self) and all(getattr(self, name) == getattr(other, name) for name in self.arguments)

    @classmethod
    def paths(cls) -> tuple[str, ...]:
        """Return the names of the arguments that are paths, in order."""
        return tuple(name for name, argument in cls.arguments.items() if isinstance(argument.kind, Path))

    def within(self, folder: str) -> Self:
        """Return a copy whose relative paths start from this folder."""
        values = {name: getattr(self, name) for name in self.arguments}
        return type(self)(**values | {name: os.path.join(folder, values[name]) for name in self.paths()})

    def open(self, wanted: DataSpec) -> Dataset:
        """Return the examples, checked. Raises a UserError if they do not fit the net."""
        raise NotImplementedError


@data("mnist")
class Mnist(DataKind):
    """MNIST and similar data sets: four idx files, gzipped or not, with the usual names `train-images-idx3-ubyte`,
    `train-labels-idx1-ubyte`, and `t10k-…` for the test split.

    Source: http://yann.lecun.com/exdb/mnist/; Fashion-MNIST and KMNIST use the same names.
    """

    folder: str = positional(Path(), doc="folder with the files")
    split: str = keyword(Choice("train", "test"), "train", doc="split to read")
    labelled = raw = untargeted = True
    sizes = 28, 28

    def open(self, wanted: DataSpec) -> Dataset:
        from netdsl.data.sources import open_mnist

        return open_mnist(self.folder, self.split, wanted)


@data("idx")
class Idx(DataKind):
    """Two idx files, gzipped or not: images (or any numbers) and labels. Uncompressed files are memory-mapped."""

    images: str = positional(Path(), doc="file with the inputs")
    labels: str = positional(Path(), doc="file with the targets")
    raw = untargeted = True

    def open(self, wanted: DataSpec) -> Dataset:
        from netdsl.data.sources import open_idx_pair

        return open_idx_pair(self.images, self.labels, wanted)


class Cifar(DataKind):
    """A data set of the CIFAR family, in the binary version or in that for Python."""

    folder: str = positional(Path(), doc="folder with the files, or with the unpacked folder of the archive")
    split: str = keyword(Choice("train", "test"), "train", doc="split to read")
    labelled = raw = untargeted = True
    sizes = 3, 32, 32

    def misfit(self, inputs: abc.Sequence[Shape], targets: abc.Sequence[Target]) -> str:
        found = super().misfit(inputs, targets)
        if not found and (len(inputs[0]) != 3 or inputs[0][0] != 3):
            return f"has images of 3x32x32, but the input is {format_shape(inputs[0])}"
        return found

    def open(self, wanted: DataSpec) -> Dataset:
        from netdsl.data.cifar import VERSIONS, open_cifar

        return open_cifar(self.folder, self.split, VERSIONS[self.kind], wanted)


@data("cifar10")
class Cifar10(Cifar):
    """CIFAR-10: 50,000 images of 3x32x32 for training and 10,000 for testing, in 10 named classes. The archive must be
    unpacked: `tar -xzf cifar-10-binary.tar.gz` (`data_batch_1.bin`, …, `test_batch.bin`, `batches.meta.txt`) or
    `tar -xzf cifar-10-python.tar.gz` (the same names without `.bin` and `.txt`). The latter are pickles: nothing in
    them is run, and anything but dictionaries, lists, numbers, text and arrays of bytes is refused.

    Source: Krizhevsky (2009), Learning multiple layers of features from tiny images;
    https://www.cs.toronto.edu/~kriz/cifar.html.
    """


@data("cifar100")
class Cifar100(Cifar):
    """CIFAR-100: like `cifar10`, with 100 classes, the "fine" labels. Files: `train.bin`, `test.bin` and
    `fine_label_names.txt`, or `train`, `test` and `meta`, which are pickles.

    Source: Krizhevsky (2009), Learning multiple layers of features from tiny images;
    https://www.cs.toronto.edu/~kriz/cifar.html.
    """


@data("npz")
class Npz(DataKind):
    """NumPy archive with an array for each input, named after it, and for each target, named after its output. A single
    input may be named `x`, a single target `target` or `y`. Uncompressed arrays are memory-mapped.

    An array of strings, `target_names` for the array `target`, names the classes in order, or the symbols of `ctc`,
    with or without the blank.
    """

    single = False
    sequences = untargeted = True
    file: str = positional(Path(), doc="archive file")

    def open(self, wanted: DataSpec) -> Dataset:
        from netdsl.data.sources import open_npz_set

        return open_npz_set(self.file, wanted)


@data("npy")
class Npy(DataKind):
    """Two NumPy files, inputs and targets, memory-mapped."""

    x: str = positional(Path(), doc="file with the inputs")
    y: str = positional(Path(), doc="file with the targets")
    sequences = True

    def open(self, wanted: DataSpec) -> Dataset:
        from netdsl.data.sources import open_npy_pair

        return open_npy_pair(self.x, self.y, wanted)


def _misfit_of_images(shape: Shape) -> str:
    """Return why image files cannot fit an input of this shape; empty if they can."""
    fits = len(shape) == 3 and shape[0] in (1, 3)
    return "" if fits else f"has images with 1 or 3 channels, but the input is {format_shape(shape)}"


class TableKind(DataKind):
    """A table with named columns, some of which are the targets."""

    file: str
    target: tuple[str, ...] = keyword(Texts(), doc="target column, or a list of them")
    image: str | None = keyword(Text(), None, doc="column with the paths of images, relative to the table's folder")
    single = False

    @property
    def raw(self) -> bool:
        return self.image is not None

    def misfit(self, inputs: abc.Sequence[Shape], targets: abc.Sequence[Target]) -> str:
        if any(target.kind == "sequence" for target in targets):
            return NO_SEQUENCES
        if not targets:
            return UNREAD_TARGET
        named = f"names {len(self.target)} column{'s' * (len(self.target) > 1)}"
        if len(targets) not in (1, len(self.target)):
            return f"{named} as targets, and the net has {len(targets)} targets"
        if len(targets) == 1 and elements(targets[0].shape) != len(self.target):
            return f"{named} as the target, and the loss needs {format_shape(targets[0].shape)}"
        if self.image is not None and len(inputs) != 1:
            return f"has images for one input, but the net has {len(inputs)}"
        return _misfit_of_images(inputs[0]) if self.image is not None else ""

    def open(self, wanted: DataSpec) -> Dataset:
        from netdsl.data.table import open_table_data

        separator = getattr(self, "separator", None)
        return open_table_data(self.file, self.target, self.image, separator, wanted)


@data("csv")
class Csv(TableKind):
    """Table in a text file with column names in the first row. `target` names the target column; the other columns, in
    order, are the numbers of the input. Classes may be words, which are numbered in sorted order; there must be as many
    as the net has classes. Other tables for the same net, in `validate` and `netdsl eval`, are matched by column name:
    the order may differ, but the columns must be the same, and their classes must occur in the training table.

    With `image`, the inputs are image files: `data csv "train.csv" image "file" target "label"`. Their paths are
    relative to the folder of the table, and columns other than these are ignored. Images are preprocessed as those of
    `folder` are.

    Quoting follows RFC 4180. The separator is `,`, `;` or a tab, whichever splits the header best.
    Source: RFC 4180.
    """

    file: str = positional(Path(), doc="table file")
    separator: str | None = keyword(Character(), None, doc="column separator; by default, detected")


@data("parquet")
class Parquet(TableKind):
    """Table in a Parquet file, used in the same way as that of `csv`, and with the same meaning of `image`. Columns are
    integers, floating-point numbers, booleans or strings; a null is an empty cell, which is an error. Requires pyarrow:
    `pip install 'netdsl[parquet]'`.

    Source: https://parquet.apache.org/docs/file-format/.
    """

    file: str = positional(Path(), doc="table file")


@data("folder")
class Folder(DataKind):
    """Folder with a subfolder of images for each class; classes are numbered in the sorted order of their names. Other
    folders for the same net, in `validate` and `netdsl eval`, are matched by class name and may lack some classes.
    Images are resized and cropped as `resize` and `crop` of the input specify, and decoded ahead of time by several
    threads.
    """

    folder: str = positional(Path(), doc="folder with the class folders")
    labelled = raw = untargeted = True

    def misfit(self, inputs: abc.Sequence[Shape], targets: abc.Sequence[Target]) -> str:
        return super().misfit(inputs, targets) or _misfit_of_images(inputs[0])

    def open(self, wanted: DataSpec) -> Dataset:
        from netdsl.data.image_folder import open_folder

        return open_folder(self.folder, wanted)


class Part(Sequence[float]):
    """Two fractions, the lower first."""

    def __init__(self) -> None:
        super().__init__(Real(0, maximum=1))
        self.expected = "two fractions from 0 to 1, the lower first, such as `[0, 0.9]`"

    def convert(self, value: object) -> tuple[float, float]:
        found = super().convert(value)
        if len(found) != 2 or found[0] >= found[1]:
            raise self._misfit()
        return found[0], found[1]


@data("text")
class TextFile(DataKind):
    """Windows of `length` symbols of a text, one after the other; the target of each symbol is the next one. An output
    of [K] instead of [K, length] has the symbol after the window as its target. Inputs are numbers of symbols, i64.

    With `level byte`, symbols are the bytes of the file, and their numbers are their values. With `level character`,
    the file is UTF-8, and symbols are its characters, numbered in the order of their code points; there must be as many
    as the net has classes. Other texts for the same net, in `validate` and `netdsl eval`, are matched by character. The
    characters are stored as the names of the classes, in order; those of 256 bytes are printable ASCII characters and
    `\\x0a` for others.

    `part [0, 0.9]` reads the first nine tenths of the symbols, so that `part [0.9, 1]` can be the validation data;
    characters are those of the whole file.
    Source: Karpathy (2015), The unreasonable effectiveness of recurrent neural networks.
    """

    file: str = positional(Path(), doc="text file")
    length: int | None = keyword(Integer(), None, doc="number of symbols in a window (default: that of the input)")
    level: str = keyword(Choice("byte", "character"), "byte", doc="what a symbol is")
    part: tuple[float, float] = keyword(Part(), (0.0, 1.0), doc="where the symbols to read begin and end")

    @property
    def sizes(self) -> Shape:
        return () if self.length is None else (self.length,)

    def misfit(self, inputs: abc.Sequence[Shape], targets: abc.Sequence[Target]) -> str:
        if found := super().misfit(inputs, targets):
            return found
        window = inputs[0] if self.length is None else (self.length,)
        if len(inputs[0]) != 1 or inputs[0] != window:
            length = f"{self.length} " if self.length is not None else ""
            return f"has windows of {length}symbols, but the input is {format_shape(inputs[0])}"
        if targets[0].kind != "class" or targets[0].shape not in ((), window):
            count = format_shape(window)
            return f"has a class for each of {count} symbols, or one, as the target, and the loss needs others"
        return ""

    def overlaps(self, other: TextFile) -> bool:
        """Return whether another part of the same file has symbols of this one."""
        (begin, end), (first, last) = self.part, other.part
        return self.file == other.file and max(begin, first) < min(end, last)

    def open(self, wanted: DataSpec) -> Dataset:
        from netdsl.data.text_windows import open_text

        return open_text(self.file, self.length, self.level, self.part, wanted)


class Generated(DataKind):
    """Synthetic examples, equal for equal arguments."""

    labelled = True
    n: int
    seed: int = keyword(Integer(0), 0, doc="random seed")

    def open(self, wanted: DataSpec) -> Dataset:
        from netdsl.data import generated

        values = {name: getattr(self, name) for name in self.arguments}
        made: Dataset = getattr(generated, f"open_{self.kind}")(wanted, **values)
        return made


@data("xor")
class Xor(Generated):
    """Exclusive or: the four corners of the unit square, with class 1 where exactly one coordinate is 1. `n` examples
    cycle through the corners; `noise` adds Gaussian noise with this standard deviation.

    Source: Minsky & Papert (1969), Perceptrons: no single threshold unit separates the two classes.
    """

    n: int = keyword(Integer(4), 4, doc="number of examples")
    noise: float = keyword(Real(0), 0.0, doc="standard deviation of the noise")

    def misfit(self, inputs: abc.Sequence[Shape], targets: abc.Sequence[Target]) -> str:
        found = super().misfit(inputs, targets)
        if not found and elements(inputs[0]) != 2:
            return f"has examples of 2 numbers, but the input is {format_shape(inputs[0])}"
        return found


@data("clouds")
class Clouds(Generated):
    """Two linearly separable classes in a ball of radius R, separated by a hyperplane through the origin with margin γ.

    With a random unit normal w, an example of sign s is s t w + v inside the ball, with t >= γ and v orthogonal to w;
    classes alternate. The first two examples are ±γ w, so that no separating hyperplane has a larger margin than γ; the
    third lies on the sphere. The perceptron then makes at most (R/γ)² mistakes.
    Source: Novikoff (1962), On convergence proofs on perceptrons.
    """

    n: int = keyword(Integer(3), 200, doc="number of examples")
    margin: float = keyword(Real(above=0), 0.1, doc="γ, the distance from the hyperplane to the nearest example")
    radius: float = keyword(Real(above=0), 1.0, doc="R, the largest distance of an example from the origin")

    def validate(self) -> None:
        if self.margin > self.radius:
            what = f"the margin {self.margin:g} of `clouds` is larger than the radius {self.radius:g}"
            raise Misfit(Contradiction, at="margin", what=what, here="no example can lie this far from the hyperplane")


class GeneratedImages(Generated):
    """Synthetic images with one channel and at least `least` pixels along each axis."""

    least: ClassVar[int]

    def misfit(self, inputs: abc.Sequence[Shape], targets: abc.Sequence[Target]) -> str:
        found = super().misfit(inputs, targets)
        sizes = [size for size in (inputs[0] if inputs else ()) if size != 1]
        if not found and (len(sizes) != 2 or any(isinstance(size, int) and size < self.least for size in sizes)):
            least = f"{self.least}x{self.least}"
            return (
                f"has images with one channel and at least {least} pixels, but the input is {format_shape(inputs[0])}"
            )
        return found


@data("connectedness")
class Connectedness(GeneratedImages):
    """Small black-and-white images of figures, with class 1 if the figure is connected and 0 if it has two parts.
    Classes alternate, and figures of both classes have the same areas. Pixels are connected if they share an edge; the
    two parts of a figure do not touch at corners either.

    Source: Minsky & Papert (1969), Perceptrons, chapter 5: no perceptron of bounded order decides it.
    """

    n: int = keyword(Integer(2), 1000, doc="number of examples")
    least = 4


@data("shapes")
class Shapes(GeneratedImages):
    """Grayscale images of bright shapes on a dark background: a circle, a square and a triangle in turn, which are the
    classes. Size, position and rotation are random; `noise` adds Gaussian noise with this standard deviation, as a
    fraction of the range. Pixels are bytes, as in `mnist`.
    """

    n: int = keyword(Integer(3), 3000, doc="number of examples")
    noise: float = keyword(Real(0), 0.1, doc="standard deviation of the noise")
    least = 8
    raw = True


__all__ = ["KINDS", "DataKind"]
