"""The weights given to a command, under the names of the net."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.user_error import USAGE_IS_WRONG, UserError

if TYPE_CHECKING:
    import argparse

    from netdsl.app.reporter import Reporter
    from netdsl.diagnostics.report import Report
    from netdsl.ir.net import Net
    from netdsl.weights.file import WeightFile


BIAS_WITHOUT_EFFECT = "W0302"
"""Code of the warning about a bias before `bn`. A bias whose values a file has must be in the net."""


class NeedsWeights(UserError, code="E0646", title="an option that requires `--weights`", exit_code=USAGE_IS_WRONG):
    """`--rename`, `--match`, `--except`, `--partial` and `--allow-nonfinite` control how the weights of a file are
    used, so they require `--weights`. `--partial` cannot be combined with `--match order`, since an order with gaps is
    ambiguous."""


def given_weights(
    net: Net, options: argparse.Namespace, seed: int, reporter: Reporter, *, training: bool = False
) -> WeightFile | None:
    """Return the file of `--weights`, renamed by the other options and the rename file beside the spec.

    Reports the pairs matched by order, and the weights that are drawn from the seed instead: as a warning, unless the
    net is to be trained. Raises UserError.
    """
    check_together(options)
    if options.weights is None:
        return None
    matched = _matched(net, options)
    if options.match == "order":
        from netdsl.weights.order import pair_lines

        for line in pair_lines(matched, net):
            reporter.note(line)
    if matched.initial or matched.unused:
        from netdsl.weights.match import initial_report

        lines = initial_report(net, matched, seed, training=training)
        if training or not matched.initial:
            for line in lines:
                reporter.note(line)
        else:
            reporter.warn(*lines)
    return matched


def _matched(net: Net, options: argparse.Namespace) -> WeightFile:
    """Return the file of `--weights` under the names of the net. Raises UserError."""
    from netdsl.weights.file import open_weights
    from netdsl.weights.match import match_weights
    from netdsl.weights.rename import option_rules

    return match_weights(
        net,
        open_weights(options.weights),
        rules=option_rules(options.rename),
        order=options.match == "order",
        allow_nonfinite=options.allow_nonfinite,
        exclude=options.exclude,
        partial=options.partial,
    )


def discard_bias_warnings(
    report: Report, net: Net, options: argparse.Namespace, weights: WeightFile | None = None
) -> None:
    """Discard each warning about a bias before `bn` whose values are taken from the weights, or without them from the
    file of `--weights`. A bias of several layers, in a loop or block, is kept or left out for all of them."""
    warned = {problem.span.key: problem for problem in report if problem.code == BIAS_WITHOUT_EFFECT}
    if not warned:
        return
    try:
        weights = weights or _matched(net, options)
        taken = {*weights.entries}
    except UserError:  # given_weights reports it
        taken = {*net.parameters}
    for node in net.nodes:
        problem, bias = warned.get(node.span.key), node.parameters.get("bias")
        if problem is not None and bias is not None and bias.name in taken:
            report.discard(problem)


def check_together(options: argparse.Namespace) -> None:
    """Raise NeedsWeights if an option that requires --weights is given alone, or two contradict each other."""
    if options.partial and options.match == "order":
        raise NeedsWeights("--partial cannot be combined with --match order: an order with gaps is ambiguous")
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
