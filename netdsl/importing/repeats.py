"""Write equal neighbours as a `repeat`, and those that differ in numbers as a `for`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.importing.blocks import references
from netdsl.importing.loops import frame, loop
from netdsl.importing.statements import Statement, layout, operand_text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from netdsl.importing.statements import Operand

MAX_PERIOD = 4
"""Maximum number of statements that are repeated together."""

MAX_BODY = 8
"""The same for a `for`, whose statements differ in numbers."""

MAX_TRIES = 8
"""Maximum number of loops that are tried from a statement on, each an iteration shorter than the one before."""

LEAST = 3
"""Minimum number of iterations of a loop whose arguments are computed."""

LEAST_LISTED = 4
"""Minimum number of iterations of a loop that reads lists."""

SHORTER = 0.75
"""How long a loop is at most, relative to its iterations."""

SHORTER_LISTED = 0.6
"""The same for a loop that reads lists."""


def unlabelled(body: Sequence[Statement], used: Collection[str] | None = None) -> list[Statement]:
    """Return statements with the calls of blocks without labels that they have without them: the first call of `fire`
    is `fire1`. `used` are labels that something refers to."""
    counts: dict[str, int] = {}
    used = {part for name in references(body) for part in name.split(".")} if used is None else used

    def rewritten(statements: Sequence[Statement]) -> list[Statement]:
        found = []
        for each in statements:
            own_scope = bool(each.label) and each.lists()
            inner = [unlabelled(part, used) if own_scope else rewritten(part) for part in each.lists()]
            new = each.mapped(iter(inner))
            if each.block is not None and not each.number:
                name = f"{each.block.name}{counts.get(each.block.name, 0) + 1}"
                if each.label in ("", name) and each.label not in used:
                    counts[each.block.name] = counts.get(each.block.name, 0) + 1
                    new = new.changed(label="")
            found.append(new)
        return found

    return rewritten(body)


def repeated(body: Sequence[Statement], avoid: Collection[str] | None = None) -> list[Statement]:
    """Return statements with loops for those that are repeated. Variables of loops have other names than those to
    `avoid`; without these, loops number labels alone."""
    body = [_shorter(each.mapped(iter([repeated(part, avoid) for part in each.lists()]))) for each in body]
    body = _equal(body) if avoid is None else [_merged(each, avoid) for each in _equal(body)]
    frames = [frame(each) for each in body]
    found: list[Statement] = []
    at = 0
    while at < len(body):
        statement, count = _numbered(body, frames, at, avoid)
        found.append(statement)
        at += count
    return [_shorter(each) for each in found]


def _equal(body: Sequence[Statement]) -> list[Statement]:
    """Return statements with a `repeat` for equal neighbours."""
    texts = [each.text for each in body]
    found: list[Statement] = []
    at = 0
    while at < len(body):
        period, times = max(
            ((p, _times(texts, at, p)) for p in range(1, MAX_PERIOD + 1) if _can_begin(body, at, p)),
            key=lambda each: ((each[1] - 1) * each[0], -each[0]),
            default=(1, 1),
        )
        if times > 1 and _is_worth(body[at : at + period], times):
            found.append(Statement(f"repeat {times}", operands=[list(body[at : at + period])], wide=body[at].wide))
            at += period * times
        else:
            found.append(body[at])
            at += 1
    return found


def _can_begin(body: Sequence[Statement], at: int, period: int) -> bool:
    """Return whether statements can be the body of a loop: they do not begin with what belongs to the one before."""
    inner = body[at : at + period]
    plain = all(not each.label or each.number for each in inner)
    ends = any(each.head.startswith(("input ", "output ")) for each in inner)
    return plain and not ends and (inner[0].begins or not at)


def _times(texts: Sequence[object], at: int, period: int) -> int:
    times = 1
    while texts[at : at + period] == texts[at + times * period : at + (times + 1) * period]:
        times += 1
    return times


def _is_worth(body: Sequence[Statement], times: int) -> bool:
    """Return whether a loop is shorter: not for two short layers."""
    return len(body) > 1 or times > 2 or body[0].block is not None or bool(body[0].lists())


def _numbered(
    body: Sequence[Statement], frames: Sequence[object], at: int, avoid: Collection[str] | None
) -> tuple[Statement, int]:
    """Return the loop that begins with a statement and makes the text the shortest, and for how many it stands."""
    best, best_count, most = body[at], 1, 0
    for period in range(1, MAX_BODY + 1) if body[at].begins or not at else ():
        times = _times(frames, at, period)
        bodies = [body[at + period * each : at + period * (each + 1)] for each in range(times)]
        texts = ["; ".join(each.text for each in inner) for inner in bodies]
        found, times = _longest(bodies, texts, avoid)
        if found is not None and (saved := len("; ".join(texts[:times])) - len(found.text)) > most:
            best, best_count, most = found, period * times, saved
    return best, best_count


def _longest(
    bodies: Sequence[Sequence[Statement]], texts: Sequence[str], avoid: Collection[str] | None
) -> tuple[Statement | None, int]:
    """Return the loop whose iterations are the first of these bodies, as many as possible, if there is one."""
    for times in range(len(bodies), max(1, len(bodies) - MAX_TRIES), -1):
        if (found := _loop(bodies[:times], texts[:times], avoid)) is not None:
            return found, times
    return None, 1


def _loop(
    bodies: Sequence[Sequence[Statement]], texts: Sequence[str], avoid: Collection[str] | None
) -> Statement | None:
    """Return a loop that is clearer than its iterations, if there is one."""
    length = sum(map(len, texts))
    found = loop(bodies, avoid or (), lists=False)
    if avoid is None:
        return found if found is not None and _is_plain(bodies, found) else None
    if found is not None and len(bodies) >= LEAST and len(found.text) <= SHORTER * length:
        return found
    if found is not None and len(bodies) < LEAST and _is_plain(bodies, found):
        return found
    if len(bodies) < LEAST_LISTED:
        return None
    found = loop(bodies, avoid, lists=True)
    return found if found is not None and len(found.text) <= SHORTER_LISTED * length else None


def _is_plain(bodies: Sequence[Sequence[Statement]], found: Statement) -> bool:
    """Return whether two iterations differ in the number of their label alone."""
    (first, *rest), (inner,) = bodies[0], found.lists()
    same = all(each.changed(label="").text == first.changed(label="").text for (each, *_) in bodies)
    return same and not rest and (first.block is not None or bool(first.lists())) and inner[0].label != first.label


def _merged(statement: Statement, avoid: Collection[str]) -> Statement:
    """Return a merge with loops for operands that differ in numbers."""
    if len(statement.operands) < LEAST:
        return statement
    bodies = [_branch(operand) for operand in statement.operands]
    if statement.known and sum(each[:1] != [] and each[0].head.startswith("from ") for each in bodies) >= LEAST - 1:
        start = Statement(f"from {statement.known}")
        bodies = [[start, *each] if each and not each[0].head.startswith("from ") else each for each in bodies]
    keys = [tuple(map(frame, each)) for each in bodies]
    operands: list[Operand] = []
    at = 0
    while at < len(bodies):
        end = at + (_times(keys, at, 1) if keys[at] else 1)
        found, times = _longest(bodies[at:end], [*map(operand_text, statement.operands[at:end])], avoid)
        operands.append(statement.operands[at] if found is None else found)
        at += times
    merged = statement.changed(operands=tuple(operands))
    return merged if len(layout([merged])) <= len(layout([statement])) else statement


def _branch(operand: Operand) -> list[Statement]:
    """Return an operand as the statements of a branch."""
    if isinstance(operand, str):
        return [Statement(f"from {operand}")]
    return [] if isinstance(operand, Statement) else operand


def _shorter(statement: Statement) -> Statement:
    """Return a group that is a single loop as that loop with a label."""
    if not statement.label or statement.number or statement.head not in ("", "seq") or len(statement.operands) != 1:
        return statement
    (body,) = statement.lists() or [[]]
    if len(body) != 1:
        return statement
    loop = body[0]
    word = loop.head.split(" ")[0]
    (inner,) = loop.lists() if word in ("repeat", "for") else ([],)
    single = word == "repeat" and len(inner) == 1 and _is_single(inner[0])
    if (word == "for" and statement.head == "") or (single and statement.head == "seq"):
        return loop.changed(label=statement.label)
    return statement


def _is_single(statement: Statement) -> bool:
    """Return whether a statement is one that the number of an iteration names."""
    if statement.label and not statement.number:
        return False
    return statement.block is not None or statement.head == "seq" or (
        statement.layer is not None and not statement.operands
    )  # fmt: skip
