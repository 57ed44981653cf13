"""A file's weights as a network calls them: renamed as is asked for or as its spec's rules say, or paired in order."""

from __future__ import annotations

from math import isclose
from typing import TYPE_CHECKING

from netdsl.diagnostics.terminal import escape
from netdsl.lower import live
from netdsl.weights.errors import UnlikeLayer
from netdsl.weights.fitted import Fitted
from netdsl.weights.onnx_flattened import turns_of as turns_of_graph
from netdsl.weights.onnx_roles import KINDS
from netdsl.weights.order import in_order
from netdsl.weights.partial import excluded, part
from netdsl.weights.rename import beside, check_used, read_rules, renamed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.ir.net import Net
    from netdsl.weights.file import WeightFile
    from netdsl.weights.rename import Rule


def fit(
    net: Net,
    file: WeightFile,
    *,
    rules: Sequence[Rule] = (),
    order: bool = False,
    any_value: bool = False,
    exclude: Sequence[str] = (),
    partial: bool = False,
) -> WeightFile:
    """Return the file under the network's names, as far as `rules`, the rename file beside the network's spec or the
    `order` can tell them; `match` tells what does not fit.

    The file beside the spec is for weights whose names are not the network's already; what was fitted before stays as
    it is. Weights that the labels `exclude` name stay initial, and with `partial` those that the file lacks. Raises
    UserError.
    """
    check_used(rules, file)
    fitted = renamed(file, rules) if rules else file
    out = excluded(net, exclude)
    needed = {p.name for node in live(net) for p in node.parameters.values()} - file.initial - out
    if order:
        fitted = in_order(net, fitted, out)
    elif not needed <= fitted.entries.keys() and (path := beside(net.source.name)) is not None:
        other = renamed(fitted, read_rules(path))
        if not partial or len(needed & other.entries.keys()) > len(needed & fitted.entries.keys()):
            fitted = other
    if exclude or partial:
        ordered = [name for name in net.parameters if name in needed]
        fitted = part(net, fitted, ordered, out, partial=partial)
    _check_alike(net, fitted)
    turns = turns_of_graph(net, fitted) or None
    if fitted.keras is not None:
        from netdsl.weights.keras_order import turns_of

        origins = fitted.origins if isinstance(fitted, Fitted) else {key: key for key in fitted.entries}
        turns = turns_of(net, fitted.keras, origins)
    if turns is not None or any_value:
        return Fitted(fitted, {key: key for key in fitted.entries}, turns=turns, any_value=any_value)
    return fitted


def _check_alike(net: Net, file: WeightFile) -> None:
    """Raise UnlikeLayer where a graph's node computes something else with a weight than the network's layer."""
    for node in net.nodes:
        for word, parameter in node.parameters.items():
            entry = file.entries.get(parameter.name)
            if entry is None or entry.use is None or entry.use.unclear or entry.shape != parameter.shape:
                continue
            name, path, use = escape(parameter.name), escape(file.path), entry.use
            if use.word != word:
                raise UnlikeLayer(f"`{name}` is the {use.word} of a node {use.op} in {path}, not its {word}")
            if node.layer.kind not in KINDS.get(use.op, (node.layer.kind,)):
                kind = node.layer.kind
                raise UnlikeLayer(f"`{name}` is a weight of a node {use.op} in {path}, not of a `{kind}`")
            eps = getattr(node.layer, "eps", None)
            if eps is not None and use.epsilon is not None and not isclose(eps, use.epsilon, rel_tol=1e-4):
                raise UnlikeLayer(
                    f"`{escape(node.name)}` has the epsilon {eps:g}, and in {path} it is {use.epsilon:.4g}",
                    f"write `{node.layer.kind} eps {use.epsilon:.4g}`",
                )
