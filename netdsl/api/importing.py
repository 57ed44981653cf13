"""Import models of other tools."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, overload

from netdsl.api.errors import in_python
from netdsl.api.net import Net
from netdsl.api.options import LARGEST, between, flag, output, path, text
from netdsl.api.results import Result
from netdsl.base.user_error import WrongArgumentType, WrongArgumentValue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypedDict, Unpack

    from netdsl.app import import_model as app
    from netdsl.app import import_variants as app_variants
    from netdsl.base.dtypes import Array

    Path = str | os.PathLike[str]

    class Options(TypedDict, total=False):
        """The keyword arguments of `import_model` other than the weights."""

        shapes: Mapping[str, Sequence[int]] | None
        eps: float | str | None
        name: str | None
        check: int
        flat: bool
        keep_names: bool
        allow_unproved: bool
        force: bool


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


class ImportedVariants(Result):
    """Models that differ by numbers alone, as one `text`: `nets`, and the `weights` of each by name, are by the names
    of the models."""

    __slots__ = ("nets", "text", "weights")

    def __init__(self, found: app_variants.ImportedVariants) -> None:
        from netdsl.app.frontend import Origin
        from netdsl.app.import_model import Arrays
        from netdsl.base.text import Source

        super().__init__(found.data(), "\n".join(found.lines()))
        self.text = found.text
        self.nets: dict[str, Net] = {}
        self.weights: dict[str, Mapping[str, Array]] = {}
        for name, variant in found.variants.items():
            source = Source(variant.net.source.name, found.text)
            self.nets[name] = Net(variant.net, Origin(source, source, {}, name))
            self.weights[name] = Arrays(variant.weights)


@overload
def import_model(  # type: ignore[overload-overlap]  # a str is also a sequence of them
    file: Path, /, to: Path | None = None, *, weights: Path | None = None, **options: Unpack[Options]
) -> Imported: ...


@overload
def import_model(
    file: Sequence[Path], /, to: Path | None = None, *, weights: Sequence[Path] = (), **options: Unpack[Options]
) -> ImportedVariants: ...


def import_model(
    file: Path | Sequence[Path],
    /,
    to: Path | None = None,
    *,
    weights: Path | Sequence[Path] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    eps: float | str | None = None,
    name: str | None = None,
    check: int = 2,
    flat: bool = False,
    keep_names: bool = False,
    allow_unproved: bool = False,
    force: bool = False,
) -> Imported | ImportedVariants:
    """Turn a model of another tool into a net and its weights, proved to be equal on `check` random inputs.

    With a second path, `NET.net`, the text is written there and the weights beside it, as `netdsl import` does; `name`
    is that of the net, and a `flat` text has a line for each layer, without blocks and loops. Names of layers
    without dots that double the text are left out, unless `keep_names` is set. `weights` is the file with those of a
    Caffe or Darknet net, `shapes` has the shapes of inputs that the model does not state, or [16000] as the number of
    an input without axes, and `eps` is that of Darknet's batch normalization, or "cpu". Raises UserError if the model
    has parts that netdsl has no layers for, or the proof fails, unless `allow_unproved` accepts that; only with `force`
    over a file that netdsl did not write. A list of models that differ by numbers alone becomes one text; `weights` is
    then a list too.

    ```python
    found = netdsl.import_model("resnet18.onnx")
    print(found.text)
    session = found.net.session(weights=found.weights)
    ```
    """
    from netdsl.app import import_model as app

    flag("allow_unproved", allow_unproved)
    flag("flat", flat)
    flag("keep_names", keep_names)
    sizes = {name: tuple(between("shapes", size, 1, LARGEST) for size in each) for name, each in (shapes or {}).items()}
    chosen = app.ImportOptions(
        shapes=sizes,
        eps=None if eps is None else str(eps),
        output=None if to is None else output(to, force),
        net=None if name is None else text("name", name),
        check=between("check", check, 1, LARGEST),
        flat=flat,
        keep_names=keep_names,
        allow_unproved=allow_unproved,
        force=force,
    )
    if isinstance(file, list | tuple):
        return _import_variants(file, weights, chosen)
    chosen = chosen._replace(weights=None if weights is None else path("weights", weights))
    source = path("file", file)
    with in_python():
        return Imported(app.read(source, chosen) if to is None else app.import_model(source, chosen))


def _import_variants(
    files: Sequence[Path], weights: Path | Sequence[Path] | None, chosen: app.ImportOptions
) -> ImportedVariants:
    """Turn models that differ by numbers alone into one net. Raises UserError."""
    from netdsl.app import import_variants as app_variants

    if len(files) < 2:
        raise WrongArgumentValue("a list of models to import has at least two")
    if not isinstance(weights, list | tuple | None):
        raise WrongArgumentType("weights must be a list, like the models")
    models, own = [path("file", each) for each in files], [path("weights", each) for each in weights or ()]
    run = app_variants.read_variants if chosen.output is None else app_variants.import_variants
    with in_python():
        return ImportedVariants(run(models, own, chosen))
