"""The weights that a command is given, as the net calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.cli.problems import note
from netdsl.diagnostics.user_error import USAGE_IS_WRONG, UserError

if TYPE_CHECKING:
    import argparse

    from netdsl.ir.net import Net
    from netdsl.weights.file import WeightFile


class NeedsWeights(UserError, code="E0646", exit_code=USAGE_IS_WRONG):
    """`--rename`, `--match` and `--allow-nonfinite` say how a file's weights are taken: they go with `--weights`."""


def given_weights(net: Net, options: argparse.Namespace) -> WeightFile | None:
    """The file of `--weights`, its names changed as the other options and the rename file beside the spec say. Pairs
    that were made by order are told. Raises UserError."""
    check_together(options)
    if options.weights is None:
        return None
    from netdsl.weights.file import open_weights
    from netdsl.weights.fit import fit
    from netdsl.weights.rename import given

    rules = given(options.rename)
    by_order = options.match == "order"
    file = open_weights(options.weights)
    fitted = fit(net, file, rules=rules, order=by_order, any_value=options.allow_nonfinite)
    if by_order:
        from netdsl.weights.order import pairing

        for line in pairing(fitted, net):
            note(line)
    return fitted


def check_together(options: argparse.Namespace) -> None:
    """That no option stands alone which goes with --weights. Raises NeedsWeights."""
    if options.weights is not None:
        return
    given = {"--rename": options.rename, "--match": options.match, "--allow-nonfinite": options.allow_nonfinite}
    for name, value in given.items():
        if value:
            raise NeedsWeights(f"{name} goes with --weights")
