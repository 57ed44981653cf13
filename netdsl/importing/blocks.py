"""Find groups of statements that are equal but for some arguments, and write them as calls of a block."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from netdsl.declare.arguments import LayerLabel, Operand
from netdsl.importing.notation import Labels, clean
from netdsl.importing.statements import FOLLOWING, Block, Expression, Parameter, Statement
from netdsl.layers.table import LAYER_MODULES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from netdsl.declare.arguments import Kind

MAX_PARAMETERS = 8
"""Maximum number of parameters of a block."""

OUTER = "xyzuvw"
"""Names of the labels that a block takes. A number behind a word would be a part of a label in loops."""

MAX_OUTER = 3
"""Maximum number of labels that a block takes which is not needed."""

SIZES = {"channels": "width", "units": "width", "kernel": "kernel", "stride": "stride"}
"""Names of parameters, by the argument that they are first used for."""

LABELS = (Operand, LayerLabel)
"""Kinds of arguments that are labels."""

PROPORTIONAL = frozenset(["channels", "units"])
"""Arguments that are written as a multiple of another one."""

RANGE = frozenset(["start", "stop"])
"""Arguments that are written as a multiple of another one of them."""


class Slot(NamedTuple):
    """A place for an argument: what it is of a layer or block, its kind and its default, and where the value stands."""

    name: str
    kind: Kind[object]
    default: object
    value: object
    wide: int


def slots(statement: Statement) -> Iterator[Slot]:
    """Yield the arguments of a call."""
    if statement.block is not None:
        for each in statement.block.parameters:
            name = re.sub(r"\d+$", "", each.name)
            yield Slot(name, each.kind, each.default, statement.given[each.name], statement.wide)
    elif statement.layer is not None:
        for argument in statement.layer.arguments.values():
            if not isinstance(argument.kind, (Operand, LayerLabel)):
                value = getattr(statement.layer, argument.name)
                yield Slot(argument.name, argument.kind, argument.default, value, statement.wide)


def walk(body: Sequence[Statement]) -> Iterator[Statement]:
    """Yield statements with what is in their braces, in the order of the text."""
    for each in body:
        yield each
        for inner in each.lists():
            yield from walk(inner)


def skeleton(body: Sequence[Statement]) -> tuple[object, ...]:
    """Return what is equal in statements that differ in arguments alone. A `project` is no part of it."""
    found: list[object] = []
    for each in body:
        name = "" if each.number else each.label
        labels = tuple((label_arguments(each) if each.layer is None else each.values).items())
        operands = tuple(
            o if isinstance(o, str) else skeleton([o] if isinstance(o, Statement) else o) for o in each.operands
        )
        found.append((name, each.head, labels, operands))
    return tuple(found)


def projects(body: Sequence[Statement]) -> tuple[object, ...]:
    """Return the skeletons of the `project`s in statements."""
    return tuple(None if each.project is None else skeleton(each.project) for each in walk(body) if each.head == "skip")


class Blocks:
    """The blocks of a text by their origins. Unless `every` one is made, only groups that a `seq` numbers become
    blocks, which cannot be written otherwise; `banned` are the origins of those to leave out. `classes` are those of
    modules."""

    def __init__(
        self,
        avoid: Collection[str],
        every: bool = True,
        banned: Collection[str] = (),
        classes: Mapping[str, str] | None = None,
    ) -> None:
        self.classes = classes or {}
        self.every = every
        self.banned = banned
        self.labels = Labels(avoid)
        self.blocks: dict[str, Block] = {}

    @property
    def variables(self) -> set[str]:
        """The names of blocks and of their parameters."""
        return {name for each in self.blocks.values() for name in (each.name, *(own.name for own in each.parameters))}

    def found(self, body: list[Statement]) -> list[Statement]:
        """Return statements with calls of blocks, which are made from the inside out."""
        self.tried: set[Statement] = set()
        while True:
            groups = [each for each in self._leaves(body) if each not in self.tried]
            if not groups:
                return body
            self.tried.update(groups)
            calls = self._calls(groups)
            body = self._replaced(body, calls)

    def _leaves(self, body: Sequence[Statement]) -> Iterator[Statement]:
        """Yield the innermost groups that were not tried."""
        for each in body:
            inner = [found for part in each.lists() for found in self._leaves(part)]
            yield from inner
            if is_group(each) and not [found for found in inner if found not in self.tried]:
                yield each

    def _calls(self, groups: Sequence[Statement]) -> dict[int, Statement]:
        """Return the calls for those groups that become calls of a block."""
        classes: dict[object, list[Statement]] = {}
        outer: dict[Statement, tuple[Statement, dict[str, str]]] = {}
        for each in groups:
            labels = outer_labels(body_of(each), len(OUTER) if is_needed(each) else MAX_OUTER)
            member = each.changed(operands=(renamed(body_of(each), labels),))
            if is_closed(body_of(member), labels.values()):
                outer[member] = each, labels
                classes.setdefault((each.head, skeleton(body_of(member))), []).append(member)
        found: dict[int, Statement] = {}
        for members in classes.values():
            for same in _with_equal_projects(members):
                calls = self._class(same, [outer[each][1] for each in same])
                found.update({id(outer[each][0]): call for each, call in zip(same, calls, strict=False)})
        return found

    def _class(self, members: Sequence[Statement], labels: Sequence[Mapping[str, str]]) -> list[Statement]:
        """Return the calls for equal groups, which have parameters for these labels."""
        needed = any(map(is_needed, members))
        origin = members[0].origin
        if not needed and (len(members) < 2 or not self.every or origin in self.banned):
            return []
        block, given = unified([body_of(each) for each in members], labels)
        if len(block.parameters) > MAX_PARAMETERS and not needed:
            return []
        block.seq = members[0].head == "seq"
        block.name = self._name(members)
        self.blocks[origin] = block
        return [
            Statement(block.name, label=each.label, number=each.number, wide=each.wide, block=block, given=values)
            for each, values in zip(members, given, strict=True)
        ]

    def _replaced(self, body: Sequence[Statement], calls: dict[int, Statement]) -> list[Statement]:
        found = []
        for each in body:
            if id(each) in calls:
                found.append(calls[id(each)])
            elif lists := each.lists():
                inner = [self._replaced(part, calls) for part in lists]
                changed = any(new != old for new, old in zip(inner, lists, strict=True))
                found.append(each.mapped(iter(inner)) if changed else each)
            else:
                found.append(each)
        return found

    def _name(self, members: Sequence[Statement]) -> str:
        """Return a name for a block: the class of the module that it is, what the labels of its calls have in common,
        or what is in it."""
        classes = {self.classes.get(each.origin, "") for each in members}
        words = {each.label for each in members if each.label and not each.number}
        stem = re.sub(r"[\d_]+$", "", clean(_common_start(words))).lower()
        body = body_of(members[0])
        kinds = {each.head for each in body}
        usual = "residual" if "skip" in kinds else "mixed" if "concat" in kinds else "unit"
        name = (len(classes) == 1 and _snake(*classes)) or (stem if len(stem) > 1 else usual)
        name = stem if stem == name.replace("_", "") else name  # so that calls need no labels
        for suffix in count():
            tried = name + (f"_{chr(ord('a') + suffix)}" if suffix else "")
            if tried in LAYER_MODULES:
                name = tried = f"{tried}_unit"
            if self.labels.take(tried, "unit") == tried:
                return tried
        raise AssertionError


def _snake(name: str) -> str:
    """Return the name of a class as that of a block, without digits at the end, which are those of calls."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", clean(name))
    return words.lower().strip("_").rstrip("_0123456789")


def _common_start(words: Collection[str]) -> str:
    """Return what all words begin with."""
    first, last = min(words, default=""), max(words, default="")
    return next(
        (first[:at] for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(first, last, key=len)
    )


def is_group(statement: Statement) -> bool:
    """Return whether a statement is a group under a name."""
    return bool(statement.label) and statement.head in ("", "seq") and statement.operands != ([],)


def body_of(statement: Statement) -> list[Statement]:
    """Return the statements in the braces of a group."""
    (body,) = statement.lists()
    return body


def is_needed(statement: Statement) -> bool:
    """Return whether a group must become a call, since only that can be numbered in a `seq`."""
    return statement.number and statement.head != "seq"


def label_arguments(statement: Statement) -> dict[str, str]:
    """Return the arguments of a call that are labels, by their names."""
    if statement.block is not None:
        kinds = {each.name: each.kind for each in statement.block.parameters}
        values: Mapping[str, object] = statement.given
    else:
        kinds = {name: each.kind for name, each in statement.layer.arguments.items()} if statement.layer else {}
        values = statement.values
    return {name: str(values[name]) for name, kind in kinds.items() if name in values and isinstance(kind, LABELS)}


def references(body: Sequence[Statement]) -> Iterator[str]:
    """Yield the labels and paths that statements refer to."""
    for each in walk(body):
        word, _, target = each.head.partition(" ")
        yield from (operand for operand in each.operands if isinstance(operand, str))
        if word in ("from", "reuse"):
            yield target
        yield from label_arguments(each).values()


def _defined(body: Sequence[Statement]) -> set[str]:
    """Return the labels among statements."""
    return {each.label for each in walk(body) if each.label and not each.number}


def outer_labels(body: Sequence[Statement], most: int) -> dict[str, str]:
    """Return names of parameters for the labels outside of statements that they refer to, or none if there are more
    than that."""
    defined = _defined(body)
    found = dict.fromkeys(name for name in references(body) if name.split(".")[0] not in defined)
    free = [name for name in OUTER if name not in defined]
    return dict(zip(found, free, strict=False)) if len(found) <= min(most, len(free)) else {}


def renamed(
    body: Sequence[Statement], names: Mapping[str, str], defined: Collection[str] | None = None
) -> list[Statement]:
    """Return statements with other names of labels that they refer to. `defined` are those among them."""
    defined = _defined(body) if defined is None else defined
    found = []
    for each in body:
        new = each.mapped(iter([renamed(part, names, defined) for part in each.lists()]))
        word, _, target = each.head.partition(" ")
        labels = {key: names.get(name, name) for key, name in label_arguments(each).items()}
        arguments: dict[str, object] = {"values": {**each.values, **labels}}
        if each.block is not None:
            arguments = {"given": {**each.given, **{key: Expression(name) for key, name in labels.items()}}}
        found.append(
            new.changed(
                head=f"from {names.get(target, target)}" if word == "from" else each.head,
                operands=tuple(names.get(o, o) if isinstance(o, str) else o for o in new.operands),
                known=each.known if each.known.split(".")[0] in defined else names.get(each.known, ""),
                **arguments,
            )
        )
    return found


def is_closed(body: Sequence[Statement], known: Collection[str] = ()) -> bool:
    """Return whether statements refer to labels among them and `known` ones alone, and can stand in a block."""
    defined = {*_defined(body), *known}
    if any(each.head.split(" ")[0] in ("input", "output") for each in walk(body)):
        return False
    return all(name.split(".")[0] in defined for name in references(body))


def _with_equal_projects(members: Sequence[Statement]) -> Iterator[list[Statement]]:
    """Yield groups of equal skeleton that one block can be: their projects are equal, or some have none."""
    classes: dict[object, list[Statement]] = {}
    plain = [each for each in members if not any(projects(body_of(each)))]
    for each in members:
        if each not in plain:
            classes.setdefault(projects(body_of(each)), []).append(each)
    kept = {key: [each for each in own if key == projects(body_of(each))] for key, own in classes.items()}
    first = next(iter(kept), None)
    for key, own in kept.items():
        order = {id(each) for each in own} | ({id(each) for each in plain} if key == first else set())
        yield [each for each in members if id(each) in order]
    if first is None:
        yield list(plain)


def unified(
    bodies: Sequence[list[Statement]], labels: Sequence[Mapping[str, str]]
) -> tuple[Block, list[dict[str, object]]]:
    """Return a block of which all bodies are calls, without a name, and the values of its parameters in each. `labels`
    are outside of each body, with the names of the parameters that stand for them."""
    unifier = _Unifier(len(bodies))
    body = unifier.body(bodies)
    for at, name in enumerate(labels[0].values()):
        unifier.parameters.append(Parameter(name, Operand()))
        unifier.columns[name] = [Expression([*each][at]) for each in labels]
    ordered = sorted(unifier.parameters, key=lambda each: each.default is not None)
    given = [
        {each.name: unifier.columns[each.name][at] for each in ordered} for at in range(len(bodies))
    ]  # fmt: skip
    return Block("", ordered, body, False), given


class _Unifier:
    """The parameters that are found in bodies of equal skeleton, with their values in each."""

    def __init__(self, members: int) -> None:
        self.members = members
        self.parameters: list[Parameter] = []
        self.columns: dict[str, list[object]] = {}
        self.uses: dict[str, str] = {}

    def body(self, bodies: Sequence[list[Statement] | None]) -> list[Statement]:
        """Return the statements of several bodies as one, None for those that lack it."""
        present = next(body for body in bodies if body is not None)
        return [self.statement([None if body is None else body[at] for body in bodies]) for at in range(len(present))]

    def statement(self, members: Sequence[Statement | None]) -> Statement:
        first = next(each for each in members if each is not None)
        texts: dict[str, str] = {}
        given: dict[str, object] = {}
        columns = [None if each is None else [*slots(each)] for each in members]
        known = next(column for column in columns if column is not None)
        for at, slot in enumerate(known):
            values = [None if column is None else column[at] for column in columns]
            if (text := self.argument(slot, values)) is not None:
                texts[slot.name] = text
        if first.block is not None:
            names = [each.name for each in first.block.parameters]
            for at, name in enumerate(names):
                values = [None if column is None else column[at] for column in columns]
                found = self.argument(known[at], values)
                given[name] = first.given[name] if found is None else Expression(found)
            return first.changed(given=given)
        lists = self._lists(first, members)
        project = next((each.project for each in members if each is not None and each.project is not None), None)
        new = first.mapped(iter(lists)) if first.project is None else first.changed(
            operands=tuple(o if isinstance(o, str) else lists.pop(0) for o in first.operands)
        )  # fmt: skip
        if project is not None:
            new = new.changed(project=self.body([None if each is None else each.project for each in members]))
        return new.changed(values={**first.values, **texts}) if first.layer is not None else new

    def _lists(self, first: Statement, members: Sequence[Statement | None]) -> list[list[Statement]]:
        found = []
        for at, operand in enumerate(first.operands):
            if not isinstance(operand, str):
                bodies = [None if each is None else each.operands[at] for each in members]
                found.append(self.body(bodies))  # type: ignore[arg-type]
        return found

    def argument(self, slot: Slot, values: Sequence[Slot | None]) -> str | None:
        """Return the text of an argument, None if it is the same in all."""
        column = [None if each is None else each.value for each in values]
        given = [value for value in column if value is not None]
        literal = all(value == given[0] and type(value) is type(given[0]) for value in given)
        if literal and (len(given) == self.members or not given or given[0] == slot.default):
            return None
        for name in self.columns:
            related = self.uses[name] == slot.name or {self.uses[name], slot.name} <= RANGE
            if related and (text := multiple(name, column, self.columns[name], slot.name)):
                return text
        if literal:
            return None
        wide = [None if each is None else each.wide for each in values]
        if slot.name in PROPORTIONAL and (text := multiple("channels", column, wide, slot.name)):
            return text
        return self.parameter(slot, column)

    def parameter(self, slot: Slot, column: list[object]) -> str:
        stem = SIZES.get(slot.name, slot.name)
        name = next(n for n in (f"{stem}{at if at > 1 else ''}" for at in count(1)) if n not in self.columns)
        usual = any(type(value) is type(slot.default) and value == slot.default for value in column)
        default = slot.default if usual else None
        fill = next(value for value in column if value is not None)
        self.parameters.append(Parameter(name, slot.kind, default))
        self.columns[name] = [
            (default if default is not None else fill) if value is None else value for value in column
        ]  # fmt: skip
        self.uses[name] = slot.name
        return name


def multiple(name: str, column: Sequence[object], other: Sequence[object], argument: str) -> str:
    """Return a column as another one, or a multiple or part of it; or nothing."""
    pairs = [(a, b) for a, b in zip(column, other, strict=True) if a is not None]
    if all(a == b for a, b in pairs):
        return name
    if argument not in PROPORTIONAL | RANGE or not all(type(a) is type(b) is int and a and b for a, b in pairs):
        return ""
    a, b = pairs[0]
    assert isinstance(a, int)
    assert isinstance(b, int)
    if a % b == 0 and all(x == y * (a // b) for x, y in pairs):  # type: ignore[operator]
        return f"{a // b}*{name}" if a // b > 0 else f"({'-' if a == -b else f'{a // b}*'}{name})"
    if b % a == 0 and b // a > 0 and all(y == x * (b // a) for x, y in pairs):  # type: ignore[operator]
        return f"{name}//{b // a}"
    return ""


def units(body: Sequence[Statement]) -> list[Statement]:
    """Return statements without names with each merge and the activations after it in a group of its own."""
    found: list[Statement] = []
    at = 0
    while at < len(body):
        each = body[at]
        at += 1
        if not each.lists() or each.label or each.head in ("", "seq"):
            found.append(each)
            continue
        unit = [each]
        while at < len(body) and body[at].layer is not None and not body[at].begins:
            if LAYER_MODULES[body[at].head] not in FOLLOWING - {"norm"}:
                break
            unit.append(body[at])
            at += 1
        found.append(Statement("", label="_", number=False, operands=[unit], wide=each.wide, origin=f"{at}"))
    return found


def without_units(body: Sequence[Statement]) -> list[Statement]:
    """Return statements with the groups of `units` that became no call taken apart."""
    found: list[Statement] = []
    for each in body:
        if each.label == "_" and each.block is None:
            found += body_of(each)
        else:
            found.append(each.changed(label="") if each.label == "_" else each)
    return found
