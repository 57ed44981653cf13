"""The shown net as an ONNX model, and its outputs for one example."""

from __future__ import annotations

import os
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any

from netdsl.app.given_weights import WeightSource, given_weights, note_random
from netdsl.app.reporter import Reporter
from netdsl.base.user_error import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.app.scores import Reading
    from netdsl.backend.session import Array, Session
    from netdsl.ir.net import Net

    Json = dict[str, Any]

RANDOM = WeightSource()
MAX_IMAGE = 5_600_000
"""Maximum number of characters of an image in base64."""
TOP = 5
"""Number of classes that are listed."""


class Notes(Reporter):
    """Keeps reports for the page."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, *lines: str) -> None:
        self.lines += lines


class Models:
    """Compiles nets with the weights of the command. The session of the newest net that ran is kept."""

    def __init__(self, weights: WeightSource, seed: int) -> None:
        self.weights = weights
        self.seed = seed
        self._lock = Lock()
        self._ran: tuple[Net, Session, Mapping[str, Reading], list[str]] | None = None

    def model(self, net: Net, notes: Notes | None = None) -> bytes:
        """Return the net as an ONNX model. Raises UserError."""
        from netdsl.backend.compile import CompileOptions, compile_to_bytes

        reporter = notes or Notes()
        weights = given_weights(net, self.weights, self.seed, reporter)
        if weights is None and net.parameters:
            note_random(net, self.seed, reporter)
        return compile_to_bytes(net, CompileOptions(self.seed, weights))

    def run(self, net: Net, image: bytes | None) -> Json:
        """Return the outputs of a net for an image, or for random numbers without one. Raises UserError."""
        with self._lock:
            session, readings, known = self._session(net)
            notes = Notes()
            outputs = _random(session) if image is None else _outputs(session, image, notes)
            found = [_result(name, array, readings[name]) for name, array in outputs.items()]
        return {"outputs": found, "notes": [*known, *notes.lines]}

    def _session(self, net: Net) -> tuple[Session, Mapping[str, Reading], list[str]]:
        from netdsl.app.scores import output_readings
        from netdsl.backend.session import Session

        if self._ran is None or self._ran[0] is not net:
            self._ran = None  # before another is in memory
            notes = Notes()
            model = self.model(net, notes)
            session = Session(model, name=net.name)
            self._ran = net, session, output_readings(session, model), notes.lines
        return self._ran[1:]


def _random(session: Session) -> dict[str, Array]:
    """Return the outputs for numbers from the standard normal distribution."""
    import numpy as np

    feeds = {}
    for name, tensor in session.inputs.items():
        sizes = [size or 1 if axis == 0 else size for axis, size in enumerate(tensor.shape)]
        if tensor.dtype not in ("float32", "float16") or None in sizes:
            raise UserError(
                f"the input `{name}` is {tensor.description}: random numbers are for real numbers of known sizes"
            )
        feeds[name] = np.random.default_rng().standard_normal(sizes, np.float32).astype(tensor.dtype)  # type: ignore[arg-type]
    return session.run(feeds)


def _outputs(session: Session, image: bytes, notes: Notes) -> dict[str, Array]:
    """Return the outputs for an image, read as `run` does."""
    from netdsl.app.feeds import open_feeds
    from netdsl.app.predict import run_batches

    with TemporaryDirectory(prefix="netdsl-") as folder:
        path = os.path.join(folder, "image.png" if image.startswith(b"\x89PNG") else "image.jpg")
        with open(path, "wb") as file:
            file.write(image)
        try:
            (batch,) = run_batches(session, open_feeds([path], session, notes), None)
        except UserError as error:
            error.message = error.message.replace(path, "the image")
            error.helps = tuple(each.replace(path, "the image") for each in error.helps)
            raise
    return batch.outputs


def _result(name: str, array: Array, reading: Reading) -> Json:
    """Return the best classes of an output, or else the range of its numbers."""
    from netdsl.app.scores import ClassReading, class_scores

    scores = class_scores(array[:1], reading, TOP) if isinstance(reading, ClassReading) and array.ndim > 1 else None
    if scores is not None:
        classes = [[each.name, each.value, each.probability] for each in scores[0]]
        return {"name": name, "classes": classes}
    first = array[:1]
    numbers = [float(first.min()), float(first.mean()), float(first.max())] if first.size else []
    return {"name": name, "shape": list(array.shape[1:]), "numbers": numbers}
