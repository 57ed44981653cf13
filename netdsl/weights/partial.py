"""A part of a file's weights: the rest of the network's stay initial, as transfer learning wants of a head."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import accumulate, groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from netdsl.base.suggest import suggest
from netdsl.base.terminal import escape
from netdsl.weights.draw import draw_all
from netdsl.weights.errors import UnknownLabel, WeightsDoNotFit
from netdsl.weights.file import Fitted
from netdsl.weights.match import is_passed_over, renaming_help, spell

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from netdsl.ir.net import Net, Parameter
    from netdsl.weights.file import WeightFile
    from netdsl.weights.match import Floats, MatchedWeights

    Shape = tuple[int, ...]

MOST_SHOWN = 10


def excluded(net: Net, labels: Iterable[str]) -> set[str]:
    """Return the weights that labels name: a label is a weight's name, what that begins with in whole words (`fc`,
    `layer4.0`), or a pattern of either (`layer?`, `*.bias`). Raises UnknownLabel where one names none."""
    scopes = {name: [*accumulate(name.split("."), lambda a, b: f"{a}.{b}")] for name in net.parameters}
    found: set[str] = set()
    for label in labels:
        named = {name for name, known in scopes.items() if any(fnmatchcase(scope, label) for scope in known)}
        if not named:
            words = dict.fromkeys(scope for known in scopes.values() for scope in known)
            close = [f"did you mean `{word}`?" for word in suggest(label, words)[:1]]
            first = dict.fromkeys(known[0] for known in scopes.values())
            listed = ", ".join(map(escape, [*first][:MOST_SHOWN])) + (", …" if len(first) > MOST_SHOWN else "")
            text = f"{escape(net.name)} has no layer or weight `{escape(label)}`: it has {listed or 'none'}"
            raise UnknownLabel(text, *close)
        found |= named
    return found


def part(net: Net, file: WeightFile, needed: Collection[str], out: Collection[str], *, partial: bool) -> Fitted:
    """Return the file without the weights `out`, which stay initial.

    If `partial`, what is none of the network's is left out too, and what the file lacks of the `needed` ones stays
    initial. Raises WeightsDoNotFit where no weight is taken.
    """
    dropped = [key for key in file.entries if key in out or (partial and key not in net.parameters)]
    names = {key: key for key in file.entries if key not in set(dropped)}
    if not any(key in net.parameters for key in names):
        wanted = {key: net.parameters[key].shape for key in needed}
        spare = {key: file.entries[key].shape for key in dropped if key not in out}
        listed = ", ".join(map(escape, [*spare][:MOST_SHOWN])) + (", …" if len(spare) > MOST_SHOWN else "")
        why = f"belongs to {escape(net.name)}: it has {listed}" if spare else "remains"
        raise WeightsDoNotFit(f"no weight in {escape(file.path)} {why}", *renaming_help(wanted, spare))
    lost = [key for key in needed if key not in names] if partial else []
    origins = file.origins if isinstance(file, Fitted) else {}
    left = {origins.get(key, key): file.entries[key].shape for key in dropped if not is_passed_over(key)}
    return Fitted(file, names, initial=frozenset([*out, *lost]), left=left)


def report(net: Net, file: WeightFile, seed: int, *, training: bool = False) -> list[str]:
    """Return lines that list the network's weights that are random, those of training heads among them where they are
    needed, and the file's that are left over."""
    heads = net.parameters.keys() - file.entries.keys() if training else frozenset()
    random = {name: p.shape for name, p in net.parameters.items() if name in file.initial | heads}
    path = escape(file.path)
    return [
        *_listed(f"{len(random)} of {len(net.parameters)} weights stay initial, drawn from seed {seed}", random),
        *_listed(f"{len(file.left)} tensors of {path} are left over", file.left),
    ]


def _listed(title: str, shapes: Mapping[str, Shape]) -> Iterator[str]:
    if shapes:
        yield f"{title}:"
    width = max((len(escape(name)) for name in shapes), default=0)
    for name, shape in [*shapes.items()][:MOST_SHOWN]:
        yield f"  {escape(name):{width}}  {spell(shape)}"
    if len(shapes) > MOST_SHOWN:
        yield f"  and {len(shapes) - MOST_SHOWN} more"


def or_drawn(
    parameters: Iterable[Parameter], seed: int, matched: MatchedWeights
) -> Iterator[tuple[str, Iterator[Floats]]]:
    """Yield each parameter's name and values in parts: a file's, or drawn ones where it has none."""
    parameters = tuple(parameters)
    drawn = draw_all([p for p in parameters if p.name not in matched], seed)
    read = groupby(matched.stream(), itemgetter(0))
    for parameter in parameters:
        if parameter.name in matched:
            name, parts = next(read)
            yield name, (values for _, values in parts)
        else:
            yield next(drawn)
    rest = next(read, None), next(drawn, None)  # checksums are tested and threads end there
    assert rest == (None, None)
