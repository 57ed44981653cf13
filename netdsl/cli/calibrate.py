"""`netdsl compile --quantize`: a net in int8, with ranges calibrated on examples."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from netdsl.app.feeds import PaddedReader, open_feeds
from netdsl.app.predict import check_lengths
from netdsl.app.progress import Progress
from netdsl.backend.compile import compile_net
from netdsl.backend.quantize import quantize
from netdsl.backend.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from onnx import ModelProto

    from netdsl.backend.emit import Emitted
    from netdsl.backend.session import Array
    from netdsl.data.reader import Reader
    from netdsl.ir.net import Net

BATCH = 32


def quantized(net: Net, how: Mapping[str, Any], arguments: list[str]) -> tuple[Emitted, ModelProto]:
    """Return the net compiled by `compile_net` with `how`, and the same in int8. Raises UserError."""
    file = BytesIO()
    made = compile_net(net, file, **how)
    session = Session(file.getvalue(), name=net.name)
    readers = open_feeds(arguments, session)
    fixed = how["batch"]
    if fixed is not None:
        readers = {name: PaddedReader(reader, fixed) for name, reader in readers.items()}
    check_lengths(readers)
    return made, quantize(file.getvalue(), _Batches(readers, fixed or BATCH))


class _Batches:
    """The examples, batch by batch, as often as they are read."""

    def __init__(self, readers: Mapping[str, Reader], size: int) -> None:
        self._readers = readers
        self._size = size

    def __iter__(self) -> Iterator[dict[str, Array]]:
        total = len(next(iter(self._readers.values())))
        readers = (reader.batches(self._size) for reader in self._readers.values())
        with Progress("examples", total) as progress:
            for done, arrays in enumerate(zip(*readers, strict=True)):
                progress.show(done * self._size)
                yield dict(zip(self._readers, arrays, strict=True))
