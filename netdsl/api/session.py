"""A net that is ready to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.backend.session import WrongFeed
from netdsl.ir.names import read_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from netdsl.api.parts import Value
    from netdsl.backend import session
    from netdsl.backend.session import Array


class Session:
    """A net on a provider: called with an array for each input, by its name, it gives all outputs by theirs.

    `net.session()` makes one. It may be called from several threads at once.

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
        """What the provider leaves to the CPU; empty if nothing."""
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
        """All outputs for one batch. Each array has the batch as its first axis, and then the input's shape.

        Numbers become the input's type if that keeps them: any may become a float, an integer another integer that
        holds it, and a float never an integer. Raises UserError for inputs that do not fit.
        """
        return self._session.run({name: self._array(name, given) for name, given in inputs.items()})

    def _array(self, name: str, given: ArrayLike) -> Array:
        from netdsl.data.column import ArrayReader, as_array

        wanted = self._session.inputs.get(name)
        array = as_array(given, name)
        if wanted is None:
            return array  # `run` tells what the inputs are called
        if array.ndim == len(wanted.shape) - 1:
            raise WrongFeed(
                f"input `{name}` is given {_spelled(array)}, without a batch as the first axis",
                f"one example is a batch of 1: `{name}[None]`",
            )
        if array.ndim != len(wanted.shape):
            raise WrongFeed(f"input `{name}` takes {wanted.spelled}, and is given {_spelled(array)}")
        return ArrayReader(name, array, wanted.dtype).whole

    def __repr__(self) -> str:
        return f"<session of {self._session.name} on {self.provider}>"


def _spelled(array: Array) -> str:
    return f"{array.dtype.name} {'x'.join(map(str, array.shape)) or 'a single number'}"
