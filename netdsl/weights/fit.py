"""A file's weights as a network calls them: renamed as is asked for or as its spec's rules say, or paired in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.lower import live
from netdsl.weights.fitted import Fitted
from netdsl.weights.order import in_order
from netdsl.weights.rename import beside, check_used, read_rules, renamed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.ir.net import Net
    from netdsl.weights.file import WeightFile
    from netdsl.weights.rename import Rule


def fit(
    net: Net, file: WeightFile, *, rules: Sequence[Rule] = (), order: bool = False, any_value: bool = False
) -> WeightFile:
    """The file under the network's names, as far as `rules`, the rename file beside the network's spec or the `order`
    can tell them; what then does not fit, `match` tells. The file beside the spec is for weights whose names are not
    the network's already; what was fitted before stays as it is. Raises UserError."""
    check_used(rules, file)
    fitted = renamed(file, rules) if rules else file
    needed = {p.name: p.shape for node in live(net) for p in node.parameters.values()}
    if order:
        fitted = in_order(({name: p.shape for name, p in net.parameters.items()}, needed), fitted)
    elif not needed.keys() <= fitted.entries.keys() and (path := beside(net.source.name)) is not None:
        fitted = renamed(fitted, read_rules(path))
    turns = None
    if fitted.keras is not None:
        from netdsl.weights.keras_order import turns_of

        origins = fitted.origins if isinstance(fitted, Fitted) else {key: key for key in fitted.entries}
        turns = turns_of(net, fitted.keras, origins)
    if turns is not None or any_value:
        return Fitted(fitted, {key: key for key in fitted.entries}, turns=turns, any_value=any_value)
    return fitted
