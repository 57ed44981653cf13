"""Pictures written by commands: SVG or PNG, depending on the file name."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from netdsl.base.user_error import USAGE_IS_WRONG, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from netdsl.report.canvas import Canvas


class NotAPicture(UserError, code="E0643", exit_code=USAGE_IS_WRONG):
    """Images are written as SVG or PNG, so the name of the output must end with `.svg` or `.png`. `draw` also writes
    `.dot` and `.mmd`."""


@contextmanager
def picture_file(path: str, *, force: bool, reads: Iterable[str | None] = ()) -> Iterator[Callable[[Canvas], None]]:
    """Return a function that writes a canvas to a file; permission is checked before the work begins. Raises
    UserError."""
    from netdsl.app.output import ARCHIVE, replace

    form = path.lower().rpartition(".")[2]
    if form not in ("svg", "png"):
        raise NotAPicture(f"cannot draw to {path}", "the name must end with .svg or .png")
    with replace(path, made=ARCHIVE, force=force, reads=reads) as file:

        def write(canvas: Canvas) -> None:
            file.write(canvas.svg() if form == "svg" else canvas.png())

        yield write
