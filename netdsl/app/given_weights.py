"""The weights given to a command, under the names of the net."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from netdsl.app.messages import note
from netdsl.base.user_error import USAGE_IS_WRONG, UserError

if TYPE_CHECKING:
    import argparse

    from netdsl.ir.net import Net
    from netdsl.weights.file import WeightFile


class NeedsWeights(UserError, code="E0646", exit_code=USAGE_IS_WRONG):
    """`--rename`, `--match`, `--except`, `--partial` and `--allow-nonfinite` say how a file's weights are taken: they
    go with `--weights`. `--partial` does not go with `--match order`, as an order with gaps says nothing."""


def given_weights(net: Net, options: argparse.Namespace, seed: int, *, training: bool = False) -> WeightFile | None:
    """Return the file of `--weights`, its names changed as the other options and the rename file beside the spec say.

    Print the pairs that were made by order, and which weights are drawn from the seed instead: a warning, unless the
    net is to be trained. Raises UserError.
    """
    check_together(options)
    if options.weights is None:
        return None
    from netdsl.weights.file import open_weights
    from netdsl.weights.fit import fit
    from netdsl.weights.rename import given

    by_order = options.match == "order"
    fitted = fit(
        net,
        open_weights(options.weights),
        rules=given(options.rename),
        order=by_order,
        any_value=options.allow_nonfinite,
        exclude=options.exclude,
        partial=options.partial,
    )
    if by_order:
        from netdsl.weights.fit import pairing

        for line in pairing(fitted, net):
            note(line)
    if fitted.initial or fitted.left:
        from netdsl.weights.partial import report

        text = "\n".join(report(net, fitted, seed, training=training))
        if training or not fitted.initial:
            note(text)
        else:
            print(f"warning: {text}", file=sys.stderr)
    return fitted


def check_together(options: argparse.Namespace) -> None:
    """Raise NeedsWeights where an option stands alone that goes with --weights, or two contradict each other."""
    if options.partial and options.match == "order":
        raise NeedsWeights("--partial does not go with --match order: an order with gaps says nothing")
    if options.weights is not None:
        return
    given = {
        "--rename": options.rename,
        "--match": options.match,
        "--except": options.exclude,
        "--partial": options.partial,
        "--allow-nonfinite": options.allow_nonfinite,
    }
    for name, value in given.items():
        if value:
            raise NeedsWeights(f"{name} goes with --weights")
