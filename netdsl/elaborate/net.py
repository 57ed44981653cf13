"""The nets of a file: selecting the entry, resolving aliases, and elaboration."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from netdsl.base.record import Record
from netdsl.base.text import Span
from netdsl.diagnostics import problems
from netdsl.diagnostics.problem import Rejected
from netdsl.diagnostics.report import NET
from netdsl.elaborate import structure  # noqa: F401  (registers its statements)
from netdsl.elaborate.arithmetic import show_value
from netdsl.elaborate.blocks import define, domain_of
from netdsl.elaborate.builder import Expansion, NetBuilder
from netdsl.elaborate.context import POISON, Context, Poisoned, Scope, Variables
from netdsl.elaborate.expressions import default_value
from netdsl.elaborate.flow import run_body
from netdsl.ir.net import UNFINISHED, Net, Output
from netdsl.syntax import ast

if TYPE_CHECKING:
    from netdsl.elaborate.builder import Observer
    from netdsl.elaborate.context import ExprValue
    from netdsl.elaborate.module import Module
    from netdsl.ir.net import Node

    Given = dict[str, tuple[ExprValue, Span]]
    """Values of parameters, and where they were given."""


def _alias_arguments(alias: ast.Alias, module: Module) -> Given:
    """Return the arguments of an alias by parameter, with their locations. Raises Rejected or Poisoned."""
    net = net_of(alias, module)
    parameters = [parameter.name.text for parameter in net.parameters] if net else []
    given: Given = {}
    keyword = ""
    for place, (name, expr) in enumerate(alias.arguments):
        if net and name is None and (keyword or place >= len(parameters)):
            module.context.reject(
                problems.TooMany,
                expr.span,
                callee=alias.target.text,
                limit=len(parameters),
                given=sum(name is None for name, _ in alias.arguments),
                usage=f"{alias.target.text}({', '.join(f'{parameter} = …' for parameter in parameters)})",
                declared=net.name.span,
                after=keyword,
            )
        elif name is None and not net:
            continue
        keyword = name.text if name is not None else ""
        parameter, span = (keyword, name.span) if name is not None else (parameters[place], expr.span)
        if parameter in given:
            earlier = given[parameter][1]
            module.context.reject(
                problems.ArgumentTwice, span, callee=alias.target.text, name=parameter, earlier=earlier
            )
        given[parameter] = (default_value(expr, module.context), span)
    return given


def net_of(definition: ast.Net | ast.Alias, module: Module) -> ast.Net | None:
    """Return the net that an alias leads to; None if there is none, which `resolve` reports."""
    seen: list[ast.Alias] = []
    while isinstance(definition, ast.Alias) and definition not in seen:
        seen.append(definition)
        found = module.find(definition.target.text)
        if found is None:
            return None
        module, target = found
        if not isinstance(target, (ast.Net, ast.Alias)):
            return None
        definition = target
    return definition if isinstance(definition, ast.Net) else None


_MAX_NETS_SHOWN = 4
"""Maximum number of nets to point at when one must be chosen."""


class Instance(Record):
    """A net with values for some of its parameters: `resnet`, `resnet(depth = 101)`, or an alias of one."""

    name: str
    module: Module
    definition: ast.Net
    given: Given
    doc: str

    @property
    def key(self) -> tuple[object, ...]:
        """A key that is equal for instances that elaborate alike."""
        return _key(self.definition, self.given)


def _key(definition: ast.Net, given: Given) -> tuple[object, ...]:
    values = sorted((name, type(value).__name__, repr(value)) for name, (value, _) in given.items())
    return (id(definition), *values)


def entry_net(module: Module, wanted: str | None) -> tuple[Module, ast.Net | ast.Alias]:
    """Return the requested net, or the only one in the file, the only imported one, or the one named like the file.

    Raises Rejected.
    """
    own = {n: (module, d) for n, d in module.own.items() if isinstance(d, (ast.Net, ast.Alias))}
    imported = {n: (m, d) for n, (m, d) in module.imported.items() if isinstance(d, (ast.Net, ast.Alias))}
    source = module.file.source
    nowhere = Span(source, 0, 0)
    if wanted is not None:
        if wanted not in own and wanted not in imported:
            raise Rejected(problems.UnknownNet(span=nowhere, name=wanted, candidates=(*own, *imported)))
        return own.get(wanted) or imported[wanted]
    stem = os.path.basename(source.name).removesuffix(".net")
    nets = own or imported
    if not nets:
        if module.file.broken:
            raise Poisoned
        blocks = any(isinstance(d, ast.Block) for d in module.own.values())
        raise Rejected(problems.NoNet(span=nowhere, blocks=blocks))
    if len(nets) > 1 and stem not in nets:
        here, *others = [d.name.span for _, d in own.values()][:_MAX_NETS_SHOWN] or [nowhere]
        raise Rejected(problems.WhichNet(span=here, names=tuple(nets), file=source.name, others=tuple(others)))
    return nets[stem] if stem in nets else next(iter(nets.values()))


def resolve(module: Module, definition: ast.Net | ast.Alias, given: Given) -> Instance:
    """Follow aliases to the net. Raises Rejected or Poisoned."""
    name, doc = definition.name.text, definition.doc
    seen: list[ast.Alias] = []
    while isinstance(definition, ast.Alias):
        if definition in seen:
            circle = seen[seen.index(definition) :]
            first = circle.index(min(circle, key=lambda alias: (alias.span.source.name, alias.span.start)))
            circle = circle[first:] + circle[: first + 1]
            cycle = tuple(alias.name.text for alias in circle)
            module.context.reject(problems.Recursive, circle[0].target.span, what="the net", cycle=cycle)
        seen.append(definition)
        module.work.spend(len(seen), definition.name.span)
        found = module.find(definition.target.text)
        if found is None or not isinstance(found[1], (ast.Net, ast.Alias)):
            if module.lost(definition.target.text):
                raise Poisoned
            target = definition.target
            module.context.reject(problems.UnknownNet, target.span, name=target.text, candidates=module.net_names())
        given = {**_alias_arguments(definition, module), **given}
        module, definition = found[0], found[1]
        doc = doc or definition.doc
    parameters = [p.name.text for p in definition.parameters]
    for wrong in (n for n in given if n not in parameters):
        from netdsl.elaborate.overrides import SETTING, is_training_key

        span, name = given[wrong][1], definition.name.text
        training = span.source.name == SETTING and is_training_key(wrong)
        module.context.reject(
            problems.UnknownParameter, span, name=wrong, net=name, candidates=tuple(parameters), training=training
        )
    return Instance(name=name, module=module, definition=definition, given=given, doc=doc)


def instances(module: Module) -> list[Instance]:
    """Return every net of a file, and each value of each domain with the other parameters at their defaults, without
    duplicates."""
    found: dict[tuple[object, ...], Instance] = {}
    report = module.report
    for definition in module.own.values():
        if not isinstance(definition, (ast.Net, ast.Alias)):
            continue
        try:
            module.work.spend(NET, definition.name.span)
            instance = resolve(module, definition, {})
            found.setdefault(effective(instance), instance)
            for parameter in definition.parameters if isinstance(definition, ast.Net) else ():
                for value in domain_of(parameter, module.context) or ():
                    given = {parameter.name.text: (value, parameter.name.span)}
                    module.work.spend(NET, parameter.name.span)
                    varied = Instance(
                        name=instance.name, module=module, definition=instance.definition, given=given, doc=instance.doc
                    )
                    found.setdefault(effective(varied), varied)
        except Rejected as rejected:
            report.add(rejected.problem)
        except Poisoned:
            pass
    return list(found.values())


def effective(instance: Instance) -> tuple[object, ...]:
    """Return the key of an instance with its defaults filled in where they are literals."""
    given = dict(instance.given)
    for parameter in instance.definition.parameters:
        if parameter.name.text not in given and isinstance(parameter.default, (ast.Number, ast.Switch, ast.Text)):
            given[parameter.name.text] = (parameter.default.value, parameter.span)
    return _key(instance.definition, given)


class Attempt:
    """What the elaboration of an instance built. `net` is None if there are errors."""

    __slots__ = ("_builder", "instance", "net")

    def __init__(self, instance: Instance, builder: NetBuilder, sound: bool) -> None:
        self.instance = instance
        self._builder = builder
        self.net = self._net(builder, builder.live(), builder.outputs) if sound else None

    def partial(self) -> Net | None:
        """Return the layers before the first error as a net, whose outputs are also the values that nothing reads; None
        if there are none."""
        builder, report = self._builder, self.instance.module.report
        count, place = builder.cut or (len(builder.nodes), next(iter(report)).span)
        nodes = [] if self.lacks_defaults else builder.nodes[:count]
        if not nodes:
            return None
        kept, read = set(nodes), {x for node in nodes for x in node.inputs}
        outputs = {name: output for name, output in builder.outputs.items() if output.node in kept}
        ends = [node for node in nodes if node not in read and node not in {y.node for y in outputs.values()}]
        training = {nodes[at] for at in builder.training if at < count}
        for node in ends if ends != nodes[:1] or not outputs else ():
            outputs[f"{UNFINISHED} {node.name}"] = Output(UNFINISHED, node, node.span, node in training)
        net = self._net(builder, nodes, outputs)
        net.incomplete = place
        return net

    def _net(self, builder: NetBuilder, nodes: list[Node], outputs: dict[str, Output]) -> Net:
        instance, kept = self.instance, set(nodes)
        names = builder.active[0].context.variables.names
        values = {p.name.text: names.get(p.name.text, (POISON,))[0] for p in instance.definition.parameters}
        return Net(
            instance.name,
            instance.module.file.source,
            doc=instance.doc,
            inputs=tuple(node for node in builder.inputs if node in kept),
            outputs=outputs,
            nodes=tuple(nodes),
            labels=frozenset(builder.label_paths),
            about=builder.about,
            settings={name: show_value(value) for name, value in values.items() if value is not POISON},
        )

    @property
    def lacks_defaults(self) -> bool:
        """Whether a `default` of the file is wrong, so that all layers may have other arguments than meant."""
        module = self.instance.module
        broken = (item.span.text for item in module.file.items if isinstance(item, ast.Broken))
        return module.flawed or any(text.startswith("default") for text in broken)


def elaborate(instance: Instance) -> Net | None:
    """Return the net of an instance, cached, or None if there are errors, which are in the module's report."""
    return attempt(instance).net


def attempt(instance: Instance, observer: Observer | None = None) -> Attempt:
    """Elaborate an instance, once unless there is an observer of its statements. Errors go to the module's report."""
    known = instance.module.attempts
    key = (instance.name, instance.doc, *instance.key)
    if key not in known or observer is not None:
        known[key] = _attempt(instance, observer)
    return known[key]


def _attempt(instance: Instance, observer: Observer | None) -> Attempt:
    module, definition = instance.module, instance.definition
    report = module.report
    errors = report.errors
    failed = False
    builder = NetBuilder(report, observer)
    context = Context(builder, module, Variables(None), Scope("", None), module.defaults(definition.span.start))
    builder.active.append(Expansion(definition, context))
    try:
        module.work.spend(NET, definition.name.span)
        define_parameters(instance, context)
        run_body(definition.body, context)
        _finish(definition, context)
    except Rejected as rejected:
        builder.fail(definition.span, rejected.problem)
        failed = True
    except Poisoned:
        failed = True
    flawed = module.flawed or module.file.broken
    sound = not (failed or flawed or report.errors > errors or context.value is POISON)
    return Attempt(instance, builder, sound)


def define_parameters(instance: Instance, context: Context) -> None:
    """Bind the parameters of a net in the context of its body. Raises Rejected."""
    for parameter in instance.definition.parameters:
        if parameter.default is None:
            context.reject(problems.NoDefault, parameter.name.span, name=parameter.name.text)
    define(instance.definition.parameters, instance.given, context)


def _finish(definition: ast.Net, context: Context) -> None:
    """Make the last value the output of a net that names none, or only training outputs."""
    builder = context.builder
    if context.value is POISON:
        raise Poisoned
    if context.value is None and context.module.file.broken:
        raise Poisoned
    if context.value is None:
        context.reject(problems.NoInput, definition.name.span, what=f"the net `{definition.name.text}`")
    if all(output.training for output in builder.outputs.values()):
        taken = [output.span for output in builder.outputs.values() if output.name == "output"]
        taken += [node.span for node in builder.inputs if node.name == "output"]
        if taken:
            context.reject(problems.OutputTwice, definition.name.span, name="output", earlier=taken[0])
        builder.outputs["output"] = Output("output", context.value, context.value.span)
    _check_ports(context)


def _check_ports(context: Context) -> None:
    """Reject an input or output with the name of a weight. Raises Rejected."""
    builder = context.builder
    ports = [("input", node.name, node.span, False) for node in builder.inputs]
    ports += [("output", y.name, y.span, y.span == y.node.span) for y in builder.outputs.values()]
    for what, name, span, implied in ports:
        owner, weights = builder.owners.get(name, (None, ()))
        if owner is not None and any(weight.unnamed for weight in weights):
            context.reject(problems.NamedLikeWeight, span, what=what, name=name, weight=owner.span, implied=implied)
