"""Declarations of image augmentations for training. Imports no NumPy.

The random numbers of an example depend on the seed, the epoch and its index in the data set alone, so that a run
resumed in the middle of an epoch, or with another batch size, sees the same images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from netdsl.data.errors import BadAugment
from netdsl.declare.arguments import Choice, Pair, Real, Sequence, height_width
from netdsl.declare.declared import Declared, keyword, positional, registrar
from netdsl.diagnostics.argument_problems import Contradiction
from netdsl.diagnostics.problem import Misfit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.dtypes import Array
    from netdsl.data.draws import Draws
    from netdsl.data.reader import Dims

AUGMENTATIONS: dict[str, type[Augmentation]] = {}
"""The augmentations by their names in the language."""

augmentation = registrar(AUGMENTATIONS)


class Augmentation(Declared):
    """One augmentation; the computation is in `augmenting`, which needs NumPy."""

    random = True
    """Whether the result depends on random numbers."""
    pictures: ClassVar[bool] = True
    """Whether it needs images, rather than inputs of any shape."""

    def check(self, shape: Dims) -> None:
        """Raise BadAugment if it cannot produce images of this shape."""

    def source(self, shape: Dims) -> Dims:
        """Return the shape of images before it, if `shape` is that after it; None for any size."""
        return shape

    def still(self) -> Augmentation | None:
        """Return the deterministic augmentation that replaces it in evaluation, or None."""
        return None

    def apply(self, x: Array, draws: Draws) -> Array:
        """Return the augmented batch [N, C, H, W], uint8 or floating-point. `draws` provides random numbers per
        image."""
        raise NotImplementedError


class Augment:
    """A sequence of augmentations."""

    __slots__ = ("steps",)

    def __init__(self, steps: Iterable[Augmentation]) -> None:
        self.steps = tuple(steps)

    @property
    def fixed(self) -> Augment:
        """What evaluation applies: the center of the last crop."""
        return Augment([still for step in self.steps if (still := step.still()) is not None][-1:])

    def source(self, shape: Dims) -> Dims:
        """Return the shape of images before all augmentations, if `shape` is that of the input. Raises BadAugment if
        they do not fit."""
        if len(shape) != 3:
            return shape
        for step in reversed(self.steps):
            step.check(shape)
            shape = step.source(shape)
        return shape

    def __call__(self, x: Array, *, seed: int, epoch: int, positions: Array) -> Array:
        """Return the augmented batch [N, C, H, W]; `positions` are the indices of its examples in the data set."""
        from netdsl.data.draws import Draws

        if x.ndim == 4:
            for number, step in enumerate(self.steps):
                x = step.apply(x, Draws(seed, epoch, positions, number))
        return x


class Interval(Sequence[float]):
    """Two numbers, the lower first, or a single number that is both."""

    def __init__(self, item: Real) -> None:
        super().__init__(item)
        self.expected = f"{item.expected}, or two of them, the lower first"

    def convert(self, value: object) -> tuple[float, float]:
        entries = value if isinstance(value, tuple) else (value, value)
        try:
            low, high = super().convert(entries)
        except ValueError:
            raise self._misfit() from None
        if low > high:
            raise self._misfit()
        return low, high


@augmentation("crop")
class Crop(Augmentation):
    """Random crop: `crop pad 4` pads the image and crops it to its original size; `crop 224x224` crops it to this size.

    Shapes: [C, H, W] -> [C, H, W] or [C, *size]. The position is uniformly random.
    Source: Krizhevsky et al. (2012), section 4.1 (`crop 224x224`); Lee et al. (2015) and He et al. (2016), section 4.2
    (`crop pad 4` on CIFAR).
    """

    size: int | tuple[int, ...] | None = positional(Pair(), None, doc="height and width; by default, the input's")
    pad: int | tuple[int, ...] = keyword(Pair(0), 0, doc="pixels added on every side, or `[vertical, horizontal]`")
    fill: str = keyword(Choice("zero", "reflect"), "zero", doc="padding mode")

    def validate(self) -> None:
        if self.size is None and self.pads == (0, 0):
            what = "`crop` needs a size or a `pad`, such as `crop 224x224` or `crop pad 4`"
            raise Misfit(Contradiction, what=what, here="this leaves the picture as it is")

    @property
    def pads(self) -> tuple[int, int]:
        return height_width(self.pad)

    @property
    def sizes(self) -> tuple[int, int] | None:
        return None if self.size is None else height_width(self.size)

    def check(self, shape: Dims) -> None:
        if self.sizes is not None and any(want not in (None, s) for want, s in zip(shape[1:], self.sizes, strict=True)):
            raise BadAugment(
                f"`crop` produces {self.sizes[0]}x{self.sizes[1]}, but the input is {shape[1]}x{shape[2]} "
                "(height x width)"
            )
        for pad, size in zip(self.pads, shape[1:], strict=True) if self.sizes is None else ():
            if size is not None and pad >= size:
                what = "reflects" if self.fill == "reflect" else "adds"
                why = "" if self.fill == "reflect" else ": some crops would show nothing of it"
                raise BadAugment(f"`crop` {what} {pad} pixel{'s' * (pad > 1)} on a side, but the image has {size}{why}")

    def source(self, shape: Dims) -> Dims:
        return shape if self.sizes is None else (shape[0], None, None)

    def still(self) -> Augmentation | None:
        if self.size is None:
            return None
        middle = Crop(size=self.size, pad=0, fill="zero")
        middle.random = False
        return middle

    def apply(self, x: Array, draws: Draws) -> Array:
        from netdsl.data.augmenting import crop

        return crop(x, self.sizes, self.pads, self.fill, draws if self.random else None)


@augmentation("flip")
class Flip(Augmentation):
    """Random flip: the image is mirrored with probability p.

    Shapes: [C, H, W] -> [C, H, W].
    Source: Krizhevsky et al. (2012), section 4.1.
    """

    axis: str = positional(
        Choice("horizontal", "vertical"),
        "horizontal",
        doc="`horizontal` swaps left and right, `vertical` top and bottom",
    )
    p: float = keyword(Real(0, 1), 0.5, doc="probability of a flip")

    def apply(self, x: Array, draws: Draws) -> Array:
        from netdsl.data.augmenting import flip

        return flip(x, 3 if self.axis == "horizontal" else 2, self.p, draws)


@augmentation("rotate")
class Rotate(Augmentation):
    """Random rotation about the center by an angle uniform in [-degrees, degrees]; pixels from outside are 0.

    Shapes: [C, H, W] -> [C, H, W], with bilinear interpolation.
    Source: Simard et al. (2003), Best practices for convolutional neural networks, section 2.
    """

    degrees: float = positional(Real(0, 180), doc="maximum angle")

    def apply(self, x: Array, draws: Draws) -> Array:
        from netdsl.data.augmenting import rotate

        return rotate(x, self.degrees, draws)


@augmentation("erase")
class Erase(Augmentation):
    """Random erasing: with probability p, a random rectangle of the image is filled with `value`.

    Shapes: [C, H, W] -> [C, H, W]. Its fraction of the area is uniform in `area`, its position is uniform, and its
    height / width is log-uniform in `ratio` (uniform in the paper). A rectangle that does not fit is shortened to the
    image (the paper samples again).
    Source: Zhong et al. (2017), Random erasing data augmentation, algorithm 1.
    """

    p: float = keyword(Real(0, 1), 0.5, doc="probability of erasing")
    area: tuple[float, float] = keyword(
        Interval(Real(above=0, maximum=1)), (0.02, 0.4), doc="fraction of the image's area"
    )
    ratio: tuple[float, float] = keyword(Interval(Real(above=0)), (0.3, 1 / 0.3), doc="height / width of the rectangle")
    value: float = keyword(Real(), 0.0, doc="fill value")

    def apply(self, x: Array, draws: Draws) -> Array:
        from netdsl.data.augmenting import erase

        return erase(x, self.p, self.area, self.ratio, self.value, draws)


@augmentation("fgsm")
class Fgsm(Augmentation):
    """Adversarial training (FGSM): `part` of the loss is that of x + epsilon sign(dJ/dx), clipped to [low, high].

    Shapes: any, for floating-point inputs.
    Conventions: J is the sum of the losses. The perturbation is computed within the training step, from the current
    weights; the data and evaluation are unaffected.
    Source: Goodfellow, Shlens & Szegedy (2015), section 6, with part = 0.5.
    """

    epsilon: float = positional(Real(0, 1), doc="change of each pixel, as a fraction of the range")
    part: float = keyword(Real(0, 1), 0.5, doc="weight of the adversarial loss")
    low: float = keyword(Real(-1e38, 1e38), 0.0, doc="minimum pixel value (black)")
    high: float = keyword(Real(-1e38, 1e38), 255.0, doc="maximum pixel value (white)")

    random = False
    pictures = False

    def validate(self) -> None:
        if self.low >= self.high:
            what = f"`low` of `fgsm` is {self.low:g}, which is not below `high`, {self.high:g}"
            raise Misfit(Contradiction, at="low" if "low" in self.spans else "high", what=what)

    def apply(self, x: Array, draws: Draws) -> Array:
        return x


__all__ = ["AUGMENTATIONS", "Augment", "Augmentation", "Fgsm"]
