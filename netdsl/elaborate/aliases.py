"""What an alias sets of the net behind it: `net resnet152 = resnet(depth = 152)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.argument_problems import ArgumentTwice, TooMany
from netdsl.elaborate.expressions import default_value
from netdsl.syntax import ast

if TYPE_CHECKING:
    from netdsl.elaborate.module import Module
    from netdsl.elaborate.net import Given


def arguments(alias: ast.Alias, module: Module) -> Given:
    """The values that an alias gives, by parameter, and where. Raises Rejected or Poisoned."""
    net = _net(alias, module)
    parameters = [parameter.name.text for parameter in net.parameters] if net else []
    given: Given = {}
    keyword = ""
    for place, (name, expr) in enumerate(alias.arguments):
        if net and name is None and (keyword or place >= len(parameters)):
            module.context.reject(
                TooMany,
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
            module.context.reject(ArgumentTwice, span, callee=alias.target.text, name=parameter, earlier=earlier)
        given[parameter] = (default_value(expr, module.context), span)
    return given


def _net(alias: ast.Alias, module: Module) -> ast.Net | None:
    """The net behind an alias, aliases in between followed; None where there is none, which `resolve` tells."""
    seen: list[ast.Alias] = []
    definition: object = alias
    while isinstance(definition, ast.Alias) and definition not in seen:
        seen.append(definition)
        found = module.find(definition.target.text)
        if found is None:
            return None
        module, definition = found
    return definition if isinstance(definition, ast.Net) else None
