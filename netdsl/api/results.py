"""What the functions of the API return: data that print as the commands do, and are displayed in notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from netdsl.api.errors import in_python, warn
from netdsl.api.notebook import ansi_html, bundle, preformatted, table
from netdsl.api.options import output

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from netdsl.app.attacked import AttackedImage
    from netdsl.base.dtypes import Array
    from netdsl.diagnostics.problem import Problem
    from netdsl.report.canvas import Canvas
    from netdsl.report.comparison import Compared


class Picture:
    """A picture, which a notebook displays. `svg` is its text, and `save` writes it as SVG, PNG or PDF.

    ```python
    >>> picture = netdsl.load("lenet5").draw()
    >>> picture
    <picture of lenet5>
    >>> picture.svg[:4]
    '<svg'

    ```
    """

    __slots__ = ("_reads", "_render", "_texts", "name")

    def __init__(
        self,
        name: str,
        render: Callable[[str], bytes],
        texts: Sequence[str] = (),
        reads: Iterable[str] = (),
    ) -> None:
        """`render` returns the bytes for a format: those of pictures, and `texts`. No path in `reads` is
        overwritten."""
        self.name = name
        self._render = render
        self._texts = texts
        self._reads = tuple(reads)

    @property
    def svg(self) -> str:
        return self._render("svg").decode()

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the picture; only with `force` over a file that netdsl did not write. Raises UserError."""
        from netdsl.app.output import ARCHIVE, picture_form, replace

        target = output(path, force)
        with in_python():
            form = picture_form(target, self._texts)
            with replace(target, made=ARCHIVE, force=force, reads=self._reads) as file:
                file.write(self._render(form))

    def __repr__(self) -> str:
        return f"<picture of {self.name}>"

    def _repr_svg_(self) -> str:
        return self.svg


def canvas_picture(name: str, canvas: Canvas) -> Picture:
    """Return the picture of a canvas."""
    return Picture(name, canvas.encode)


class Result(Mapping[str, Any]):
    """A mapping with the data that the command of the same name prints with `--json`. It prints as the command does,
    and `plot` draws it.

    ```python
    >>> result = netdsl.diff("resnet18", "resnet34")
    >>> len(result["layers"]["added"])
    56

    ```
    """

    __slots__ = ("_data", "_picture", "_text")

    def __init__(self, data: Mapping[str, object], text: str, picture: Callable[[], Picture] | None = None) -> None:
        self._data = data
        self._text = text
        self._picture = picture

    def __getitem__(self, name: str) -> Any:
        return self._data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def plot(self) -> Picture:
        """Return the picture that the command draws. Raises UserError if there is none."""
        if self._picture is None:
            from netdsl.app.compare import NothingToPlot

            raise NothingToPlot("this result has no picture")
        with in_python():
            return self._picture()

    def __repr__(self) -> str:
        return self._text

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        picture = "" if self._picture is None else self.plot().svg
        return bundle(self._text, preformatted(self._text) + picture, include, exclude)


class Attacked(Result):
    """An adversarial example: `image` and `adversarial` are arrays of the input's shape."""

    __slots__ = ("adversarial", "image")

    def __init__(self, found: AttackedImage, picture: Callable[[], Picture] | None) -> None:
        super().__init__(found.data(), found.text(), picture)
        self.image: Array = found.image
        self.adversarial: Array = found.adversarial


class Filters(Result):
    """The filters of a convolution: `weight` is the array [filters, channels, height, width]."""

    __slots__ = ("weight",)

    def __init__(self, name: str, weight: Array, picture: Callable[[], Picture]) -> None:
        count, channels, height, width = weight.shape
        text = f"<{name}: {count:,} filters of {channels:,}x{height}x{width}>"
        super().__init__({"name": name, "shape": [*weight.shape]}, text, picture)
        self.weight = weight


class Table(list[dict[str, Any]]):
    """A list of rows, each a dict with the same keys. It prints as a table; `pandas.DataFrame(table)` and
    `polars.DataFrame(table)` convert it, and `to_dict` returns its columns.

    ```python
    >>> table = netdsl.compare("lenet5", "vgg16")
    >>> table[1]["params"]
    138357544
    >>> table.to_dict()["year"]
    [1998, 2014]

    ```
    """

    __slots__ = ("_text",)

    def __init__(self, rows: Iterable[Mapping[str, Any]], text: str) -> None:
        super().__init__(map(dict, rows))
        self._text = text

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the columns by name; values that a row lacks are None."""
        return {key: [row.get(key) for row in self] for key in dict.fromkeys(key for row in self for key in row)}

    def __repr__(self) -> str:
        return self._text

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        columns = self.to_dict()
        rows = [["" if value is None else _cell(value) for value in row] for row in zip(*columns.values(), strict=True)]
        return bundle(self._text, table("", [*columns], rows), include, exclude)


def _cell(value: object) -> str:
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}" if isinstance(value, float) else str(value)


class Comparison(Table):
    """Nets side by side, a row for each."""

    __slots__ = ("_rows",)

    def __init__(self, rows: list[Compared]) -> None:
        from netdsl.report.comparison import comparison_text

        super().__init__((row.data for row in rows), comparison_text(rows))
        self._rows = rows

    def plot(self, by: str = "macs") -> Picture:
        """Draw accuracy by `macs`, or depth by `year`; nets without these are named in a warning. Raises UserError if
        no net has them."""
        from netdsl.api.options import one_of
        from netdsl.app.compare import comparison_picture, omissions

        one_of("by", by, ("macs", "year"))
        canvas, left_out = comparison_picture(self._rows, by)
        for line in omissions(left_out):
            warn(line)
        return canvas_picture("a comparison", canvas)


class History(Table):
    """The figures of a training, a row for each epoch, as in `metrics.csv`."""

    __slots__ = ()

    def __init__(self, rows: list[dict[str, float]]) -> None:
        from netdsl.report.table import aligned

        heads = [*dict.fromkeys(key for row in rows for key in row)]
        cells = [[f"{row[key]:.4g}" if key in row else "" for key in heads] for row in rows]
        super().__init__(rows, "\n".join(aligned([heads, *cells], right=range(len(heads)))))

    def plot(self) -> Picture:
        """Draw the loss and the metrics of each epoch, of training and validation."""
        from netdsl.report.curves import draw_history

        return canvas_picture("a training", draw_history(self, "loss and metrics"))


class Problems(list["Problem"]):
    """The problems of a text or file, each with `code`, `severity`, `span`, `message()` and `all_suggestions()`. They
    print like `netdsl check`.

    ```python
    >>> problems = netdsl.check("net tiny { input x 4; desne 2 }")
    >>> [(problem.code, str(problem.span)) for problem in problems]
    [('E0202', '<string>:1:23')]
    >>> netdsl.check("lenet5")
    lenet5: ok (lenet5)

    ```
    """

    __slots__ = ("_text",)

    def __init__(self, problems: Iterable[Problem], text: str) -> None:
        """`text` has ANSI colors."""
        super().__init__(problems)
        self._text = text

    def __repr__(self) -> str:
        from netdsl.api.notebook import plain

        return plain(self._text)

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        return bundle(repr(self), ansi_html(self._text), include, exclude)
