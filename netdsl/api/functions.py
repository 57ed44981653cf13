"""What the commands do, from Python."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from netdsl.api.errors import NetError, PythonReporter, in_python
from netdsl.api.loading import load
from netdsl.api.net import Net
from netdsl.api.options import LARGEST, between, flag, labels_of, path, source_of_weights
from netdsl.api.options import text as text_of
from netdsl.api.results import Comparison, Problems, Result, Table, canvas_picture
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from netdsl.api.options import WeightOptions
    from netdsl.app.eval_result import EvalResult

    File = str | os.PathLike[str]


def check(file: File, /, name: str = "<string>") -> Problems:
    """Check all nets of a file, a net of the zoo, or a text, and return the problems.

    A string that contains `{` or a line break, and is not the name of a file, is a text; `name` appears in its
    messages. Raises UserError if the file cannot be read.
    """
    from netdsl.app.analyse import check_file
    from netdsl.base.files import decoded
    from netdsl.base.text import Source
    from netdsl.diagnostics.formats import summary
    from netdsl.diagnostics.render import render

    given = path("file", file)
    is_text = isinstance(file, str) and ("{" in file or "\n" in file) and not os.path.lexists(file)
    called = text_of("name", name) if is_text else given
    report = Report()
    with in_python():
        source = Source(called, decoded(given.encode("utf-8", "surrogatepass"), called)) if is_text else given
        names = check_file(source, report)
    if not len(report):
        return Problems(report, f"{called}: ok ({', '.join(names or ['no networks'])})")
    return Problems(report, "\n\n".join([*(render(problem, color=True) for problem in report), summary(report)]))


def format(text: str, /, name: str = "<string>", *, body: bool = False) -> str:
    """Return a text in the canonical style, like `netdsl fmt`.

    With `body`, the text is statements of a net instead of a file. `name` is its file name in messages. Raises NetError
    if the text does not parse.

    ```python
    >>> print(netdsl.format("net tiny{input x 4;dense 2*3 ;tanh}"))
    net tiny { input x 4; dense 2*3; tanh }
    <BLANKLINE>

    ```
    """
    from netdsl.base.files import decoded
    from netdsl.formatting.formatter import format_text

    text, name = text_of("text", text), text_of("name", name)
    flag("body", body)
    report = Report()
    found = format_text(decoded(text.encode("utf-8", "surrogatepass"), name), name, report, body=body)
    if found is None:
        raise NetError(report)
    return found


def compare(*nets: Net | File, batch: int = 1) -> Comparison:
    """Compare nets: their size, cost, memory, receptive field and published accuracy. Without any, the whole zoo.

    A net is a `Net`, or a string as of `netdsl compare`: a path, a name of the zoo, or `FILE:*` for all of a file.
    """
    from netdsl.app.compare import compared

    batch = between("batch", batch, 1, LARGEST)
    given = [net._net if isinstance(net, Net) else path("a net", net) for net in nets]
    report = Report()
    with in_python():
        rows = compared(given, report, batch=batch)
    if rows is None:
        raise NetError(report)
    return Comparison(rows)


def diff(a: Net | File, b: Net | File, /) -> Result:
    """Compare two nets layer by layer, and find the weights of the first that fit the second, like `netdsl diff`."""
    from netdsl.report.diff import Diff

    found = Diff(_net(a)._net, _net(b)._net)
    return Result(found.data(), found.text())


def tensors(file: File, /) -> Table:
    """List the tensors of a weight file, with `name`, `dtype`, `shape`, `numbers` and `bytes`. Values are not read."""
    from netdsl.app.tensors import tensors_of_file

    found = tensors_of_file(path("file", file))
    return Table(found.rows(), found.text())


def evaluate(
    net: Net | File,
    /,
    data: object = None,
    *,
    labels: File | Sequence[str] | None = None,
    batch: int | None = None,
    threads: int | None = None,
    provider: str = "cpu",
    allow_fallback: bool = False,
    **matching: Unpack[WeightOptions],
) -> Result:
    """Evaluate a net: its loss, metrics and confusion matrix, as a mapping like that of `netdsl eval --json`.

    `net` is a `Net`, a file, or a compiled model (`.onnx`). `data` is a pair (x, y) of arrays or frames; a path; or a
    string as in a `train` block, `'mnist "mnist" split test'` (default: the line `validate` of the `train` block).
    `weights` and how they are matched are those of `Net.to_onnx`. `labels` are the names of classes, or a file of them.

    Raises NetError for errors in the net, and UserError for data or weights that do not fit.
    """
    from netdsl.app import evaluate as app

    given = path("data", data) if isinstance(data, str | os.PathLike) else data
    with in_python():
        flag("allow_fallback", allow_fallback)
        options = app.EvalOptions(
            given if isinstance(given, str) else None if given is None else "arrays",
            source_of_weights(**matching),
            labels_of(labels),
            None if batch is None else between("batch", batch, 1, LARGEST),
            None if threads is None else between("threads", threads, 1, LARGEST),
            text_of("provider", provider),
            allow_fallback,
        )
        report, reporter = Report(), PythonReporter()
        if not isinstance(net, Net) and path("net", net).lower().endswith(".onnx"):
            found = app.of_model(path("net", net), options, report, reporter, given=given)
        else:
            loaded = _net(net)
            found = app.of_loaded(loaded._net, loaded._origin, loaded._names, options, report, reporter, given=given)
    if found is None or report.errors:
        raise NetError(report)
    return evaluation(found)


def evaluation(found: EvalResult) -> Result:
    """Return the result of an evaluation."""
    name = f"the confusion matrix of {found.name}"
    return Result(
        found.data(), found.text(), (lambda: canvas_picture(name, found.picture())) if found.confusions else None
    )


def _net(given: Net | File) -> Net:
    return given if isinstance(given, Net) else load(path("net", given))
