"""Programs from text to nets, for tests."""

from __future__ import annotations

from netdsl.base.text import Source
from netdsl.diagnostics.report import Report
from netdsl.elaborate.library import Library
from netdsl.elaborate.net import elaborate, entry_net, resolve
from netdsl.ir.net import Net


def net_of(text: str, name: str | None = None, **given: object) -> Net:
    """The only net of a text, or the named one, with values for its parameters; the text must be right."""
    net, report = try_net(text, name, **given)
    assert net is not None, [f"{p.code} {p.span}: {p.message()}" for p in report]
    return net


def try_net(text: str, name: str | None = None, **given: object) -> tuple[Net | None, Report]:
    """The net of a text where it is right, and what is wrong with it."""
    report = Report()
    module = Library(report).load(Source("test.net", text), "test.net")
    owner, definition = entry_net(module, name)
    instance = resolve(owner, definition, {k: (v, definition.name.span) for k, v in given.items()})
    return elaborate(instance), report


def flow(statements: str, before: str = "") -> Net:
    """A net of an input `x` and these statements."""
    return net_of(f"{before}\nnet test {{\n{statements}\n}}")


def names(net: Net) -> list[str]:
    """The names of its layers, inputs aside."""
    return [node.name for node in net.nodes if node.layer.kind != "input"]


def weights(net: Net) -> list[str]:
    """The names of its weights and running statistics."""
    return list(net.parameters)
