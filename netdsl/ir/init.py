"""Weight initializers as data; `netdsl.weights.draw` samples them."""

from __future__ import annotations


class Init:
    """A distribution of initial weights, such as `he_normal` or `normal(0.01)`."""

    __slots__ = ("arguments", "name")

    def __init__(self, name: str, *arguments: float) -> None:
        self.name = name
        self.arguments = arguments

    def wanted(self, shape: tuple[int, ...]) -> str:
        """Return the axes that a weight must have for this distribution; empty if this shape fits."""
        if self.name == "sinusoid" and len(shape) != 2:
            return "a table of two axes, positions and channels"
        if self.name == "bilinear" and (len(shape) < 3 or (shape[0] != shape[1] and shape[1] != 1)):
            return "a kernel with spatial axes that leads from each channel to itself"
        return ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Init) and (self.name, self.arguments) == (other.name, other.arguments)

    def __hash__(self) -> int:
        return hash((self.name, self.arguments))

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{a:g}' for a in self.arguments)})" if self.arguments else self.name

    __repr__ = __str__


ARITY = {
    "he_normal": 0,
    "he_uniform": 0,
    "xavier_normal": 0,
    "xavier_uniform": 0,
    "trunc_normal": 1,
    "normal": 1,
    "uniform": 2,
    "constant": 1,
    "zeros": 0,
    "ones": 0,
    "orthogonal": 0,
    "sinusoid": 0,
    "bilinear": 0,
}
"""Number of arguments of each initializer: `normal(s)`, `trunc_normal(s)`, `uniform(lo, hi)`, `constant(c)`."""

zeros = Init("zeros")
ones = Init("ones")
he_normal = Init("he_normal")
