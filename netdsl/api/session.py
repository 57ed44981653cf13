"""A net that is ready to run."""

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
    """A net on an execution provider. Called with an array for each input, by name, it returns all outputs by name.

    `net.session()` creates one. It can be called from several threads at once.

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
        """The part of the work that the provider leaves to the CPU; empty if none."""
        return self._session.fallback

    @property
    def class_names(self) -> dict[str, tuple[str, ...]]:
        """The names of the classes by output, in their order, as the weights' file or the training has them; empty
        without names."""
        inputs, outputs = (
            {name: tensor.shape[1:] for name, tensor in part.items()}
            for part in (self._session.inputs, self._session.outputs)
        )
        return dict(read_names(self._session.metadata, self._session.name, inputs, outputs).classes)

    def __call__(self, /, **inputs: ArrayLike) -> dict[str, Array]:
        """Return all outputs for one batch. Each array has the batch as its first axis, followed by the input's shape.

        Numbers are converted to the input's type if it can hold them: any type to a float, an integer to another
        integer type that holds it, and a float never to an integer. Raises UserError for inputs that do not fit.
        """
        return self._session.run({name: self._array(name, given) for name, given in inputs.items()})

    def _array(self, name: str, given: ArrayLike) -> Array:
        from netdsl.data.column import ArrayReader, as_array

        wanted = self._session.inputs.get(name)
        array = as_array(given, name)
        if wanted is None:
            return array  # `run` lists the names of the inputs
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
