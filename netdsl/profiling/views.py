"""Group the costs of a profile by lines of the source, blocks, layers or operators."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.ir.graph import FORWARD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from netdsl.base.shape import Shape
    from netdsl.profiling.profile import Cost, Place, Profile

    Key = Callable[[Cost, Place], object]

UNKNOWN, BETWEEN = "unknown", "between operators"
"""Names of rows: of kernels whose place is unknown, and of the time outside kernels."""

TOP = "the net itself"
"""Name of what is in no block."""


def _general(scope: str) -> str:
    """Return a scope with `*` for numbers, which are those of repetitions: `layer3.*`."""
    return re.sub(r"(?<![^./])\d+(?![^./])", "*", scope)


def _call(_: Cost, place: Place) -> str:
    """Name a call of a block and all its repetitions."""
    return f"{_general(place.scope)} {place.block}".strip() or TOP


VIEWS: dict[str, Key] = {
    "line": lambda _, place: (place.file, place.line),
    "block": lambda _, place: place.block or _general(place.scope) or TOP,
    "call": _call,
    "repeat": lambda _, place: f"{place.scope} {place.block}".strip() or TOP,
    "layer": lambda _, place: place.layer,
    "kind": lambda _, place: place.kind,
    "op": lambda cost, _: cost.op,
    "phase": lambda cost, _: cost.phase or FORWARD,
}
"""The views, as functions from a cost to what it is grouped by."""


class Row:
    """The costs of a line, a block, a layer, …

    `name` is what they are grouped by, and `place` that of the first. `seconds` are scaled to a run without profiling,
    and `share` is that of the whole run; `phases` are the seconds by phase. `count` is how often the row occurs in the
    net: the layers of a line, the calls of a block. `joined` are the kinds of layers from elsewhere whose work is
    included, because a kernel computes them together with a layer of this row.
    """

    __slots__ = ("_calls", "costs", "joined", "name", "phases", "place", "seconds", "share")

    def __init__(self, name: str, costs: Sequence[Cost], profile: Profile, by: str) -> None:
        self.name = name
        self.costs = costs
        self.place = costs[0].place
        spent = sum(cost.seconds for cost in costs)
        self.seconds = spent * profile.scale
        self.share = spent / (profile.profiled or 1)
        self.phases: dict[str, float] = {}
        for cost in costs:
            if cost.phase:
                self.phases[cost.phase] = self.phases.get(cost.phase, 0.0) + cost.seconds * profile.scale
        self._calls = _calls(costs, by)
        own = {(cost.place.file, cost.place.line) for cost in costs if cost.place}
        elsewhere = [x for cost in costs for x in cost.joined if by != "line" or (x.file, x.line) not in own]
        self.joined = [*dict.fromkeys(x.kind for x in elsewhere)] if by in ("line", "layer") else []

    @property
    def count(self) -> int:
        return self._calls

    @property
    def flops(self) -> float | None:
        """The floating-point operations; None if those of a kernel are unknown."""
        known = [cost.flops for cost in self.costs if cost.flops is not None]
        return sum(known) if len(known) == len(self.costs) else None

    @property
    def rate(self) -> float | None:
        """The floating-point operations in a second."""
        return self.flops / self.seconds if self.flops and self.seconds else None

    @property
    def moved(self) -> int:
        return sum(cost.moved for cost in self.costs)

    @property
    def shapes(self) -> list[Shape]:
        """The different shapes of results, in the order of execution."""
        return [*dict.fromkeys(cost.place.shape for cost in self.costs if cost.place and not cost.layout)]


def _calls(costs: Sequence[Cost], by: str) -> int:
    """Return how often a row occurs: for a line, the layers of that of its calls which has most."""
    places = {cost.place for cost in costs if cost.place}
    if by == "op":
        return len(costs)
    if by in ("block", "call", "repeat"):
        return len({place.scope for place in places})
    if by == "line":
        # A layer of a compiled model has a place for each of its operators.
        columns = [column for _, column in {(place.layer, place.column) for place in places}]
        return max(map(columns.count, columns), default=0)
    return len({place.layer for place in places})


def rows(profile: Profile, by: str) -> list[Row]:
    """Return the rows of a view, the most expensive first; kernels whose place is unknown are one row, the last."""
    groups: dict[object, list[Cost]] = {}
    unknown: list[Cost] = []
    for cost in profile.costs:
        if cost.place is None and by != "op":
            unknown.append(cost)
        else:
            key = cost.op if cost.place is None else VIEWS[by](cost, cost.place)
            groups.setdefault(key, []).append(cost)
    found = [Row(_name(key), costs, profile, by) for key, costs in groups.items()]
    found.sort(key=lambda row: -row.seconds)
    return [*found, Row(UNKNOWN, unknown, profile, by)] if unknown else found


def _name(key: object) -> str:
    if not isinstance(key, tuple):
        return str(key)
    file, line = key
    return f"{file}:{line}" if line else "no line"


def default_view(profile: Profile) -> str:
    """Return the view of a profile: by line, or if there are no lines, by layer."""
    return "line" if profile.has_lines else "layer"


def joined_lines(costs: Iterable[Cost]) -> dict[tuple[str, int], set[int]]:
    """Return, for each line whose layers other lines compute, the numbers of those lines in the same file."""
    found: dict[tuple[str, int], set[int]] = {}
    for cost in costs:
        for place in cost.joined:
            if cost.place and place.file == cost.place.file and place.line != cost.place.line:
                found.setdefault((place.file, place.line), set()).add(cost.place.line)
    return found


def folded(profile: Profile) -> str:
    """Return a line for each stack of scopes with its microseconds, as programs that draw flame graphs read them."""
    found: dict[str, float] = {}
    for cost in profile.costs:
        path = re.split(r"[./]", cost.place.layer) if cost.place else [UNKNOWN]
        stack = ";".join(_frame(each) for each in (profile.name, *filter(None, path), *filter(None, [cost.phase])))
        found[stack] = found.get(stack, 0.0) + cost.seconds
    found[f"{_frame(profile.name)};{BETWEEN}"] = profile.between
    return "\n".join(f"{stack} {round(1e6 * seconds * profile.scale)}" for stack, seconds in found.items())


def _frame(name: str) -> str:
    """Return the name of a frame, in which `;` would separate two."""
    return "".join(" " if each in ";\n\r" else each for each in name)
