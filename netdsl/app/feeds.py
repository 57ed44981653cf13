"""Open readers for the inputs on a command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from netdsl.app.reporter import SILENT
from netdsl.backend.session import BadModel
from netdsl.base.files import open_file, problem_of
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.data.errors import BadData
from netdsl.data.images import format_of
from netdsl.data.picture import parse_picture
from netdsl.data.reader import open_input

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netdsl.app.reporter import Reporter
    from netdsl.backend.session import Session
    from netdsl.data.picture import Picture
    from netdsl.data.reader import Reader
    from netdsl.ir.net import Net

MAX_FILES_SHOWN = 5
"""Maximum number of skipped files listed."""


class WrongInputs(UserError, code="E0612", title="inputs that do not match the net", exit_code=USAGE_IS_WRONG):
    """The inputs on the command line do not match those of the net."""


def open_feeds(arguments: list[str], session: Session, reporter: Reporter = SILENT) -> dict[str, Reader]:
    """Return a reader per input, from `path` or `name=path` arguments. Reports how images are preprocessed. Raises
    UserError."""
    paths: dict[str, list[str]] = {name: [] for name in session.inputs}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if equals and name in paths and not os.path.lexists(argument):
            paths[name].append(path)
        elif len(paths) == 1:
            paths[next(iter(paths))].append(argument)
        else:
            raise WrongInputs(
                f"{argument} is for no input: there are {', '.join(paths)}",
                "write NAME=PATH for each",
            )
    missing = [name for name, given in paths.items() if not given]
    if missing:
        raise WrongInputs(f"no data for {', '.join(missing)}", "write NAME=PATH for each input")
    return {name: _open(name, given, session, reporter) for name, given in paths.items()}


def _open(name: str, paths: list[str], session: Session, reporter: Reporter) -> Reader:
    tensor = session.inputs[name]
    path = paths if len(paths) > 1 else paths[0]
    reader = open_input(path, tensor.shape[1:], tensor.dtype, name=name, picture=picture_of(session, name))
    report_preprocessing(session.name, reader.picture, reporter)
    return reader


def report_preprocessing(name: str, picture: Picture | None, reporter: Reporter) -> None:
    """Report how images become the input of a net, if it declares anything."""
    if picture is not None and (declared := str(picture)):
        reporter.note(f"{name}: images are preprocessed with `{declared}`")


def report_unscaled(net: Net, readers: Mapping[str, Reader], reporter: Reporter) -> None:
    """Report pixels that reach a layer with weights unscaled, since weights rarely expect them."""
    from netdsl.elaborate.pixels import unscaled

    raw = any(reader.picture is not None and not reader.picture.normalizes for reader in readers.values())
    if raw and (found := unscaled(net)):
        node, peak = found
        reporter.note(
            f"{net.name}: `{node.name}` reads unscaled pixels, with values up to {peak:.4g}; if its weights expect "
            f"normalized ones, declare `mean` and `std` on the input `{net.inputs[0].name}`"
        )


def picture_of(session: Session, name: str) -> Picture:
    """Return how images become an input, from the model's metadata. Raises BadModel."""
    text = session.metadata.get(f"netdsl.input.{name}", "{}")
    shape = session.inputs[name].shape
    picture = parse_picture(text, shape[1] if len(shape) > 1 else None)
    if picture is None:
        raise BadModel(f"{session.name} has invalid preprocessing metadata: {text[:80]}")
    return picture


def expand(arguments: list[str], reporter: Reporter = SILENT) -> list[str]:
    """Replace each folder by the images in it, sorted by name. Raises BadData if there are none."""
    found = []
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if os.path.isdir(argument):
            found += _pictures(argument, reporter)
        elif equals and os.path.isdir(path) and not os.path.lexists(argument):
            found += [f"{name}={picture}" for picture in _pictures(path, reporter)]
        else:
            found.append(argument)
    return found


def _pictures(folder: str, reporter: Reporter) -> list[str]:
    """Return the images in a folder, detected by their first bytes. Reports skipped files."""
    pictures: list[str] = []
    others: list[str] = []
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise problem_of(error, folder) from None
    for name in names:
        path = os.path.join(folder, name)
        (pictures if _is_picture(path) else others).append(path)
    if not pictures:
        raise BadData(
            f"the folder {folder} contains no images",
            "pass the files themselves, or a folder that directly contains images",
        )
    if others:
        shown = ", ".join(os.path.basename(path) for path in others[:MAX_FILES_SHOWN])
        more = ", …" if len(others) > MAX_FILES_SHOWN else ""
        reporter.note(f"{folder}: skipped {len(others):,} files that are not images: {shown}{more}")
    return pictures


def _is_picture(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    with open_file(path) as file:
        return format_of(file.read(4)) is not None


def find(arguments: list[str]) -> None:
    """Raise MissingFile if a file does not exist, before a net is compiled."""
    for argument in arguments:
        path = argument.partition("=")[2]
        if not os.path.lexists(argument) and not (path and os.path.lexists(path)):
            open_file(path or argument).close()


def files(arguments: list[str]) -> Iterator[str]:
    """Yield the paths that arguments can refer to: `a=b` is a path too."""
    for argument in arguments:
        yield argument
        yield argument.partition("=")[2]
