"""The output of a network for each example, as a line of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.scores import ClassScore, Reading, class_scores, is_map
from netdsl.app.sequences import SequenceReading, sequence_text, sequences
from netdsl.base.shape import format_shape
from netdsl.base.terminal import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.backend.session import Array

    Record = dict[str, object]

EMPTY = "(empty)"
"""Text of a sequence without symbols."""


def output_texts(outputs: dict[str, Array], top: int, readings: Mapping[str, Reading]) -> list[str]:
    """Return a line for each example of a batch. Several outputs are preceded by their names."""
    texts = [_texts(array, top, readings[name]) for name, array in outputs.items()]
    if len(texts) == 1:
        return texts[0]
    columns = [[f"{escape(name)}: {text}" for text in each] for name, each in zip(outputs, texts, strict=True)]
    return ["  ".join(parts) for parts in zip(*columns, strict=True)]


def output_records(outputs: dict[str, Array], top: int, readings: Mapping[str, Reading]) -> list[Record]:
    """Return a JSON object for each example of a batch, with the contents of `output_texts`."""
    columns = {name: _objects(array, top, readings[name]) for name, array in outputs.items()}
    count = len(next(iter(outputs.values())))
    return [{name: column[at] for name, column in columns.items()} for at in range(count)]


def _objects(array: Array, top: int, reading: Reading) -> list[Record]:
    if isinstance(reading, SequenceReading):
        return [_sequence(symbols, reading) for symbols in sequences(array, reading.blank)]
    flat = array.reshape(len(array), -1)
    if is_map(array):
        shape = list(array.shape[1:])
        if not flat.shape[1]:
            return [{"shape": shape, "min": None, "max": None} for _ in flat]
        return [{"shape": shape, "min": _plain(row.min().item()), "max": _plain(row.max().item())} for row in flat]
    records: list[Record] = [{} for _ in flat]
    if flat.shape[1] == 1:
        records = [{"value": _plain(value)} for (value,) in flat.tolist()]
    for record, scores in zip(records, class_scores(array, reading, top) or (), strict=False):
        record["top"] = [_class(score) for score in scores]
    return records


def _sequence(symbols: list[int] | None, reading: SequenceReading) -> Record:
    record: Record = {"sequence": symbols}
    if reading.names and symbols is not None:
        record["labels"] = [reading.names[symbol] for symbol in symbols]
    return record


def _class(score: ClassScore) -> Record:
    record: Record = {"class": score.number}
    if score.label is not None:
        record["label"] = score.label
    for key, number in (("value", score.value), ("probability", score.probability)):
        if number is not None:
            record[key] = _plain(number)
    return record


def _plain(value: float) -> float | str:
    """Replace numbers that JSON does not have."""
    return value if value - value == 0 else str(value)


def _texts(array: Array, top: int, reading: Reading) -> list[str]:
    """Format [n, *] as n texts: the best classes with their probabilities or else their values, best first; a sequence
    of symbols; a single number; shape and range of anything with more axes."""
    if isinstance(reading, SequenceReading):
        return [escape(sequence_text(symbols, reading)) or EMPTY for symbols in sequences(array, reading.blank)]
    flat = array.reshape(len(array), -1)
    if is_map(array):
        shape = format_shape(array.shape[1:])
        return [f"{shape}, {row.min():.6g} to {row.max():.6g}" if row.size else f"{shape}, nothing" for row in flat]
    found = class_scores(array, reading, top)
    if found is None:
        return [f"{value:.6g}" for (value,) in flat.tolist()]
    return ["  ".join(map(_score, scores)) for scores in found]


def _score(score: ClassScore) -> str:
    if score.probability is None:
        return f"{escape(score.name)}: {score.value:.6g}"
    colon = ":" if score.name.isdecimal() else ""  # `3: 99.1 %`, not `3 99.1 %`
    return f"{escape(score.name)}{colon} {100 * score.probability:.1f} %"
