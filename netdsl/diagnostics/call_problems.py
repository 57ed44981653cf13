"""Problems of calls as they are written: signs that other languages want between a name and its arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.problem import Edit, Help, Problem, problem
from netdsl.text import Span

if TYPE_CHECKING:
    from collections.abc import Iterable


def before(span: Span) -> Span:
    """The place just before a span, to insert at."""
    return Span(span.source, span.start, span.start)


@problem("E0108", "a minus between arguments")
class MinusInCall(Problem):
    """In a call a space begins the next argument, so `conv 3x3 64 -1` could mean one argument or two. Parentheses
    make it one value, closing the gap a subtraction.

    ```net fail
    net bad { input x 784; scale -1; dense 10 }
    ```

    ```net mended
    net good { input x 784; scale (-1); dense 10 }
    ```
    """

    operand: Span
    left: Span | None

    def label(self) -> str:
        return "a subtraction, or a negative argument?"

    def helps(self) -> Iterable[Help]:
        negative = f"(-{self.operand.text})"
        if self.left:
            gap = Span(self.span.source, self.left.end, self.operand.start)
            yield Help(f"to subtract, write `{self.left.text}-{self.operand.text}`", Edit(gap, "-"))
        value = Span(self.span.source, self.span.start, self.operand.end)
        yield Help(f"for a negative argument, write `{negative}`", Edit(value, negative))


@problem("E0110", "`=` or `:` in a call")
class EqualsInCall(Problem):
    """A keyword and its value stand side by side, as in the architecture table: `stride 2`. Values get their names by
    `let`, results by labels, `fc: dense 10`.

    ```net fail
    net bad { input x 3x32x32; conv 3x3 8 stride=2; dense 10 }
    ```

    ```net mended
    net good { input x 3x32x32; conv 3x3 8 stride 2; dense 10 }
    ```
    """

    name: Span
    gap: Span
    assignment: bool
    result: tuple[Edit, ...] = ()
    """The edits that make a label of the name, where a layer follows."""

    def message(self) -> str:
        if self.result:
            return "a result is named by a label, with `:`"
        if self.assignment:
            return "a name is given to a value by `let`"
        return f"a keyword takes its value without `{self.span.text}`"

    def label(self) -> str:
        return f"no `{self.span.text}` stands here"

    def helps(self) -> Iterable[Help]:
        if self.result:
            yield Help(f"write `{self.name.text}: …`", *self.result, safe=True)
        elif self.assignment:
            yield Help(f"write `let {self.name.text} = …`", Edit(before(self.name), "let "), safe=True)
        else:
            yield Help(f"write `{self.name.text}` and its value, side by side", Edit(self.gap, " "), safe=True)


@problem("E0111", "a comma between arguments")
class CommaInCall(Problem):
    """The arguments of a call are parted by spaces; commas stand in lists, `[1, 2]`, and in functions, `max(a, b)`.

    ```net fail
    net bad { input x 3x32x32; conv 3x3, 64; dense 10 }
    ```

    ```net mended
    net good { input x 3x32x32; conv 3x3 64; dense 10 }
    ```
    """

    gap: Span

    def label(self) -> str:
        return "arguments are parted by spaces"

    def helps(self) -> Iterable[Help]:
        yield Help("remove the comma", Edit(self.gap, " "), safe=True)


@problem("E0112", "a layer called with parentheses")
class ParenthesesInCall(Problem):
    """A layer's arguments follow its name without parentheses: `conv 3x3 64`. Parentheses call functions within
    expressions, `max(a, b)`.

    ```net fail
    net bad { input x 3x32x32; conv(3x3, 64); dense 10 }
    ```

    ```net mended
    net good { input x 3x32x32; conv 3x3 64; dense 10 }
    ```
    """

    name: str
    edits: tuple[Edit, ...] = ()

    def message(self) -> str:
        return f"`{self.name}` is called with parentheses"

    def label(self) -> str:
        return "a layer's arguments stand behind its name without parentheses"

    def helps(self) -> Iterable[Help]:
        from netdsl.diagnostics.foreign import layer_helps

        head = Span(self.span.source, self.span.start, self.span.start + len(self.name))
        known = layer_helps(head, self.name)
        if known and not known[0].edits:
            yield known[0]
        elif known:
            yield Help(f"write the arguments side by side; {known[0].text}", *known[0].edits, *self.edits, safe=True)
        else:
            yield Help("write the arguments side by side", *self.edits, safe=True)


@problem("E0117", "a layer called as in Python")
class PythonCall(Problem):
    """Statements apply, from top to bottom, to the current value: it has no name, and is not passed on. A layer's
    arguments stand behind its name, without parentheses and commas.

    ```net fail
    net bad { input x 784; x = F.relu(x); dense 10 }
    ```

    ```net mended
    net good { input x 784; relu; dense 10 }
    ```
    """

    name: str
    ours: str | None
    statement: str
    """What means the same here, where that is certain."""

    def message(self) -> str:
        return f"`{self.name}` is called as in Python"

    def label(self) -> str:
        return "a statement applies to the current value, without parentheses"

    def helps(self) -> Iterable[Help]:
        if self.statement:
            yield Help(f"write `{self.statement}`", Edit(self.span, self.statement))
            return
        from netdsl.diagnostics.foreign import layer_helps

        last = self.name.rpartition(".")[2]
        if self.ours:
            said = f"write `{last}`" if self.ours == last else f"netdsl calls it `{self.ours}`"
            yield Help(f"{said}, with its arguments side by side; `netdsl layers {self.ours}` tells them")
        else:
            yield from layer_helps(self.span, last) or [Help("write its name, and its arguments side by side")]
