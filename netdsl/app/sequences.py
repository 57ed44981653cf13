"""Read the outputs of nets trained with `loss ctc` as sequences of symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from netdsl.app.predict import run_batches
from netdsl.backend.session import RunFailed
from netdsl.base.limits import SIZE
from netdsl.base.shape import format_shape
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.losses.sequence import Ctc
from netdsl.metrics import ended, greedy
from netdsl.train.alignment import bad_lengths

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from netdsl.app.predict import Batch
    from netdsl.backend.session import Array, Session
    from netdsl.data.reader import Reader

NOT_A_NUMBER = "(nan)"
"""Text of an output that is not a number."""


class NoSequences(UserError, code="E0629", title="outputs that are not sequences", exit_code=USAGE_IS_WRONG):
    """`--blank` and `session.decode` read outputs [K, T] as sequences: the best of K symbols at each of T places, with
    repetitions merged and the blank removed. An output of another shape, or trained with another loss than `ctc`, is
    none.

    ```sh
    netdsl run net.net x.npy --blank 0
    ```
    """


class SequenceReading(NamedTuple):
    """How an output [K, T] is read as a sequence of symbols other than the `blank`: up to `lengths`, an input that may
    be none of the model, and with the `names` of all symbols, if they have any."""

    blank: int
    lengths: str | None = None
    names: Sequence[str] = ()


def sequence_readings(session: Session, blank: int | None = None) -> dict[str, SequenceReading]:
    """Return how the outputs that are sequences are read, by their losses; a given `blank` is that of others. Raises
    NoSequences."""
    model, losses = session.name, session.names.losses
    shapes = {name: tensor.shape[1:] for name, tensor in session.outputs.items()}
    symbols = {name: shape[0] for name, shape in shapes.items() if len(shape) == 2}
    known = {
        name: SequenceReading(loss.blank, loss.lengths)
        for name, loss in losses.items()
        if loss.blank is not None and name in symbols
    }
    if blank is None:
        return known
    for name, loss in losses.items():
        if loss.name != Ctc.kind:
            raise NoSequences(f"{model}: the output `{name}` was trained with the loss `{loss.name}`, not `ctc`")
        if loss.blank not in (None, blank):
            raise NoSequences(f"{model}: the blank of the output `{name}` is {loss.blank}, not {blank}")
    found = {name: SequenceReading(blank) for name, count in symbols.items() if blank < (count or SIZE)}
    if not found:
        held = ", ".join(f"`{name}` is {format_shape(shape)}" for name, shape in shapes.items())
        raise NoSequences(f"{model} has no output [K, T] with the symbol {blank}: {held}")
    return found | known


def lengths_of(readings: Iterable[object]) -> list[str]:
    """Return the names of the lengths of sequences."""
    found = (reading.lengths for reading in readings if isinstance(reading, SequenceReading))
    return [*dict.fromkeys(filter(None, found))]


def without_padding(batch: Batch, readings: Mapping[str, object]) -> dict[str, Array]:
    """Return the outputs of a batch, those of sequences with blanks at the places behind the end of each example, where
    the lengths are known. Raises BadLengths."""
    shown = dict(batch.outputs)
    for name, reading in readings.items():
        if not isinstance(reading, SequenceReading) or reading.lengths not in batch.inputs:
            continue
        lengths, places = batch.inputs[reading.lengths], shown[name].shape[2]
        wrong = (lengths < 0) | (lengths > places)
        if wrong.any():
            row = int(wrong.reshape(-1).argmax())
            raise bad_lengths(f"`{reading.lengths}` of {batch.names[row]}", int(lengths.reshape(-1)[row]), places)
        shown[name] = ended(shown[name], lengths, reading.blank)
    return shown


def sequences(array: Array, blank: int) -> Iterator[list[int] | None]:
    """Yield the greedy reading of each example of an output [n, K, T], or None if it contains NaN."""
    read = greedy(array, blank)
    counts, lacking = (read >= 0).sum(1), np.isnan(array.max((1, 2), initial=0))
    for symbols, count, is_nan in zip(read, counts, lacking, strict=True):
        yield None if is_nan else symbols[:count].tolist()


def sequence_text(symbols: list[int] | None, reading: SequenceReading) -> str:
    """Return a sequence in words: names of one character in a row, others and numbers with spaces between them."""
    if symbols is None:
        return NOT_A_NUMBER
    names = reading.names
    letters = bool(names) and all(len(name) == 1 for at, name in enumerate(names) if at != reading.blank)
    return ("" if letters else " ").join(names[symbol] if names else f"{symbol}" for symbol in symbols)


def decode(
    session: Session, readers: Mapping[str, Reader], size: int | None, readings: Mapping[str, SequenceReading]
) -> dict[str, list[list[int]]]:
    """Return the sequences of all examples by output. Raises RunFailed for outputs with NaN."""
    found: dict[str, list[list[int]]] = {name: [] for name in readings}
    for batch in run_batches(session, readers, size):
        outputs = without_padding(batch, readings)
        for name, reading in readings.items():
            for example, symbols in zip(batch.names, sequences(outputs[name], reading.blank), strict=True):
                if symbols is None:
                    raise RunFailed(f"{session.name}: the output `{name}` of {example} contains NaN")
                found[name].append(symbols)
    return found
