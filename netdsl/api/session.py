"""The class Session: run a compiled net."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.backend.session import WrongFeed
from netdsl.base.shape import format_shape
from netdsl.ir.names import read_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from netdsl.api.parts import Value
    from netdsl.backend import session
    from netdsl.backend.session import Array


class Session:
    """A compiled net in onnxruntime, as returned by `net.session()`.

    Call it with one array per input, by name; it returns all outputs by name. Several threads can call it at once.

    ```python
    >>> import numpy
    >>> session = netdsl.load("xor").session()
    >>> session(x=numpy.zeros((2, 2)))["output"].shape
    (2, 1)

    ```
    """

    __slots__ = ("_session", "inputs", "outputs")

    def __init__(self, runtime: session.Session, inputs: Mapping[str, Value], outputs: Mapping[str, Value]) -> None:
        self._session = runtime
        self.inputs = dict(inputs)
        self.outputs = dict(outputs)

    @property
    def provider(self) -> str:
        """The execution provider: `cpu`, `cuda`, …"""
        return self._session.provider

    @property
    def fallback(self) -> str:
        """A description of the nodes that the provider leaves to the CPU; empty if there are none."""
        return self._session.fallback

    @property
    def class_names(self) -> dict[str, tuple[str, ...]]:
        """The class names in order, by output, from the weight file or the training; empty if unknown."""
        inputs, outputs = (
            {name: tensor.shape[1:] for name, tensor in part.items()}
            for part in (self._session.inputs, self._session.outputs)
        )
        return dict(read_names(self._session.metadata, self._session.name, inputs, outputs).classes)

    def __call__(self, /, **inputs: ArrayLike) -> dict[str, Array]:
        """Run the net on a batch, and return all outputs by name. The first axis of each array is the batch.

        Values are converted to the type of the input: any type to a float, integers to another integer type if they are
        in its range, and floats never to integers. Raises UserError for missing inputs and unsuitable arrays.
        """
        return self._session.run({name: self._array(name, given) for name, given in inputs.items()})

    def _array(self, name: str, given: ArrayLike) -> Array:
        from netdsl.data.column import ArrayReader, as_array

        wanted = self._session.inputs.get(name)
        array = as_array(given, name)
        if wanted is None:
            return array  # `run` reports unknown names
        given_type = f"{array.dtype.name} {format_shape(array.shape)}"
        if array.ndim == len(wanted.shape) - 1:
            raise WrongFeed(
                f"input `{name}` got {given_type}, but the first axis must be the batch",
                f"one example is a batch of 1: `{name}[None]`",
            )
        if array.ndim != len(wanted.shape):
            raise WrongFeed(f"input `{name}` requires {wanted.description}, but got {given_type}")
        return ArrayReader(name, array, wanted.dtype).whole

    def __repr__(self) -> str:
        return f"<session of {self._session.name} on {self.provider}>"
