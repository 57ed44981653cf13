"""What a part of a sharded run is of, so that it is neither skipped nor replaced in the place of another one."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

from netdsl.app.output_formats import format_of
from netdsl.app.prediction_table import table_names
from netdsl.app.shards import OtherPart
from netdsl.base.terminal import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from netdsl.app.shards import Shard
    from netdsl.data.reader import Reader

DIGEST_BYTES = 16


class Part(NamedTuple):
    """A shard of a run, `0/1` if it is all, with the number of all examples and digests of the model and the inputs."""

    shard: str
    examples: int
    model: str
    inputs: str

    def __str__(self) -> str:
        return json.dumps(self._asdict())


def part_of(shard: Shard, model: bytes | str, readers: Mapping[str, Reader]) -> Part:
    """Return the part for a shard of a model, its bytes or its path, on inputs."""
    examples = len(next(iter(readers.values())))
    return Part(str(shard), examples, _model_digest(model), _inputs_digest(readers))


def _model_digest(model: bytes | str) -> str:
    """Return a digest of a model with its external data."""
    import hashlib

    if isinstance(model, bytes):
        return hashlib.sha256(model).hexdigest()[: 2 * DIGEST_BYTES]
    from netdsl.weights.onnx_external import data_files

    digest = hashlib.sha256()
    for path in (model, *data_files(model)):
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[: 2 * DIGEST_BYTES]


def _inputs_digest(readers: Mapping[str, Reader]) -> str:
    """Return a digest of the names of the inputs and of their first and last example, and of the first one's values.
    All of them would take as long to read as the run."""
    import hashlib

    digest = hashlib.sha256()
    for name, reader in readers.items():
        (first,) = reader.batches(1, 0, 1)
        digest.update(json.dumps([name, reader.name(0), reader.name(len(reader) - 1), first.shape]).encode())
        digest.update(first.tobytes())
    return digest.hexdigest()[: 2 * DIGEST_BYTES]


def is_done(path: str, part: Part, names: Iterable[str], *, skip: bool, force: bool) -> bool:
    """Return whether an output is the finished part of this run, which `skip` allows to leave as it is. `names` are
    those of its examples. Raises OtherPart, unless with `force`, if it is another one."""
    if not os.path.isfile(path) or not os.path.getsize(path):
        return False
    found = _difference(path, part, names, is_shard_enough=not skip)
    if found and not force:
        raise OtherPart(
            f"{path} exists, but {found}", "remove it, write to another folder, or overwrite it with --force"
        )
    return skip and not found


def _difference(path: str, part: Part, names: Iterable[str], *, is_shard_enough: bool) -> str:
    """Return how a file differs from a part; an empty string if it does not."""
    about = format_of(path).about
    if about is None:
        return "" if table_names(path) == [*map(escape, names)] else "its rows are not the examples of this run"
    try:
        said = json.loads(about(path) or "{}")
        known = Part(**said) if said or not is_shard_enough else part
    except (TypeError, ValueError):
        return "it does not say which part of a run it is"
    if known.shard != part.shard:
        return f"it is the shard {known.shard}, and this is {part.shard}"
    if is_shard_enough:
        return ""
    if known.model != part.model:
        return "it was computed by another model"
    return "" if known == part else "it was computed from other inputs"
