"""The class Session: run a compiled net."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from netdsl.api.errors import in_python, warn
from netdsl.api.options import LARGEST, between, expect_keywords
from netdsl.backend.session import WrongFeed
from netdsl.base.shape import format_shape
from netdsl.data.errors import NoExamples

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Unpack

    from netdsl.api.generating import GenerateOptions
    from netdsl.api.parts import Value
    from netdsl.backend import session
    from netdsl.backend.session import Array
    from netdsl.data.reader import Reader


class Session:
    """A compiled net in onnxruntime, as returned by `net.session()`.

    Call it with one array per input, by name; it returns all outputs by name. Several threads can call it at once.

    ```python
    >>> import numpy
    >>> session = netdsl.load("xor").session()
    >>> session(numpy.zeros((2, 2)))["output"].shape
    (2, 1)
    >>> session.predict(numpy.zeros((1000, 2)))["output"].shape
    (1000, 1)

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
        return dict(self._session.names.classes)

    def __call__(self, x: object = None, /, **inputs: object) -> dict[str, Array]:
        """Run the net on a batch, and return all outputs by name. The first axis of each array is the batch.

        The array of an only input needs no name: `session(images)`. Frames of pandas and polars are arrays with a row
        for each example; their columns are matched by name if the net was trained on such. Values are converted to the
        type of the input: any type to a float, integers to another integer type if they are in its range, and floats
        never to integers. Raises UserError for missing inputs and unsuitable arrays.
        """
        return self._session.run(self._arrays(x, inputs))

    def predict(self, x: object = None, /, *, batch: int = 256, **inputs: object) -> dict[str, Array]:
        """Run the net on any number of examples, a `batch` at a time, and return all outputs by name.

        A model with a fixed batch size uses that. Other arguments and errors are those of a call.
        """
        import numpy as np

        from netdsl.app.predict import run_batches

        arrays = self._arrays(x, inputs)
        self._session.check_names(arrays)
        parts = [batch.outputs for batch in run_batches(self._session, *self._readers(arrays, batch))]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def decode(
        self, x: object = None, /, *, batch: int = 256, blank: int | None = None, **inputs: object
    ) -> dict[str, list[list[int]]]:
        """Run a net that was trained with `loss ctc`, and return the symbols of each example, by output.

        They are the best symbol at each place, with repetitions merged and blanks removed; `class_names` has their
        names, if they have any. Places behind the `lengths` of the loss do not count: this input is given by its name,
        `session.decode(x, frames=lengths)`. Without it, all places count, with a UserWarning, unless the model reads it
        too. A model from elsewhere needs the number of its `blank`. Other arguments and errors are those of `predict`.
        Raises UserError also if no output is a sequence, or one contains NaN.
        """
        from netdsl.app.sequences import NoSequences, decode, lengths_of, sequence_readings
        from netdsl.data.column import as_array

        blank = None if blank is None else between("blank", blank, 0, LARGEST)
        with in_python():
            readings = sequence_readings(self._session, blank)
        if not readings:
            raise NoSequences(
                f"{self._session.name} was not trained with `loss ctc`",
                "pass the number of its blank, such as `blank=0`",
            )
        lengths = {}
        for name in lengths_of(readings.values()):
            if name in inputs:
                lengths[name] = as_array(inputs.pop(name), name).reshape(-1, 1)
            elif name not in self._session.inputs:
                warn(f"{self._session.name}: all places are read; to read up to the end of each example, pass {name}=…")
        inputs |= {name: lengths.pop(name) for name in [*lengths] if name in self._session.inputs}
        arrays = self._arrays(x, inputs)
        self._session.check_names(arrays)
        return decode(self._session, *self._readers({**arrays, **lengths}, batch), readings)

    def _readers(self, arrays: Mapping[str, Array], batch: int) -> tuple[dict[str, Reader], int | None]:
        """Return readers of arrays, and the size of the batches, None if the model determines it."""
        from netdsl.data.column import ArrayReader

        size: int | None = between("batch", batch, 1, LARGEST)
        tensors = self._session.inputs
        if any(tensor.shape[0] is not None for tensor in tensors.values()):
            size = None
        types = {name: tensor.dtype for name, tensor in tensors.items()}
        readers: dict[str, Reader] = {
            name: ArrayReader(name, array, types.get(name, "int64")) for name, array in arrays.items()
        }
        if not all(map(len, readers.values())):
            raise NoExamples("there are no examples")
        return readers, size

    @overload
    def generate(self, prompt: str, **options: Unpack[GenerateOptions]) -> str: ...
    @overload
    def generate(self, prompt: Iterable[int], **options: Unpack[GenerateOptions]) -> list[int]: ...
    def generate(self, prompt: str | Iterable[int], **options: Unpack[GenerateOptions]) -> str | list[int]:
        """Return what follows a prompt, like `netdsl generate`: text after a text, token numbers after a list of them.

        The model has one input of token numbers, [L], and an output with a score for each token, [K, L] or [K].
        `length` is the number of tokens to generate (default: 200). With `temperature` 0, the default, each is the one
        with the highest score; otherwise it is drawn from softmax(scores / temperature), with `top_k` only from the
        best ones, by `seed`. At most the last `context` tokens are read. `alphabet` lists the symbols of the tokens, or
        is the path of a JSON file of them (default: the class names of the output, or bytes if it has 256 scores).

        Raises UserError if the model does not score tokens, depends on the padding behind the prompt, or cannot read
        the prompt.
        """
        from netdsl.api.generating import GENERATING, generate

        expect_keywords(options, GENERATING)
        with in_python():
            return generate(self._session, prompt, **options)

    def _arrays(self, x: object, inputs: Mapping[str, object]) -> dict[str, Array]:
        return arrays_of(self._session, x, inputs)

    def __repr__(self) -> str:
        return f"<session of {self._session.name} on {self.provider}>"


def arrays_of(runtime: session.Session, x: object, inputs: Mapping[str, object]) -> dict[str, Array]:
    """Return the array `x` of the only input, or those of `inputs`, converted to the types of a model's inputs. Raises
    UserError."""
    if x is not None:
        if len(runtime.inputs) != 1 or inputs:
            names = ", ".join(f"{name}=…" for name in runtime.inputs)
            raise WrongFeed(f"{runtime.name} takes its inputs by name: {names}")
        inputs = dict.fromkeys(runtime.inputs, x)
    return {name: _array(runtime, name, given) for name, given in inputs.items()}


def _array(runtime: session.Session, name: str, given: object) -> Array:
    from netdsl.data.column import ArrayReader
    from netdsl.data.given import columns_of, frame_array

    wanted = runtime.inputs.get(name)
    trained = runtime.names.columns.get(name, ()) if columns_of(given) else ()
    array = frame_array(given, name, trained)
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
