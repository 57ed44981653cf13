"""Elaborate a `train` block and its net to a checked recipe."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from netdsl.base.shape import Size
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.data.kinds import DataKind, Generated
from netdsl.declare.arguments import LARGEST
from netdsl.diagnostics import train_problems as problems
from netdsl.diagnostics.loss_problems import BatchOfOne, DataMisfit, EmptyPart, RateTooLarge, UnknownSizes
from netdsl.diagnostics.name_problems import DefinedTwice
from netdsl.diagnostics.net_problems import UnknownNet
from netdsl.diagnostics.problem import Rejected
from netdsl.elaborate.context import Poisoned
from netdsl.elaborate.declared import written
from netdsl.elaborate.net import elaborate, entry, resolve
from netdsl.elaborate.recipe import Recipe
from netdsl.elaborate.recipe_checks import CHECKS
from netdsl.elaborate.recipe_lines import KEYS, MANY, unknown_key
from netdsl.elaborate.recipe_outputs import check_losses, default_metrics, frozen, loss, metric, path_of, undecayed
from netdsl.optimizers import OPTIMIZERS
from netdsl.schedules import SCHEDULES
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from netdsl.diagnostics.problem import Problem
    from netdsl.elaborate.context import Context
    from netdsl.elaborate.module import Module
    from netdsl.elaborate.net import Given
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.net import Net
    from netdsl.schedules.base import Schedule
    from netdsl.syntax import ast


def text(recipe: Recipe, exceptions: Sequence[ast.Expr], freeze: Sequence[ast.Setting], context: Context) -> str:
    """Return the block as text; its paths are relative to the same folder as in the original."""
    lines = "".join(f"  {line}\n" for line in _lines(recipe, exceptions, freeze, context))
    return f"train {recipe.name} {{\n{lines}}}\n"


def _lines(
    recipe: Recipe, exceptions: Sequence[ast.Expr], freeze: Sequence[ast.Setting], context: Context
) -> Iterator[str]:
    yield f"data {written(recipe.data)}"
    if recipe.validate is not None:
        part = isinstance(recipe.validate, float)
        yield f"validate {recipe.validate!r}" if part else f"validate {written(recipe.validate)}"  # type: ignore[arg-type]
    yield from (f"loss {line.output} {written(line.loss)}" for line in recipe.losses)
    yield from (f"metric {line.output} {written(line.metric)}" for line in recipe.metrics)
    names = " ".join(path_of(expr, context) for expr in exceptions)
    yield f"optimizer {written(recipe.optimizer)}" + (f" except {names}" if names else "")
    yield f"schedule {written(recipe.schedule)}"
    yield f"batch {recipe.batch}"
    yield f"steps {recipe.steps}" if recipe.steps is not None else f"epochs {recipe.epochs}"
    yield f"seed {recipe.seed}"
    yield f"keep {recipe.keep}"
    if recipe.augment:
        yield f"augment {{ {'; '.join(map(written, recipe.augment))} }}"
    for line in freeze:
        yield f"freeze {' '.join(path_of(expr, context) for expr in line.values)}"


class NoTraining(UserError, code="E0625", exit_code=USAGE_IS_WRONG):
    """A file is trained by its only `train` block, or by that of the requested net."""


def recipe(
    module: Module, wanted: str | None = None, settings: Sequence[str] = (), given: Given | None = None
) -> Recipe | None:
    """Return how a net of the file is trained; None if there are errors, which are in the module's report.

    `wanted` is the name of the net; without it, the only `train` block of the file counts, or that of its main net.
    `settings` are texts `train.KEY=VALUE` and `train.KEY.ARGUMENT=VALUE` for `netdsl.elaborate.overrides`; `given` are
    values of the net's parameters. Raises UserError if there is no such block, or for a malformed setting.
    """
    training = find(module, wanted)
    if training is None:
        return None
    lines = training.settings
    if settings:
        from netdsl.elaborate.overrides import override

        overridden = override(training, settings, module)
        if overridden is None:
            return None
        lines = overridden
    return build(training, lines, module, given or {})


def find(module: Module, wanted: str | None) -> ast.Train | None:
    """Return the `train` block of a net; None if it may be one that does not parse, which is reported. Raises
    UserError."""
    found = {item.name.text: item for item in reversed(module.file.items) if isinstance(item, ast.Train)}
    names = ", ".join(f"`{name}`" for name in reversed(found))
    file = module.file.source.name
    if module.file.broken and (not found or (wanted and wanted not in found)):
        return None
    if not found:
        raise NoTraining(f"{file} has no `train` block", "write `train NET { data …; loss … }`")
    if wanted is None and len(found) > 1:
        with suppress(Rejected, Poisoned):
            wanted = entry(module, None)[1].name.text
    if wanted is None and len(found) == 1:
        return next(iter(found.values()))
    if wanted not in found:
        which = f"no `train` block of `{wanted}`" if wanted else f"{len(found)} `train` blocks"
        raise NoTraining(f"{file} has {which}: there are those of {names}", f"choose one, as in `{file}:NET`")
    return found[wanted]


def build(
    training: ast.Train, lines: tuple[ast.Setting, ...], module: Module, given: Given | None = None
) -> Recipe | None:
    """Return the recipe of a block with these lines; None if there are errors, which are reported."""
    return _Reading(training, lines, module).recipe(given or {})


class _Reading:
    """Elaborates a `train` block; each line is read and reported independently."""

    def __init__(self, training: ast.Train, lines: tuple[ast.Setting, ...], module: Module) -> None:
        self.name = training.name
        self.context = module.context.inside()
        self.module = module
        self.failed = False
        self.lines: dict[str, list[ast.Setting]] = {}
        for line in lines:
            self._quietly(lambda line=line: self._sort(line))  # type: ignore[misc]

    def _quietly(self, action: Callable[[], Any]) -> Any:
        """Return the result of an action, or None after reporting its problem, so that the other lines are still
        read."""
        try:
            return action()
        except Rejected as rejected:
            self.module.report.add(rejected.problem)
        except Poisoned:
            pass
        self.failed = True
        return None

    def _sort(self, line: ast.Setting) -> None:
        key = line.key.text
        self.module.work.spend(3, line.span)
        if key not in KEYS:
            unknown_key(line, self.context)
        same = self.lines.setdefault(key, [])
        if same and key not in MANY:
            earlier = same[0].key.span
            self.context.reject(problems.LineTwice, line.key.span, what=f"`{key}`", earlier=earlier)
        same.append(line)

    def recipe(self, given: Given) -> Recipe | None:
        found = self._plain_lines()
        self._quietly(self._check_end)
        net = self._quietly(lambda: self._net(given))
        optimizer, exceptions = found.pop("optimizer", None) or (OPTIMIZERS["sgd"](), ())
        found["exceptions"] = self._quietly(lambda: undecayed(exceptions, self.context, net))
        found["freeze"] = frozenset()
        for line in self.lines.get("freeze", ()):
            found["freeze"] = self._quietly(lambda line=line: frozen(line, self.context, net))  # type: ignore[misc]
        losses = self._each("loss", lambda line: loss(line, self.context, net))
        if net is not None and losses and not self.failed:
            self._quietly(lambda: check_losses(losses, net, self.context))
        metrics = self._each("metric", lambda line: metric(line, self.context, net, losses))
        self._check_missing()
        found["schedule"] = found.get("schedule") or SCHEDULES["constant"]()
        self._quietly(lambda: self._check_rate(optimizer.lr, found["schedule"]))
        if net is not None:
            self._quietly(lambda: self._check_net(net, found.get("batch")))
        if self.failed or net is None or self.module.file.broken:
            return None
        if "steps" in found:
            found["epochs"] = None
        result = Recipe(
            net,
            self.name.span,
            name=self.name.text,
            losses=losses,
            optimizer=optimizer,
            metrics=metrics or default_metrics(losses, net),
            spans={key: lines[0].span for key, lines in self.lines.items()},
            **found,
        )
        for check in CHECKS:
            self._quietly(lambda check=check: check(result, self.context))  # type: ignore[misc]
        if self.failed:
            return None
        result.text = text(result, exceptions, self.lines.get("freeze", ()), self.context)
        self.module.recipes.append(result)
        return result

    def _plain_lines(self) -> dict[str, Any]:
        """Return the values of the lines that need no net, as far as they are valid."""
        found: dict[str, Any] = {}
        for key, rule in KEYS.items():
            for line in self.lines.get(key, ()) if rule else ():
                value = self._quietly(lambda rule=rule, line=line: rule(line, self.context))  # type: ignore[misc]
                if value is not None:
                    found[key] = value
        return found

    def _each(self, key: str, rule: Callable[[ast.Setting], Any]) -> tuple[Any, ...]:
        found = [self._quietly(lambda line=line: rule(line)) for line in self.lines.get(key, ())]  # type: ignore[misc]
        return tuple(each for each in found if each is not None)

    def _check_end(self) -> None:
        both = sorted(
            (line for key in ("epochs", "steps") for line in self.lines.get(key, ())), key=lambda x: x.span.start
        )
        if len(both) > 1:
            one, other = (line.key for line in both)
            self.context.reject(problems.Excluding, other.span, here=one.text, there=other.text, earlier=one.span)

    def _check_missing(self) -> None:
        for key, example in (("data", 'data mnist "datasets/mnist"'), ("loss", "loss cross_entropy")):
            if key in self.lines:
                continue
            self.failed = True
            if not self.module.lost(key):
                problem = problems.MissingLine(span=self.name.span, name=key, example=example)
                self.module.report.add(problem)

    def _net(self, given: Given) -> Net:
        """Return the net that is trained. Raises Rejected or Poisoned."""
        name = self.name
        owner, definition = self.module.find(name.text) or (self.module, None)
        if not isinstance(definition, (ast.Net, ast.Alias)):
            if self.module.lost(name.text):
                raise Poisoned
            nets = [
                n for n in self.module.names() if isinstance((self.module.find(n) or "  ")[1], (ast.Net, ast.Alias))
            ]
            self.context.reject(UnknownNet, name.span, name=name.text, candidates=tuple(nets))
        net = elaborate(resolve(owner, definition, given))
        if net is None:
            raise Poisoned
        return net

    def _check_rate(self, lr: float, schedule: Schedule) -> None:
        """Reject a schedule whose rates float32 cannot hold. Raises Rejected."""
        if schedule.largest(lr) > LARGEST:
            self.context.reject(RateTooLarge, self.lines["schedule"][0].span, lr=lr, rate=schedule.largest(lr))

    def _check_net(self, net: Net, batch: int | None) -> None:
        """Reject a net that cannot be trained, at all or with this batch size. Raises Rejected."""
        for node in net.inputs:
            if any(isinstance(size, Size) for size in node.shape):
                self.context.reject(UnknownSizes, self.name.span, net=net.name, node=node)
        if batch != 1:
            return
        for node in net.nodes:
            if node.layer.kind == "bn" and all(size == 1 for size in node.shape[1:]):
                span = self.lines["batch"][0].span
                self.context.reject(BatchOfOne, span, node=node)


def check(module: Module) -> None:
    """Report the problems of the file's trainings, and a second training of one net."""
    seen: dict[str, ast.Train] = {}
    for item in module.file.items:
        if isinstance(item, ast.Train):
            name = item.name
            earlier = seen.setdefault(name.text, item)
            if earlier is not item:
                twice = DefinedTwice(span=name.span, name=f"train {name.text}", earlier=earlier.name.span)
                module.report.add(twice)
            recipe = build(item, item.settings, module)
            if recipe is not None:
                for problem in _data_problems(recipe):
                    module.report.add(problem)


def _data_problems(recipe: Recipe) -> Iterator[Problem]:
    """What is wrong with data of this kind, whatever the files hold. Checked here alone: a program may give others."""
    inputs = [node.shape for node in recipe.net.inputs]
    for data in (recipe.data, recipe.validate):
        if isinstance(data, DataKind) and (what := data.misfit(inputs, [*recipe.targets.values()])):
            yield DataMisfit(span=data.spans[""], name=data.kind, what=what, net=recipe.net.name)
    if isinstance(recipe.validate, float) and isinstance(recipe.data, Generated):
        total = recipe.data.n
        count = round(total * recipe.validate)
        if not 0 < count < total:
            yield EmptyPart(span=recipe.spans["validate"], part=recipe.validate, count=count, total=total)
