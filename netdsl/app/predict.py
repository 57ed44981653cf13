"""Run a model over all examples, a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.backend.session import Session, WrongFeed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from netdsl.data.reader import Reader

    Array = np.ndarray[Any, np.dtype[Any]]


def check_lengths(readers: Mapping[str, Reader]) -> dict[str, int]:
    """Return the number of examples, which must be the same for each input. Raises WrongFeed."""
    counts = {name: len(reader) for name, reader in readers.items()}
    if len(set(counts.values())) > 1:
        raise WrongFeed("the inputs differ in length: " + ", ".join(f"{k} has {n:,}" for k, n in counts.items()))
    return counts


def predict(session: Session, readers: Mapping[str, Reader], batch: int) -> Iterator[dict[str, Array]]:
    """Yield the outputs of all examples, a batch at a time. A model with a fixed batch size needs full batches."""
    assert batch > 0
    counts = check_lengths(readers)
    for name in readers:
        fixed = session.inputs[name].shape[0] if name in session.inputs and session.inputs[name].shape else None
        if fixed is not None and (batch != fixed or counts[name] % fixed):
            raise WrongFeed(
                f"{session.name} takes batches of exactly {fixed}, and is given {counts[name]:,} examples "
                f"in batches of {batch}",
            )
    streams = [reader.batches(batch) for reader in readers.values()]
    for arrays in zip(*streams, strict=True):
        yield session.run(dict(zip(readers, arrays, strict=True)))
