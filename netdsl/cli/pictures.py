"""Pictures that commands write: SVG or PNG, as the file's name says."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from netdsl.base.terminal import escape
from netdsl.base.user_error import USAGE_IS_WRONG, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from netdsl.report.canvas import Canvas


class NotAPicture(UserError, code="E0643", exit_code=USAGE_IS_WRONG):
    """Pictures are written as SVG or as PNG, which the output's name tells: it ends with `.svg` or `.png`. What `draw`
    writes may end with `.dot` or `.mmd` too."""


@contextmanager
def picture_file(path: str, *, force: bool, reads: Iterable[str | None] = ()) -> Iterator[Callable[[Canvas], None]]:
    """What writes a canvas to a file; whether it may is judged before the work begins. Raises UserError."""
    from netdsl.app.output import ARCHIVE, replace

    form = path.lower().rpartition(".")[2]
    if form not in ("svg", "png"):
        raise NotAPicture(f"{escape(path)} is no name of a picture", "let it end with .svg or .png")
    with replace(path, made=ARCHIVE, force=force, reads=reads) as file:

        def write(canvas: Canvas) -> None:
            file.write(canvas.svg() if form == "svg" else canvas.png())

        yield write
