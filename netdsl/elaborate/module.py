"""The definitions of a file, and those of the files that it uses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.base.limits import NESTING
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Rejected
from netdsl.diagnostics.report import CALL
from netdsl.elaborate.builder import NetBuilder
from netdsl.elaborate.context import POISON, BlockValue, Context, NetValue, Poisoned, Scope, Variables
from netdsl.syntax import ast

if TYPE_CHECKING:
    from netdsl.diagnostics.report import Report
    from netdsl.elaborate.context import Defaults, ExprValue, Poison
    from netdsl.elaborate.net import Attempt
    from netdsl.elaborate.recipe import Recipe

    Definition = ast.Net | ast.Alias | ast.Block | ast.Function | ast.Let

DEFINITIONS = (ast.Net, ast.Alias, ast.Block, ast.Function, ast.Let)


class Module:
    """A file and its names; `imported` are the definitions of other files by the names that they have here.

    `uses` are the files that are used, None for one that cannot be, and the names that are wanted, None for all.
    `flawed` is set where a `default` went wrong, so that the layers after it are not what was meant. `attempts` are the
    elaborated nets, by their instances; `recipes` are the trainings without errors.
    """

    __slots__ = (
        "_broken",
        "_defaults",
        "_functions",
        "_lets",
        "_pending",
        "attempts",
        "context",
        "file",
        "flawed",
        "imported",
        "own",
        "recipes",
        "report",
        "uses",
        "work",
    )

    def __init__(self, file: ast.File, report: Report) -> None:
        self.file = file
        self.report = report
        self.work = report.work
        self.own: dict[str, Definition] = {}
        self.imported: dict[str, tuple[Module, Definition]] = {}
        self.context = Context(NetBuilder(report), self, Variables(None), Scope("", None), {})
        self._lets: dict[str, ExprValue | Poison | None] = {}
        self._pending = 0
        self._functions: dict[str, FunctionValue] = {}
        self.uses: list[tuple[Module | None, tuple[str, ...] | None]] = []
        self._broken: set[str] | None = None
        self.flawed = False
        self.attempts: dict[tuple[object, ...], Attempt] = {}
        self.recipes: list[Recipe] = []
        self._defaults: list[tuple[int, Defaults]] = []
        for item in file.items:
            if isinstance(item, DEFINITIONS):
                earlier = self.own.setdefault(item.name.text, item)
                if earlier is not item:
                    name = item.name
                    report.add(problems.DefinedTwice(span=name.span, name=name.text, earlier=earlier.name.span))

    def find(self, name: str) -> tuple[Module, Definition] | None:
        """Return what a name means here, and the file that it is from."""
        if name in self.own:
            return self, self.own[name]
        return self.imported.get(name)

    def names(self) -> tuple[str, ...]:
        return (*self.own, *self.imported)

    def net_names(self) -> tuple[str, ...]:
        """Return the names that mean nets here."""
        definitions = (*self.own.items(), *((name, definition) for name, (_, definition) in self.imported.items()))
        return tuple(name for name, definition in definitions if isinstance(definition, (ast.Net, ast.Alias)))

    def lost(self, name: str) -> bool:
        """Return whether a name may be missing only because of a reported mistake, in this file or in one that it
        uses."""
        return self.mutilated(name) or any(
            used is None or used.mutilated(name) for used, names in self.uses if names is None or name in names
        )

    def mutilated(self, name: str) -> bool:
        """Return whether a statement that did not parse contains the name."""
        if not self.file.broken:
            return False
        if self._broken is None:
            self._broken = set()
            pending = list(self.file.items)
            while pending:
                node = pending.pop()
                if isinstance(node, ast.Broken):
                    self._broken.update(re.findall(r"[A-Za-z_]\w*", node.span.text))
                else:
                    pending += inner(node)
        return name in self._broken

    def block(self, name: str) -> BlockValue | None:
        found = self.find(name)
        return BlockValue(found[1], found[0]) if found and isinstance(found[1], ast.Block) else None

    def net(self, name: str) -> NetValue | None:
        found = self.find(name)
        return NetValue(found[1], found[0]) if found and isinstance(found[1], (ast.Net, ast.Alias)) else None

    def function(self, name: str) -> FunctionValue | None:
        found = self.find(name)
        if found is None or not isinstance(found[1], ast.Function):
            return None
        if name not in self._functions:
            self._functions[name] = FunctionValue(found[1], found[0])
        return self._functions[name]

    def variable(self, name: str, context: Context) -> ExprValue | None:
        """Return the value of a `let` of the file, evaluated on first use; None if there is none."""
        found = self.find(name)
        if found is None or not isinstance(found[1], ast.Let):
            return None
        return found[0]._let(found[1], context)

    def known_let(self, name: str) -> ExprValue | Poison | None:
        """Return the value of a `let` of the file if it has been evaluated."""
        return self._lets.get(name)

    def _let(self, definition: ast.Let, context: Context) -> ExprValue:
        from netdsl.elaborate.expressions import evaluate

        name = definition.name.text
        if name not in self._lets:
            pending = self._pending
            self._lets[name] = None  # being evaluated
            self._pending += 1
            try:
                if pending >= NESTING:
                    raise RecursionError
                self._lets[name] = evaluate(definition.value, self.context)
            except RecursionError:
                self._lets[name] = POISON
                if pending:
                    raise
                self.report.add(problems.TooDeep(span=definition.name.span, limit=NESTING))
            except Rejected as rejected:
                self._lets[name] = POISON
                self.report.add(rejected.problem)
            except Poisoned:
                self._lets[name] = POISON
            finally:
                self._pending -= 1
        value = self._lets[name]
        if value is None:
            names = list(self._lets)
            cycle = [n for n in names[names.index(name) :] if self._lets[n] is None]
            context.reject(problems.Recursive, definition.name.span, what="the value", cycle=(*cycle, name))
        if value is POISON:
            raise Poisoned
        return value

    def defaults(self, offset: int) -> Defaults:
        """Return the file's layer defaults that hold at an offset of its text."""
        from netdsl.elaborate.layers import change_defaults

        if not self._defaults:
            self._defaults.append((-1, {}))
            for item in self.file.items:
                if isinstance(item, ast.Default):
                    self.context.defaults = self._defaults[-1][1]
                    try:
                        self._defaults.append((item.span.start, change_defaults(item, self.context)))
                    except (Rejected, Poisoned) as error:
                        if isinstance(error, Rejected):
                            self.report.add(error.problem)
                        self.flawed = True
                        self._defaults.append((item.span.start, {**self.context.defaults, item.layer.text: None}))
        return next(defaults for start, defaults in reversed(self._defaults) if start < offset)

    def check_lets(self) -> None:
        """Evaluate each `let`, `default` and `train` of the file, to find mistakes in unused ones too."""
        for definition in self.own.values():
            if isinstance(definition, ast.Let):
                try:
                    self._let(definition, self.context)
                except Rejected as rejected:
                    self.report.add(rejected.problem)
                except Poisoned:
                    pass
        self.defaults(len(self.file.source.text))
        if any(isinstance(item, ast.Train) for item in self.file.items):
            from netdsl.elaborate.train_block import check_train_blocks

            check_train_blocks(self)


class FunctionValue:
    """An `fn` of the file, which sees its parameters and the file; results are cached by arguments."""

    __slots__ = ("_known", "definition", "module")

    def __init__(self, definition: ast.Function, module: Module) -> None:
        self.definition = definition
        self.module = module
        self._known: dict[tuple[object, ...], ExprValue] = {}

    def call(self, arguments: tuple[ExprValue, ...], expr: ast.Apply, context: Context) -> ExprValue:
        from netdsl.elaborate.expressions import evaluate

        definition = self.definition
        name = definition.name.text
        self._check_count(len(arguments), expr, context)
        if name in context.calls:
            cycle = (*context.calls[context.calls.index(name) :], name)
            context.reject(problems.Recursive, expr.span, what="the function", cycle=cycle)
        if len(context.calls) >= NESTING:
            context.reject(problems.TooLarge, expr.span, what="nested calls", count=NESTING + 1, limit=NESTING)
        self.module.work.spend(CALL, expr.span, context.frame)
        self.module.work.weigh(arguments, expr.span, context.frame)
        key = (arguments, tuple(map(type, arguments)))
        if key not in self._known:
            inner = self.module.context.inside()
            inner.frame = context.frame
            for parameter, value in zip(definition.parameters, arguments, strict=True):
                inner.define(parameter, value)
            inner.calls = (*context.calls, name)
            try:
                self._known[key] = evaluate(definition.value, inner)
            except RecursionError:
                if context.calls:
                    raise
                context.reject(problems.TooDeep, expr.span, limit=NESTING)
        return self._known[key]

    def _check_count(self, given: int, expr: ast.Apply, context: Context) -> None:
        name, parameters = self.definition.name, self.definition.parameters
        if given != len(parameters):
            usage = f"{name.text}({', '.join(p.text for p in parameters)})"
            what = (
                f"`{usage}` takes {len(parameters)} argument{'s' * (len(parameters) != 1)}, "
                f"but {given} {'is' if given == 1 else 'are'} given"
            )
            context.reject(problems.BadCall, expr.span, what=what, declared=name.span)


def inner(node: ast.Stmt) -> list[ast.Stmt]:
    """Return the statements inside a statement."""
    bodies = [getattr(node, field, None) for field in ("body", "projection", "otherwise")]
    bodies += [body for _, body in getattr(node, "arms", ())] + list(getattr(node, "operands", ()))
    found: list[ast.Stmt] = []
    for body in bodies:
        if isinstance(body, ast.Body):
            found += body.statements
        elif isinstance(body, ast.Stmt):
            found.append(body)
    return found
