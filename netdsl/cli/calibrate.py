"""`netdsl compile --quantize`: a net in int8, its ranges taken from examples."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from netdsl.cli.feeds import Whole, open_feeds
from netdsl.cli.progress import Progress
from netdsl.compile import compile_net
from netdsl.predict import check_lengths
from netdsl.quantize import quantize
from netdsl.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from onnx import ModelProto

    from netdsl.data.reader import Reader
    from netdsl.emit import Emitted
    from netdsl.ir.net import Net
    from netdsl.session import Array

BATCH = 32


def quantized(net: Net, how: Mapping[str, Any], arguments: list[str]) -> tuple[Emitted, ModelProto]:
    """The net as `compile_net` makes it with `how`, and the same in int8. Raises UserError."""
    file = BytesIO()
    made = compile_net(net, file, **how)
    session = Session(file.getvalue(), name=net.name)
    readers = open_feeds(arguments, session)
    fixed = how["batch"]
    if fixed is not None:
        readers = {name: Whole(reader, fixed) for name, reader in readers.items()}
    return made, quantize(file.getvalue(), _batches(readers, fixed or BATCH))


def _batches(readers: Mapping[str, Reader], size: int) -> Iterator[dict[str, Array]]:
    check_lengths(readers)
    total = len(next(iter(readers.values())))
    with Progress("examples", total) as progress:
        for done, arrays in enumerate(zip(*(reader.batches(size) for reader in readers.values()), strict=True)):
            progress.show(done * size)
            yield dict(zip(readers, arrays, strict=True))
