"""Rewrite a graph value by value, each in the layouts that its consumers request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl import ops
from netdsl.ir.graph import Constant, Graph, Parameter
from netdsl.ir.op import SameShape
from netdsl.ops.arithmetic import Elementwise
from netdsl.ops.base import constant
from netdsl.ops.nchwc import blocked_affine
from netdsl.passes.blocked.layout import Layout, to_layout, to_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from netdsl.ir.graph import Operation, Value
    from netdsl.ir.op import Op

    Rule = Callable[["Blocker", Operation], bool]

ZERO, FINITE, ANY = range(3)
"""Content of the padding of a stored value: zeros, as sums over it require; other finite numbers; anything."""


class Lowered:
    """A training step that can be emitted, and the layouts of its state.

    `layouts` maps the parameters and states in other than the plain layout to theirs; `choices` records the selected
    kernels as JSON data.
    """

    __slots__ = ("choices", "graph", "layouts")

    def __init__(self, graph: Graph, layouts: Mapping[str, Layout], choices: Mapping[str, Any]) -> None:
        self.graph = graph
        self.layouts = layouts
        self.choices = choices


def op_key(op: Op) -> str:
    """Return a string that identifies an op with its attributes."""
    slots = [name for kind in reversed(type(op).__mro__) for name in getattr(kind, "__slots__", ())]
    return f"{type(op).__name__}({', '.join(f'{name}={getattr(op, name)}' for name in slots)})"


class KernelChoice:
    """A choice between several implementations, `options`, of an operation; equal operations have equal `key`s.

    `layouts` are the layouts of its operands, None for a plain one.
    """

    __slots__ = ("key", "layouts", "operation", "options")

    def __init__(self, operation: Operation, options: tuple[str, ...], layouts: Sequence[Layout | None]) -> None:
        self.operation = operation
        self.options = options
        self.layouts = layouts
        shapes = ", ".join("x".join(map(str, x.shape)) for x in operation.inputs)
        stored = "".join("b" if layout else "p" for layout in layouts)
        self.key = f"{op_key(operation.op)} of {shapes} {stored}"


class Blocker:
    """The new graph under construction, and the layouts in which it has the values of the old one.

    Parameters and states have no layout until their first consumer requests one. `block` is the block size; `choices`
    selects an implementation by its key (default: the first option). `given` maps inputs and outputs in other than the
    plain layout to theirs.
    """

    __slots__ = (
        "_classes",
        "_forms",
        "_old",
        "_padding",
        "_undecided",
        "block",
        "choices",
        "given",
        "kernel_choices",
        "layouts",
        "new",
        "scaled",
        "selected",
    )

    def __init__(
        self, graph: Graph, block: int, choices: Mapping[str, str], given: Mapping[str, Layout] | None = None
    ) -> None:
        self._old = graph
        self.new = Graph(graph.name, graph.origin, graph.dtype)
        self.block = block
        self.choices = choices
        self.given = given or {}
        self.kernel_choices: dict[str, KernelChoice] = {}
        self.selected: dict[str, str] = {}
        self.layouts: dict[str, Layout] = {}
        self.scaled: dict[Value, tuple[Value, Value, Layout]] = {}
        self._forms: dict[Value, dict[Layout, Value]] = {}
        self._padding: dict[Value, int] = {}
        self._undecided: dict[Value, Value] = {}
        self._classes = _Classes(graph.operations)
        for name, x in graph.inputs.items():
            layout = self.given.get(name, Layout(x.shape))
            self.put(x, self.new.input(name, layout.padded, x.dtype), layout)
        for name, parameter in graph.parameters.items():
            self._undecided[parameter] = self.new.parameters[name] = Parameter(self.new, parameter.declaration)
        for name, state in graph.state.items():
            if state.before not in self._undecided:
                self._undecided[state.before] = self.new.state_input(name, state.before.shape, state.before.dtype)

    def run(self, rules: Mapping[type[Op], Rule]) -> Graph:
        """Rewrite all operations and return the new graph."""
        for operation in self._old.operations:
            begin = len(self.new.operations)
            rule = rules.get(type(operation.op))
            if rule is None or not rule(self, operation):
                self.keep(operation)
            for made in self.new.operations[begin:]:
                made.origin = operation.origin
        return self._finish()

    def keep(self, operation: Operation) -> None:
        """Copy an operation unchanged, in the plain layout."""
        inputs = [self.get(x) for x in operation.inputs]
        for old, made in zip(operation.outputs, self.new.apply(operation.op, *inputs), strict=True):
            made.name = old.name
            self.put(old, made)

    def put(self, old: Value, made: Value, layout: Layout | None = None, padding: int = ZERO) -> None:
        """Record `made` as an old value in a layout."""
        layout = layout or Layout(old.shape)
        assert made.shape == layout.padded, f"{made!r} cannot be {layout}"
        self._forms.setdefault(old, {})[layout] = made
        self._padding[made] = padding if layout.has_padding else ZERO
        self._classes.note(old, layout)

    def get(self, old: Value, layout: Layout | None = None, *, clean: bool = True) -> Value:
        """Return a value in a layout, converting it if necessary; `clean` requires zeros in its padding."""
        layout = layout or Layout(old.shape)
        if old in self._undecided:
            self._decide(old, layout)
        if old in self.scaled and old not in self._forms:
            unscaled, scale, kept = self.scaled[old]
            self.put(old, blocked_affine(unscaled, scale), kept)
        forms = self._forms.get(old, {})
        if not forms:
            assert isinstance(old, Constant), f"{old!r} is used before it is computed"
            self.put(old, Constant(self.new, old.tensor))
            forms = self._forms[old]
        if layout not in forms:
            base = Layout(old.shape)
            if base not in forms:
                kept, value = next(iter(forms.items()))
                self.put(old, to_plain(value, kept))
            if layout not in forms:
                self.put(old, to_layout(forms[base], layout), layout)
        value = forms[layout]
        if clean and self._padding[value] != ZERO:
            value = _cleaned(value, layout)
            self.put(old, value, layout)
        return value

    def padding(self, old: Value, layout: Layout) -> int:
        """Return the content of the padding of a value in a layout; zeros if it has yet to be converted."""
        made = self._forms.get(old, {}).get(layout)
        return ZERO if made is None else self._padding[made]

    def native(self, old: Value) -> Layout | None:
        """Return the blocked layout of a value or of values like it, or None if it is plain."""
        for layout in self._forms.get(old, ()):
            if not layout.plain:
                return layout
        return self.scaled[old][2] if old in self.scaled else None

    def expected(self, old: Value) -> Layout | None:
        """Return the blocked layout of the values that this one is combined with elementwise, or None."""
        return self._classes.layout(old)

    def choose(self, operation: Operation, *options: str) -> str:
        """Return the selected option."""
        choice = KernelChoice(operation, options, [self.native(x) for x in operation.inputs])
        self.kernel_choices.setdefault(choice.key, choice)
        chosen = self.choices.get(choice.key)
        self.selected[choice.key] = chosen if chosen in options else options[0]
        return self.selected[choice.key]

    def _decide(self, old: Value, layout: Layout) -> None:
        """Store a parameter or a state in the layout of its first consumer."""
        made = self._undecided.pop(old)
        made.shape = layout.padded
        if not layout.plain:
            self.layouts[made.name] = layout
        self.put(old, made, layout)

    def _finish(self) -> Graph:
        for name, y in self._old.outputs.items():
            with self.new.owned(y.origin):
                self.new.output(name, self.get(y, self.given.get(name)))
        for state in self._old.state.values():
            layout = self.layouts.get(state.name)
            before = self.get(state.before, layout)
            with self.new.owned(state.after.origin):
                after = self.get(state.after, layout)
            self.new.update(before, after, state.initial)
        for each in [*self._undecided]:
            self.get(each)
        return self.new


class _Classes:
    """Equivalence classes of values combined elementwise, such as a weight, its gradient and its momentum."""

    __slots__ = ("_layouts", "_parents")

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._parents: dict[Value, Value] = {}
        self._layouts: dict[Value, Layout] = {}
        for operation in operations:
            if isinstance(operation.op, (Elementwise, SameShape)):
                y = operation.outputs[0]
                for x in operation.inputs:
                    if x.shape == y.shape and not isinstance(x, Constant):
                        self._parents[self._root(x)] = self._root(y)

    def _root(self, x: Value) -> Value:
        while (parent := self._parents.get(x, x)) is not x:
            self._parents[x] = self._parents.get(parent, parent)
            x = parent
        return x

    def note(self, x: Value, layout: Layout) -> None:
        if not layout.plain:
            self._layouts.setdefault(self._root(x), layout)

    def layout(self, x: Value) -> Layout | None:
        return self._layouts.get(self._root(x))


def _cleaned(x: Value, layout: Layout) -> Value:
    """Return the value with its padding set to zeros."""
    shape, elements = layout.mask()
    inside = constant(x.graph, elements, "bool", shape)
    y = ops.where(inside, ops.reshape(x, layout.memory, batch=False), constant(x.graph, 0, x.dtype))
    return ops.reshape(y, layout.padded, batch=False)
