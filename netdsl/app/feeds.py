"""Open readers for the inputs on a command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from netdsl.app.reporter import SILENT
from netdsl.backend.session import BadModel
from netdsl.base.files import open_file, problem_of
from netdsl.base.terminal import plural
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.data.errors import BadData
from netdsl.data.images import format_of
from netdsl.data.labels import listed
from netdsl.data.picture import parse_picture
from netdsl.data.reader import open_input

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from netdsl.app.reporter import Reporter
    from netdsl.backend.session import Session
    from netdsl.data.picture import Picture
    from netdsl.data.reader import Reader
    from netdsl.ir.net import Net

MAX_FILES_SHOWN = 5
"""Maximum number of skipped files listed."""


class WrongInputs(UserError, code="E0612", title="inputs that do not match the net", exit_code=USAGE_IS_WRONG):
    """The inputs on the command line do not match those of the net.

    ```sh
    netdsl summary net.net
    netdsl run net.net left=a.npy right=b.npy
    ```
    """


TABLES = (".csv", ".tsv", ".parquet")
"""Suffixes of tables. Those in text have no first bytes of their own."""


def open_feeds(
    arguments: list[str], session: Session, reporter: Reporter = SILENT, lengths: Iterable[str] = ()
) -> dict[str, Reader]:
    """Return a reader per input, from `path` or `name=path` arguments; without a name, a table feeds all inputs, and an
    archive those that it has arrays for. `lengths` are read if they are given, even if they are no inputs of the model.
    Reports how images are preprocessed, and the columns of tables that are not used. Raises UserError."""
    others = [name for name in lengths if name not in session.inputs]
    paths: dict[str, list[str]] = {name: [] for name in (*session.inputs, *others)}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        named = equals and name in paths and not os.path.lexists(argument)
        fed = [name] if named else _fed(argument, session, others)
        if not fed:
            raise WrongInputs(
                f"{argument} is for no input: there are {', '.join(paths)}",
                "write NAME=PATH for each",
            )
        for name in fed:
            paths[name].append(path if named else argument)
    missing = [name for name in session.inputs if not paths[name]]
    if missing:
        raise WrongInputs(f"no data for {', '.join(missing)}", "write NAME=PATH for each input")
    readers: dict[str, Reader] = {}
    unused: dict[str, list[str]] = {}
    for name, given in paths.items():
        if name in others:
            if given:
                readers[name] = open_input(given, (1,), "int64", name=name)
            else:
                reporter.note(f"{session.name}: all places are read; to read up to the end of each, add {name}=PATH")
        elif any(map(_is_table, given)):
            readers[name], columns = _open_table(name, given, session)
            unused[given[0]] = [column for column in columns if column in unused.get(given[0], columns)]
        else:
            readers[name] = _open(name, given, session, reporter)
    for path, columns in unused.items():
        if columns:
            reporter.note(f"{path}: columns that are not an input are ignored: {listed(columns)}")
    return readers


def _fed(path: str, session: Session, others: Sequence[str]) -> list[str]:
    """Return the inputs and others that a path without a name feeds."""
    inputs = [*session.inputs]
    if _is_table(path) or (len(inputs) == 1 and not others):
        return inputs
    arrays = _arrays(path)
    return [name for name in inputs if len(inputs) == 1 or name in arrays] + [name for name in others if name in arrays]


def _arrays(path: str) -> tuple[str, ...]:
    """Return the names of the arrays of an archive; none of another file."""
    from netdsl.data.npy import NpzArchive

    if not os.path.isfile(path):
        return ()
    with open_file(path) as file:
        if not file.read(4).startswith(b"PK"):
            return ()
    return NpzArchive(path).names


def _is_table(path: str) -> bool:
    return path.lower().endswith(TABLES)


def _open_table(name: str, paths: list[str], session: Session) -> tuple[Reader, list[str]]:
    """Return the reader of a table for an input, and the columns that it does not use."""
    from netdsl.data.table import open_columns

    if len(paths) > 1:
        table = next(filter(_is_table, paths))
        raise BadData(f"several files for one input must all be images, but {table} is a table")
    tensor = session.inputs[name]
    return open_columns(paths[0], session.names.columns.get(name), name, tensor.shape[1:], tensor.dtype)


def _open(name: str, paths: list[str], session: Session, reporter: Reporter) -> Reader:
    tensor = session.inputs[name]
    path = paths if len(paths) > 1 else paths[0]
    picture = picture_of(session, name)
    reader = open_input(path, tensor.shape[1:], tensor.dtype, name=name, picture=picture)
    report_preprocessing(session.name, reader.picture, reporter)
    if reader.picture is None and (note := picture.note_array(reader.path)):
        reporter.note(note)
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
    """Replace each folder by the images in it, or without any those in its subfolders, sorted by name. Raises BadData
    if there are none."""
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
        paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    except OSError as error:
        raise problem_of(error, folder) from None
    if not any(map(_is_picture, paths)):
        paths = [path for one in paths for path in (_files(one) if os.path.isdir(one) else [one])]
    for path in paths:
        (pictures if _is_picture(path) else others).append(path)
    if not pictures:
        raise BadData(
            f"the folder {folder} contains no images",
            "pass the files themselves, a folder of images, or one with a subfolder of images for each class",
        )
    if others:
        shown = ", ".join(os.path.basename(path) for path in others[:MAX_FILES_SHOWN])
        more = ", …" if len(others) > MAX_FILES_SHOWN else ""
        reporter.note(f"{folder}: skipped {plural(len(others), 'file')} without an image: {shown}{more}")
    return pictures


def _files(folder: str) -> list[str]:
    """Return the files in a folder and its subfolders in the order of a data set of images, none of a hidden folder."""
    found: list[str] = []
    for at, folders, names in os.walk(folder) if not os.path.basename(folder).startswith(".") else ():
        folders.sort()
        found += [os.path.join(at, name) for name in sorted(names)]
    return found


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
