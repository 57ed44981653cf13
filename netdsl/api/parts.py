"""The parts of a net in Python: layers, inputs and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.dtypes import NUMPY_NAMES
from netdsl.base.shape import format_shape

if TYPE_CHECKING:
    from netdsl.ir.net import Node, Parameter

    Shape = tuple[int | str, ...]


class Value:
    """An input or output. `shape` is that of one example; a size known only at run time is a formula (str)."""

    __slots__ = ("dtype", "name", "shape")

    def __init__(self, name: str, node: Node, dtype: str) -> None:
        self.name = name
        self.shape = _shape(node)
        self.dtype = NUMPY_NAMES[dtype]

    def __repr__(self) -> str:
        return f"<{self.name}: {self.dtype} {format_shape(self.shape)}>"


class Layer:
    """A layer of a net.

    - `name`: its path, `layer3.0.conv2`.
    - `kind`: its name in the language, `conv`.
    - `shape`: the shape of its result for one example.
    - `inputs`: the names of the layers that it reads.
    - `arguments`: all arguments by name, including defaults.
    - `parameters`: its weights by their names in the layer: `weight`, `bias`.
    - `place`: its source location, `resnet.net:14:3`.
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

    def __repr__(self) -> str:
        return f"<{self.name}: {self.kind} {format_shape(self.shape)}>"


def _shape(node: Node) -> Shape:
    return tuple([size if isinstance(size, int) else str(size) for size in node.shape])
