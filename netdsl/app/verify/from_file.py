"""What is verified, from the file of a model or from a net and its `train` block: the arguments of `Subject`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from netdsl.app.frontend import load_lines
from netdsl.app.verify.outcome import Inapplicable, Skip
from netdsl.base.files import MissingFile
from netdsl.base.user_error import UserError
from netdsl.weights.onnx_external import data_files

if TYPE_CHECKING:
    from netdsl.app.frontend import Origin
    from netdsl.diagnostics.report import Report
    from netdsl.ir.net import Net


def model_subject(file: str) -> dict[str, Any]:
    """Return the subject of a model of any tool. Raises UserError if the file cannot be read, or has data outside its
    folder."""
    if not os.path.isfile(file):
        raise MissingFile(f"there is no file {file}")
    data_files(file)
    return {"model": os.path.abspath(file)}


def net_subject(net: Net, origin: Origin, report: Report) -> dict[str, Any]:
    """Return the subject of a net with the loss of its `train` block; without one, that of a classifier if it is one,
    as `eval` assumes. Errors of the block are in the report."""
    from netdsl.elaborate.train_block import NotAClassifier, NoTraining, classifier

    try:
        recipe, _ = load_lines(origin, [], {}, report)
    except NoTraining:
        try:
            return {"net": net, "recipe": classifier(net)}
        except NotAClassifier as error:
            return {"net": net, "no_recipe": Inapplicable(error.message)}
    except UserError as error:
        return {"net": net, "no_recipe": Skip(error.message)}
    return {"net": net, "recipe": recipe}
