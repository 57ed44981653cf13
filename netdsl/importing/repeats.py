"""Write equal neighbours as a `repeat`, and those whose labels are numbered as a `for`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.importing.blocks import references
from netdsl.importing.statements import Statement

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

MAX_PERIOD = 4
"""Maximum number of statements that are repeated together."""


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


def repeated(body: Sequence[Statement]) -> list[Statement]:
    """Return statements with loops for those that are repeated."""
    body = [_shorter(each.mapped(iter([repeated(part) for part in each.lists()]))) for each in body]
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
        elif (numbered := _numbered(body, at)) is not None:
            loop, count = numbered
            found.append(loop)
            at += count
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


def _times(texts: Sequence[str], at: int, period: int) -> int:
    times = 1
    while texts[at : at + period] == texts[at + times * period : at + (times + 1) * period]:
        times += 1
    return times


def _is_worth(body: Sequence[Statement], times: int) -> bool:
    """Return whether a loop is shorter: not for two short layers."""
    return len(body) > 1 or times > 2 or body[0].block is not None or bool(body[0].lists())


def _numbered(body: Sequence[Statement], at: int) -> tuple[Statement, int] | None:
    """Return a loop over statements with the labels x1, x2, …, and how many they are."""
    match = re.fullmatch(r"(.*?)(0|[1-9]\d*)", body[at].label)
    if match is None or body[at].number or not match[1] or not (body[at].block is not None or body[at].lists()):
        return None
    stem, first = match[1], int(match[2])
    text = body[at].changed(label="").text
    count = 1
    while at + count < len(body):
        each = body[at + count]
        if each.label != f"{stem}{first + count}" or each.number or each.changed(label="").text != text:
            break
        count += 1
    if count < 2:
        return None
    inner = body[at].changed(label=f"{stem}{{i}}")
    return Statement(f"for i in range({first}, {first + count})", operands=[[inner]]), count


def _shorter(statement: Statement) -> Statement:
    """Return a group that is a single loop as that loop with a label."""
    if not statement.label or statement.number or statement.head not in ("", "seq") or len(statement.operands) != 1:
        return statement
    (body,) = statement.operands
    if isinstance(body, str) or len(body) != 1:
        return statement
    loop = body[0]
    word = loop.head.split(" ")[0]
    (inner,) = loop.operands if word in ("repeat", "for") else ([],)
    single = word == "repeat" and len(inner) == 1 and not isinstance(inner, str) and _is_single(inner[0])
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
