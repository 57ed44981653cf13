"""Compare nets: from NET arguments to their rows, and to a chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.frontend import load_net, open_module
from netdsl.app.repair import verify_suggestions
from netdsl.app.reporter import SILENT
from netdsl.base.terminal import escape
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.diagnostics.problem import Rejected
from netdsl.diagnostics.report import NET, Report
from netdsl.elaborate.arithmetic import show_value
from netdsl.elaborate.blocks import domain_of
from netdsl.elaborate.context import Poisoned
from netdsl.elaborate.library import ZOO_PREFIX, zoo_nets
from netdsl.elaborate.lint import warn
from netdsl.elaborate.net import Instance, effective, elaborate, resolve
from netdsl.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from netdsl.app.reporter import Reporter
    from netdsl.elaborate.module import Module
    from netdsl.ir.net import Net
    from netdsl.report.canvas import Canvas
    from netdsl.report.comparison import Compared

    Found = list[tuple[str, Net]]

WHOLE_ZOO = "zoo"
ALL = ":*"
MAX_NAMES_SHOWN = 10
"""Maximum number of nets named that are not drawn for the same reason."""


class NothingToPlot(UserError, code="E0637", title="no net to plot", exit_code=USAGE_IS_WRONG):
    """`netdsl compare --plot` draws nets with a number of MACs that is known before run time and is not 0; `--by year`
    draws those with a `year` in their `about`. None of the nets qualifies.

    ```sh
    netdsl compare zoo --plot zoo.svg
    ```
    """


def compared(
    arguments: Sequence[str | Net],
    report: Report,
    *,
    batch: int = 1,
    root: str | None = None,
    reporter: Reporter = SILENT,
) -> list[Compared] | None:
    """Return a row for each net that the arguments mean, in order; None if one has errors. Raises UserError."""
    from netdsl.report.comparison import Compared, ordered
    from netdsl.report.figures import net_call

    rows = [Compared(net_call(net), net, batch) for net in arguments if not isinstance(net, str)]
    names = [name for name in arguments if isinstance(name, str)]
    chosen = files(names) if names or not arguments else []
    with reporter.progress("files", len(chosen)) as show:
        for done, file in enumerate(chosen):
            show(done)
            own = Report()
            found = load(file, own, root)
            report.join(own)
            if not own.errors:
                rows += [Compared(name, net, batch) for name, net in found]
    return None if report.errors else ordered(rows)


def files(arguments: list[str]) -> list[str]:
    """Replace `zoo`, or no arguments, by all shipped files."""
    named = (zoo_files() if argument == WHOLE_ZOO else [argument] for argument in arguments or [WHOLE_ZOO])
    return [file for each in named for file in each]


def zoo_files() -> list[str]:
    return [f"{ZOO_PREFIX}{file}{ALL}" for file in dict.fromkeys(zoo_nets().values())]


def load(argument: str, report: Report, root: str | None = None) -> Found:
    """Return the nets that an argument selects, with their names; empty if there are errors. Raises UserError.

    NET is a FILE as in `netdsl summary`. `NET:*` selects a net of the zoo with each value of each of its domains, or
    all nets of a file with theirs; of a shipped file, only those with a name. Equal nets appear once, under the most
    specific name: `resnet50` rather than `resnet`.
    """
    if not argument.endswith(ALL):
        net = load_net(argument, report, root=root)
        return [(net.name, net)] if net is not None else []
    file = argument.removesuffix(ALL)
    module, wanted = open_module(file, report, root)

    def again(report: Report, texts: Mapping[str, str]) -> object:
        return _all(*open_module(file, report, root, texts), file)

    found = _all(module, wanted, file)
    if report.errors:
        verify_suggestions(report, module.file.source, again)
    warn(module, [net for _, net in found])
    return [] if report.errors else found


def _all(module: Module, wanted: str | None, file: str) -> Found:
    if module.report.errors:
        return []
    module.check_lets()
    found: Found = []
    try:
        names: dict[object, str] = {}
        for name, instance in _named(module):
            names.setdefault(effective(instance), name)
        asked: dict[object, Instance] = {}
        for name, instance in _asked(module, wanted, domains=not file.startswith(ZOO_PREFIX) or wanted is not None):
            names.setdefault(effective(instance), name)
            asked.setdefault(effective(instance), instance)
        for key, instance in asked.items():
            net = elaborate(instance)
            if net is not None:
                found.append((names[key], net))
    except Rejected as rejected:
        module.report.add(rejected.problem)
    except Poisoned:
        pass
    return found


def _named(module: Module) -> Iterator[tuple[str, Instance]]:
    """Yield the named nets of the file, aliases first."""
    own = [(name, each) for name, each in module.own.items() if isinstance(each, ast.Net | ast.Alias)]
    for name, definition in sorted(own, key=lambda each: isinstance(each[1], ast.Net)):
        module.work.spend(NET, definition.name.span)
        yield name, resolve(module, definition, {})


def _asked(module: Module, wanted: str | None, *, domains: bool) -> Iterator[tuple[str, Instance]]:
    for name, instance in _named(module):
        if wanted is not None and name != wanted:
            continue
        yield name, instance
        owner = instance.module
        for parameter in instance.definition.parameters if domains else ():
            for value in domain_of(parameter, owner.context) or ():
                owner.work.spend(NET, parameter.name.span)
                given = {**instance.given, parameter.name.text: (value, parameter.name.span)}
                varied = Instance(
                    name=name, module=owner, definition=instance.definition, given=given, doc=instance.doc
                )
                yield f"{name}({parameter.name.text} = {show_value(value)})", varied


def comparison_picture(
    rows: list[Compared], by: str | None = None, theme: str | None = None
) -> tuple[Canvas, dict[str, list[str]]]:
    """Draw accuracy by MACs, or depth by `year`. Return also the names of the nets that are left out, by the reason.
    Raises NothingToPlot."""
    from netdsl.report.comparison_chart import accuracy_by_macs, depth_by_year
    from netdsl.report.theme import THEMES

    left_out: dict[str, list[str]] = {}
    drawn = []
    for row in rows:
        reason = _obstacle(row, by)
        if reason:
            left_out.setdefault(reason, []).append(row.name)
        else:
            drawn.append(row)
    if not drawn:
        reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in left_out.items())
        helps = ["add `about { year 2015 }`"] if by == "year" else []
        raise NothingToPlot(f"no net can be drawn ({reasons})", *helps)
    draw = depth_by_year if by == "year" else accuracy_by_macs
    return draw(drawn, THEMES[theme or "light"]), left_out


def _obstacle(row: Compared, by: str | None) -> str:
    """Return why a net has no place in a chart."""
    if by == "year":
        return "" if row.year is not None else "without a year"
    if not isinstance(row.macs, int):
        return "with MACs that depend on sizes known at run time"
    return "" if row.macs else "without MACs"


def omissions(left_out: dict[str, list[str]]) -> list[str]:
    """Format the names of the nets that are left out of a chart, a line for each reason."""
    lines = []
    for reason, names in left_out.items():
        more = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
        lines.append(f"not drawn, {reason}: {', '.join(map(escape, names[:MAX_NAMES_SHOWN]))}{more}")
    return lines
