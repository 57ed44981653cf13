"""Elaborate a `train` block and its net to a checked recipe."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from netdsl.base.shape import Size, format_shape
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.data.kinds import KINDS, DataKind, Generated
from netdsl.declare.arguments import FLOAT32_MAX
from netdsl.diagnostics import loss_problems, train_problems
from netdsl.diagnostics.name_problems import DefinedTwice
from netdsl.diagnostics.net_problems import UnknownNet
from netdsl.diagnostics.problem import Misfit, Rejected
from netdsl.elaborate import train_lines
from netdsl.elaborate.context import Poisoned
from netdsl.elaborate.declared import written
from netdsl.elaborate.library import ZOO_PREFIX
from netdsl.elaborate.net import elaborate, entry_net, resolve
from netdsl.elaborate.recipe import LossLine, MetricLine, Recipe
from netdsl.elaborate.train_checks import FITTING
from netdsl.elaborate.train_numbers import NUMBER_LINES, ValidationPart
from netdsl.ir.graph import STEP_NAMES
from netdsl.losses import LOSSES
from netdsl.optimizers import OPTIMIZERS
from netdsl.schedules import SCHEDULES
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from netdsl.diagnostics.problem import Problem
    from netdsl.elaborate.context import Context
    from netdsl.elaborate.module import Module
    from netdsl.elaborate.net import Given
    from netdsl.ir.net import Net, Node
    from netdsl.schedules import Schedule

_P = ParamSpec("_P")
_T = TypeVar("_T")
_L = TypeVar("_L", LossLine, MetricLine)

REPEATABLE = ("loss", "metric")
"""Keys of lines that may occur more than once."""


class NoTraining(UserError, code="E0625", title="no `train` block", exit_code=USAGE_IS_WRONG):
    """Training needs a `train` block: the only one of the file, or that of the requested net. `netdsl init` writes a
    file with one; `netdsl layers` lists what its lines can select.

    ```net fixed
    net digits { input image 1x28x28; scale 1/255; dense 10 }

    train digits {
      data mnist "mnist"
      validate mnist "mnist" split test
      loss cross_entropy
      optimizer adam lr 1e-3
      batch 64; epochs 5
    }
    ```
    """


class NotAClassifier(UserError, code="E0647", title="a net that cannot be evaluated without a `train` block"):
    """Without a `train` block, `netdsl eval` evaluates a net as a classifier, by cross-entropy and accuracy.

    This requires inputs of fixed sizes, and one output with a number for each of two classes or more; training heads
    are ignored. For other nets, add a `train` block, whose losses and metrics are then evaluated."""


def recipe(
    module: Module, wanted: str | None = None, settings: Sequence[str] = (), given: Given | None = None
) -> Recipe | None:
    """Return how a net of the file is trained; None if there are errors, which are in the module's report.

    `wanted` is the name of the net; without it, the only `train` block of the file counts, or that of its main net.
    `settings` are texts `train.KEY=VALUE` and `train.KEY.ARGUMENT=VALUE` for `netdsl.elaborate.overrides`; `given` are
    values of the net's parameters. Raises UserError if there is no such block, or for a malformed setting.
    """
    training = find_block(module, wanted)
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


def _how_to_train(module: Module, wanted: str | None) -> str:
    """Return how to write the `train` block that a file lacks."""
    name, source = wanted or "NET", module.file.source.name
    with suppress(Rejected, Poisoned):
        name = entry_net(module, wanted)[1].name.text
    # An archive can have the arrays of any net: token ids, images, several inputs.
    block = f'train {name} {{ data npz "FILE"; loss cross_entropy; optimizer adam lr 1e-3; batch 64; epochs 5 }}'
    if source.startswith(ZOO_PREFIX):
        return f'write a file with `use {name} from "{source}"` and, below it, `{block}`'
    return f"add one, such as `{block}`; `netdsl layers` lists the kinds of data, losses and optimizers"


def find_block(module: Module, wanted: str | None) -> ast.Train | None:
    """Return the `train` block of a net; None if it may be one that does not parse, which is reported. Raises
    UserError."""
    found = {item.name.text: item for item in reversed(module.file.items) if isinstance(item, ast.Train)}
    names = ", ".join(f"`{name}`" for name in reversed(found))
    file = module.file.source.name
    if module.file.broken and (not found or (wanted and wanted not in found)):
        return None
    if not found:
        raise NoTraining(f"{file} has no `train` block", _how_to_train(module, wanted))
    if wanted is None and len(found) > 1:
        with suppress(Rejected, Poisoned):
            wanted = entry_net(module, None)[1].name.text
    if wanted is None and len(found) == 1:
        return next(iter(found.values()))
    if wanted not in found:
        which = f"no `train` block of `{wanted}`" if wanted else f"{len(found)} `train` blocks"
        raise NoTraining(f"{file} has {which}: there are those of {names}", f"choose one, as in `{file}:NET`")
    return found[wanted]


def build(
    training: ast.Train,
    lines: tuple[ast.Setting, ...],
    module: Module,
    given: Given | None = None,
    data: Mapping[str, DataKind] | None = None,
) -> Recipe | None:
    """Return the recipe of a block with these lines; None if there are errors, which are reported. `data` replaces the
    lines `data` and `validate`."""
    return _Block(training, lines, module, data or {}).recipe(given or {})


def classifier(net: Net) -> Recipe:
    """Return a recipe to evaluate a net as a classifier. Its data is a placeholder. Raises NotAClassifier."""
    loss, outputs = LOSSES["cross_entropy"](), [*net.inference_outputs.values()]
    names = *net.outputs, *(node.name for node in net.inputs), *(name for _, name in _free_weights(net))
    reserved = [name for name in names if name in STEP_NAMES]
    unknown = [node for node in net.inputs if any(isinstance(size, Size) for size in node.shape)]
    what, advice = "", f"add `train {net.name} {{ data …; loss … }}`, with the loss of each output"
    if reserved:
        what, advice = f"the name `{reserved[0]}` is reserved for evaluation", "rename it"
    elif unknown:
        what = f"the input `{unknown[0].name}` of {format_shape(unknown[0].shape)} has no fixed size"
        advice = "write numbers in place of `?`"
    elif len(outputs) > 1:
        what = f"it has {len(outputs)} outputs, {', '.join(f'`{output.name}`' for output in outputs)}"
    else:
        try:
            loss.target(outputs[0].node.shape)
        except Misfit as misfit:
            shape = format_shape(outputs[0].node.shape)
            what = f"its output is {shape}, and `cross_entropy` takes {misfit.data['wanted']}"
            if shape == "1":
                advice = f"for two classes, add `train {net.name} {{ data …; loss logistic }}`"
    if what:
        raise NotAClassifier(f"without a `train` block, `{net.name}` is evaluated as a classifier, but {what}", advice)
    lines = (LossLine(output=outputs[0].name, loss=loss, span=outputs[0].span),)
    return Recipe(
        net=net,
        span=outputs[0].span,
        name=net.name,
        data=KINDS["xor"](),
        losses=lines,
        metrics=train_lines.default_metrics(lines, net),
        optimizer=OPTIMIZERS["sgd"](),
        schedule=SCHEDULES["constant"](),
    )


class _Block:
    """The lines of a `train` block by key. Each is read independently, so that one run reports the mistakes of all."""

    def __init__(
        self, training: ast.Train, lines: tuple[ast.Setting, ...], module: Module, data: Mapping[str, DataKind]
    ) -> None:
        self.name = training.name
        self.data = data
        self.context = module.context.inside()
        self.module = module
        self.failed = False
        self.lines: dict[str, list[ast.Setting]] = {}
        for line in lines:
            self.attempt(self._sort, line)

    def attempt(self, action: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        """Return the result of an action, or None after reporting its problem."""
        try:
            return action(*args, **kwargs)
        except Rejected as rejected:
            self.module.report.add(rejected.problem)
        except Poisoned:
            pass
        self.failed = True
        return None

    def one(
        self,
        key: str,
        read: Callable[Concatenate[ast.Setting, Context, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T | None:
        """Return the value of the only line with a key; None if there is none, or if it is wrong."""
        (line,) = self.lines.get(key) or (None,)
        return self.attempt(read, line, self.context, *args, **kwargs) if line is not None else None

    def each(
        self,
        key: str,
        read: Callable[Concatenate[ast.Setting, Context, _P], _L | None],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> tuple[_L, ...]:
        """Return the values of all valid lines with a key."""
        found = [self.attempt(read, line, self.context, *args, **kwargs) for line in self.lines.get(key, ())]
        return tuple(value for value in found if value is not None)

    def _sort(self, line: ast.Setting) -> None:
        key = line.key.text
        self.module.work.spend(3, line.span)
        if key not in train_lines.LINE_KEYS:
            train_lines.unknown_key(line, self.context)
        same = self.lines.setdefault(key, [])
        if same and key not in REPEATABLE:
            earlier = same[0].key.span
            self.context.reject(train_problems.LineTwice, line.key.span, what=f"`{key}`", earlier=earlier)
        same.append(line)

    def recipe(self, given: Given) -> Recipe | None:
        """Return the recipe; None if there are errors, which are reported."""
        data = self.data.get("data") or self.one("data", train_lines.read_data)
        validate = self.data.get("validate") or self.one("validate", train_lines.read_validation)
        optimizer, exceptions = self.one("optimizer", train_lines.read_optimizer) or (OPTIMIZERS["sgd"](), ())
        schedule = self.one("schedule", train_lines.read_schedule) or SCHEDULES["constant"]()
        stop = self.one("stop", train_lines.read_stop)
        average = self.one("average", train_lines.read_average)
        dtype = self.one("dtype", train_lines.read_dtype)
        augment = self.one("augment", train_lines.read_augmentations)
        numbers = {key: self.one(key, train_lines.read_number) for key in NUMBER_LINES}
        self.attempt(self._check_end)
        net = self.attempt(self._net, given)
        undecayed = self.attempt(train_lines.undecayed, exceptions, self.context, net)
        freeze = self.one("freeze", train_lines.read_frozen, net)
        losses = self.each("loss", train_lines.read_loss, net)
        if net is not None and losses and not self.failed:
            self.attempt(train_lines.check_losses, losses, net, self.context)
        metrics = self.each("metric", train_lines.read_metric, net, losses)
        self._check_missing()
        self.attempt(self._check_rate, optimizer.lr, schedule)
        if net is not None:
            self.attempt(self._check_net, net, numbers["batch"] == 1 and not numbers["bn"], data)
        if self.failed or net is None or data is None or self.module.file.broken:
            return None
        result = Recipe(
            net=net,
            span=self.name.span,
            name=self.name.text,
            data=data,
            losses=losses,
            metrics=metrics or train_lines.default_metrics(losses, net),
            optimizer=optimizer,
            schedule=schedule,
            stop=stop,
            validate=validate.part if isinstance(validate, ValidationPart) else validate,
            stratified=isinstance(validate, ValidationPart) and validate.stratified,
            augment=augment or (),
            batch=numbers["batch"] or Recipe.batch,
            accumulate=numbers["accumulate"] or Recipe.accumulate,
            shards=numbers["shards"] or Recipe.shards,
            sync_bn=bool(numbers["bn"]),
            epochs=None if numbers["steps"] else numbers["epochs"] or Recipe.epochs,
            steps=numbers["steps"],
            seed=numbers["seed"] or Recipe.seed,
            keep=numbers["keep"] or Recipe.keep,
            average=average or Recipe.average,
            dtype=dtype or Recipe.dtype,
            undecayed=undecayed or frozenset(),
            freeze=freeze or frozenset(),
            spans={key: lines[0].span for key, lines in self.lines.items()},
        )
        for check in CHECKS:
            self.attempt(check, result, self.context)
        if self.failed:
            return None
        result.text = self._text(result, exceptions)
        self.module.recipes.append(result)
        return result

    def _check_end(self) -> None:
        """Reject `epochs` beside `steps`. Raises Rejected."""
        both = [line for key in ("epochs", "steps") for line in self.lines.get(key, ())]
        if len(both) > 1:
            one, other = (line.key for line in sorted(both, key=lambda line: line.span.start))
            self.context.reject(train_problems.Excluding, other.span, here=one.text, there=other.text, earlier=one.span)

    def _check_missing(self) -> None:
        """Report required lines that are missing."""
        for key, example in (("data", 'data mnist "datasets/mnist"'), ("loss", "loss cross_entropy")):
            if key not in self.lines and key not in self.data:
                self.failed = True
                if not self.module.lost(key):
                    problem = train_problems.MissingLine(span=self.name.span, name=key, example=example)
                    self.module.report.add(problem)

    def _check_rate(self, lr: float, schedule: Schedule) -> None:
        """Reject a schedule whose rates float32 cannot hold. Raises Rejected."""
        rate = schedule.largest(lr)
        if rate > FLOAT32_MAX:
            self.context.reject(loss_problems.RateTooLarge, self.lines["schedule"][0].span, lr=lr, rate=rate)

    def _net(self, given: Given) -> Net:
        """Return the net to train. Raises Rejected or Poisoned."""
        name = self.name
        owner, definition = self.module.find(name.text) or (self.module, None)
        if not isinstance(definition, (ast.Net, ast.Alias)):
            if self.module.lost(name.text):
                raise Poisoned
            self.context.reject(UnknownNet, name.span, name=name.text, candidates=self.module.net_names())
        net = elaborate(resolve(owner, definition, given))
        if net is None:
            raise Poisoned
        return net

    def _check_net(self, net: Net, is_alone: bool, data: DataKind | None) -> None:
        """Reject a net that cannot be trained, at all or by batches of one. Raises Rejected."""
        for node in net.inputs:
            if any(isinstance(size, Size) for size in node.shape):
                sizes = data.filled(node.shape) if data is not None and len(net.inputs) == 1 else None
                kind = "" if data is None else data.kind
                self.context.reject(
                    loss_problems.UnknownSizes, self.name.span, net=net.name, node=node, data=kind, sizes=sizes
                )
        for node in net.nodes if is_alone else ():
            if node.layer.kind == "bn" and all(size == 1 for size in node.shape[1:]):
                self.context.reject(loss_problems.BatchOfOne, self.lines["batch"][0].span, node=node)

    def _text(self, recipe: Recipe, exceptions: Sequence[ast.Expr]) -> str:
        """Return an equivalent block with every default and every computed value written out."""
        lines = "".join(f"  {line}\n" for line in self._text_lines(recipe, exceptions))
        return f"train {recipe.name} {{\n{lines}}}\n"

    def _text_lines(self, recipe: Recipe, exceptions: Sequence[ast.Expr]) -> Iterator[str]:
        yield f"data {written(recipe.data)}"
        if recipe.validate is not None:
            validate = recipe.validate
            part = f"{validate!r}{' stratified on' if recipe.stratified else ''}"
            yield f"validate {written(validate) if isinstance(validate, DataKind) else part}"
        yield from (f"loss {line.output} {written(line.loss)}" for line in recipe.losses)
        yield from (f"metric {line.output} {written(line.metric)}" for line in recipe.metrics)
        except_ = f" except {self._labels(exceptions)}" if exceptions else ""
        yield f"optimizer {written(recipe.optimizer)}{except_}"
        yield f"schedule {written(recipe.schedule)}"
        if recipe.stop is not None:
            yield written(recipe.stop)
        if recipe.average:
            yield f"average {recipe.average!r}"
        if recipe.dtype != Recipe.dtype:
            yield f"dtype {recipe.dtype}"
        yield f"batch {recipe.batch}"
        if recipe.accumulate > 1:
            yield f"accumulate {recipe.accumulate}"
        if recipe.shards:
            yield f"shards {recipe.shards}"
        if recipe.sync_bn:
            yield "bn sync on"
        yield f"steps {recipe.steps}" if recipe.steps is not None else f"epochs {recipe.epochs}"
        yield f"seed {recipe.seed}"
        yield f"keep {recipe.keep}"
        if recipe.augment:
            yield f"augment {{ {'; '.join(map(written, recipe.augment))} }}"
        for line in self.lines.get("freeze", ()):
            yield f"freeze {self._labels(line.values)}"

    def _labels(self, given: Sequence[ast.Expr]) -> str:
        return " ".join(train_lines.path_of(expr, self.context) for expr in given)


def _free_weights(net: Net) -> list[tuple[Node, str]]:
    """Return each `param` with the name of its weight."""
    return [
        (node, weight.name) for node in net.nodes if node.layer.kind == "param" for weight in node.parameters.values()
    ]


def check_reserved(recipe: Recipe, context: Context) -> None:
    """Reject an input, output or weight with the name of a part of the training step. Raises Rejected."""
    named = [("input", node.name, node.span) for node in recipe.net.inputs]
    named += [("output", output.name, output.span) for output in recipe.net.outputs.values()]
    named += [("weight", name, node.span) for node, name in _free_weights(recipe.net)]
    for what, name, span in named:
        if name in STEP_NAMES:
            context.reject(loss_problems.ReservedName, recipe.span, name=name, what=what, declared=span)


CHECKS = check_reserved, *FITTING


def check_train_blocks(module: Module) -> None:
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
    """Yield what is wrong with data of this kind, whatever the files contain. Only `check` reports it, since a Python
    program may pass other data."""
    inputs = [node.shape for node in recipe.net.inputs]
    for data in (recipe.data, recipe.validate):
        if isinstance(data, DataKind) and (what := data.misfit(inputs, [*recipe.targets.values()])):
            yield loss_problems.DataMisfit(span=data.spans[""], name=data.kind, what=what, net=recipe.net.name)
    if isinstance(recipe.validate, float) and isinstance(recipe.data, Generated):
        total = recipe.data.n
        count = round(total * recipe.validate)
        if not 0 < count < total:
            yield loss_problems.EmptyPart(span=recipe.spans["validate"], part=recipe.validate, count=count, total=total)
