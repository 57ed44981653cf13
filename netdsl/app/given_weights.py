"""The weights given for a net, under its names."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from netdsl.base.user_error import USAGE_IS_WRONG, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from netdsl.app.reporter import Reporter
    from netdsl.diagnostics.report import Report
    from netdsl.ir.net import Net
    from netdsl.weights.file import WeightFile
    from netdsl.weights.rename import Rule

BIAS_WITHOUT_EFFECT = "W0302"
"""Code of the warning about a bias before `bn`. A bias whose values a file has must be in the net."""


class NeedsWeights(UserError, code="E0646", title="an option that requires `--weights`", exit_code=USAGE_IS_WRONG):
    r"""`--rename`, `--transpose`, `--drop`, `--match`, `--except`, `--partial` and `--allow-nonfinite` control how the
    weights of a file are used, so they require `--weights`. `--partial` cannot be combined with `--match order`, since
    an order with gaps is ambiguous.

    ```sh
    netdsl compile net.net --weights w.pth --rename 'module\.(.*)' '$1' --except fc
    ```
    """


class WeightSource(NamedTuple):
    """A file of weights, or arrays by name, and how they are matched to a net's; without `weights`, all are random.

    `rules` rename them, `match` is `name` (the default) or `order`, `exclude` are labels of weights that stay random,
    and `partial` lets those stay random that are missing.
    """

    weights: str | Mapping[str, ArrayLike] | None = None
    rules: Sequence[Rule] = ()
    match: str | None = None
    exclude: Sequence[str] = ()
    partial: bool = False
    allow_nonfinite: bool = False


def given_weights(
    net: Net, source: WeightSource, seed: int, reporter: Reporter, *, training: bool = False
) -> WeightFile | None:
    """Return the weights of a source, matched to the net by its options and the rename file beside the spec.

    Reports the pairs matched by order, the weights that are transposed, and those that are drawn from the seed instead:
    as a warning, unless the net is to be trained. Raises UserError.
    """
    check_together(source)
    matched = matched_weights(net, source)
    if matched is None:
        return None
    if source.match == "order":
        from netdsl.weights.order import pair_lines

        for line in pair_lines(matched, net):
            reporter.note(line)
    elif matched.transposed:
        from netdsl.weights.match import transposed_report

        for line in transposed_report(net, matched):
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


def note_random(net: Net, seed: int, reporter: Reporter) -> None:
    """Report that a net has random weights."""
    reporter.note(f"{net.name}: using random weights (seed {seed}); pass --weights FILE to load trained ones")


def matched_weights(net: Net, source: WeightSource) -> WeightFile | None:
    """Return the weights of a source under the names of the net; None without weights. Raises UserError."""
    if source.weights is None:
        return None
    from netdsl.weights.file import open_weights
    from netdsl.weights.match import match_weights
    from netdsl.weights.npz import MappedWeights

    return match_weights(
        net,
        open_weights(source.weights) if isinstance(source.weights, str) else MappedWeights(source.weights),
        rules=source.rules,
        order=source.match == "order",
        allow_nonfinite=source.allow_nonfinite,
        exclude=source.exclude,
        partial=source.partial,
    )


def discard_bias_warnings(report: Report, net: Net, source: WeightSource, weights: WeightFile | None = None) -> None:
    """Discard each warning about a bias before `bn` whose values are taken from the `weights`, or without them from the
    source. A bias of several layers, in a loop or block, is kept or left out for all of them."""
    warned = {problem.span.key: problem for problem in report if problem.code == BIAS_WITHOUT_EFFECT}
    if not warned:
        return
    try:
        weights = weights or matched_weights(net, source)
        taken = {*weights.entries} if weights is not None else set()
    except UserError:  # given_weights reports it
        taken = {*net.parameters}
    for node in net.nodes:
        problem, bias = warned.get(node.span.key), node.parameters.get("bias")
        if problem is not None and bias is not None and bias.name in taken:
            report.discard(problem)


def check_together(source: WeightSource) -> None:
    """Raise NeedsWeights if an option that requires --weights is given alone, or two contradict each other."""
    if source.partial and source.match == "order":
        raise NeedsWeights("--partial cannot be combined with --match order: an order with gaps is ambiguous")
    if source.weights is not None:
        return
    given = {
        **{rule.place.split()[0]: True for rule in source.rules},
        "--match": source.match,
        "--except": source.exclude,
        "--partial": source.partial,
        "--allow-nonfinite": source.allow_nonfinite,
    }
    for name, value in given.items():
        if value:
            raise NeedsWeights(f"{name} goes with --weights")
