"""`netdsl import`: turn a model of another tool into a `.net` text with its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.cli.messages import note, print_json

if TYPE_CHECKING:
    import argparse


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0. Raises UserError if the model is refused or the proof fails; nothing is written."""
    from netdsl.app.import_model import ImportOptions, import_model

    given = {name: value for name in ImportOptions._fields if (value := getattr(options, name, None)) is not None}
    given["shapes"] = dict(options.shapes or ())
    found = import_model(options.file, ImportOptions(**given))
    if options.json:
        print_json(found.data())
    else:
        for line in found.lines():
            note(line)
    return 0
