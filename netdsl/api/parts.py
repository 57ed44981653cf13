"""What a net consists of, as a program sees it: layers, inputs and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import elements

if TYPE_CHECKING:
    from netdsl.ir.net import Node, Parameter

    Shape = tuple[int | str, ...]

DTYPES = {"f16": "float16", "f32": "float32", "u8": "uint8", "i64": "int64"}
"""Element types of inputs and outputs: the language's names, and NumPy's."""


class Value:
    """An input or output: `shape` is one example's, with a formula (a str) where a size is known only at run time."""

    __slots__ = ("dtype", "name", "shape")

    def __init__(self, name: str, node: Node, dtype: str) -> None:
        self.name = name
        self.shape = _shape(node)
        self.dtype = DTYPES[dtype]

    def __repr__(self) -> str:
        return f"<{self.name}: {self.dtype} {spelled(self.shape)}>"


class Layer:
    """A layer of a net: `name` is its path (`layer3.0.conv2`), `kind` the word for it (`conv`).

    `shape` is its result's, without the batch; `inputs` are the layers that it reads, by name; `place` is where it is
    written, `resnet.net:14:3`. `arguments` are the values of all, given or by default; `parameters` are its weights by
    its own words for them.
    """

    __slots__ = ("_node",)

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def name(self) -> str:
        return self._node.name

    @property
    def kind(self) -> str:
        return self._node.layer.kind

    @property
    def shape(self) -> Shape:
        return _shape(self._node)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple([node.name for node in self._node.inputs])

    @property
    def arguments(self) -> dict[str, object]:
        return {name: getattr(self._node.layer, name) for name in self._node.layer.arguments}

    @property
    def parameters(self) -> dict[str, Parameter]:
        return dict(self._node.parameters)

    @property
    def place(self) -> str:
        return str(self._node.span)

    @property
    def cells(self) -> tuple[str, ...]:
        """Its row in a notebook's table."""
        count = sum(elements(p.shape) for p in self.parameters.values() if not p.buffer)
        return self.name, self.kind, spelled(self.shape), f"{count:,}", self.place

    def __repr__(self) -> str:
        return f"<{self.name}: {self.kind} {spelled(self.shape)}>"


def spelled(shape: Shape) -> str:
    """`64x56x56`; with sizes in it that are not known `[64, H, W//2]`."""
    sizes = list(map(str, shape))
    return "x".join(sizes) if all(isinstance(size, int) for size in shape) else f"[{', '.join(sizes)}]"


def _shape(node: Node) -> Shape:
    return tuple([size if isinstance(size, int) else str(size) for size in node.shape])
