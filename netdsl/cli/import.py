"""`netdsl import`: turn models of other tools into a `.net` text with their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.cli.messages import note, print_json

if TYPE_CHECKING:
    import argparse

    from netdsl.app.import_model import Imported
    from netdsl.app.import_variants import ImportedVariants


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0. Raises UserError if a model is refused or a proof fails; nothing is written."""
    from netdsl.app.import_model import ImportOptions, import_model
    from netdsl.app.import_variants import import_variants, weights_of

    files, weights = options.files, options.weights or []
    given = {name: value for name in ImportOptions._fields if (value := getattr(options, name, None)) is not None}
    chosen = ImportOptions(**{**given, "weights": None, "shapes": dict(options.shapes or ())})
    found: Imported | ImportedVariants
    if len(files) == 1:
        found = import_model(files[0], chosen._replace(weights=weights_of(files, weights)[0]))
    else:
        found = import_variants(files, weights, chosen)
    if options.json:
        print_json(found.data())
    else:
        for line in found.lines():
            note(line)
    return 0
