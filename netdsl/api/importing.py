"""Import models of other tools."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from netdsl.api.errors import in_python
from netdsl.api.net import Net
from netdsl.api.options import LARGEST, between, flag, output, path, text
from netdsl.api.results import Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.app import import_model as app
    from netdsl.base.dtypes import Array


class Imported(Result):
    """An imported model: `net`, its `text`, and the `weights` by name, each of which is read from the
    model when it is used."""

    __slots__ = ("net", "text", "weights")

    def __init__(self, found: app.Imported) -> None:
        from netdsl.app.frontend import Origin
        from netdsl.base.text import Source

        super().__init__(found.data(), "\n".join(found.lines()))
        source = Source(found.net.source.name, found.text)
        self.text = found.text
        self.net = Net(found.net, Origin(source, source, {}))
        self.weights: Mapping[str, Array] = found.arrays()


def import_model(
    file: str | os.PathLike[str],
    /,
    to: str | os.PathLike[str] | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    eps: float | str | None = None,
    name: str | None = None,
    check: int = 2,
    flat: bool = False,
    allow_unproved: bool = False,
    force: bool = False,
) -> Imported:
    """Turn a model of another tool into a net and its weights, proved to be equal on `check` random inputs.

    With a second path, `NET.net`, the text is written there and the weights beside it, as `netdsl import` does; `name`
    is that of the net, and a `flat` text has a line for each layer, without blocks and loops. `weights` is the file
    with those of a Caffe or Darknet net, `shapes` has the shapes of inputs that the model does not state, or [16000] as
    the number of an input without axes, and `eps` is that of Darknet's batch normalization, or "cpu". Raises UserError
    if the model has parts that netdsl has no layers for, or the proof fails, unless `allow_unproved` accepts that; only
    with `force` over a file that netdsl did not write.

    ```python
    found = netdsl.import_model("resnet18.onnx")
    print(found.text)
    session = found.net.session(weights=found.weights)
    ```
    """
    from netdsl.app import import_model as app

    flag("allow_unproved", allow_unproved)
    flag("flat", flat)
    sizes = {name: tuple(between("shapes", size, 1, LARGEST) for size in each) for name, each in (shapes or {}).items()}
    options = app.ImportOptions(
        weights=None if weights is None else path("weights", weights),
        shapes=sizes,
        eps=None if eps is None else str(eps),
        output=None if to is None else output(to, force),
        net=None if name is None else text("name", name),
        check=between("check", check, 1, LARGEST),
        flat=flat,
        allow_unproved=allow_unproved,
        force=force,
    )
    with in_python():
        source = path("file", file)
        return Imported(app.read(source, options) if to is None else app.import_model(source, options))
