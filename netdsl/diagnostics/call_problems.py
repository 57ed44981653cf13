"""Problems of calls as they are written: signs that other languages want between a name and its arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.text import Span
from netdsl.diagnostics.problem import Edit, Help, Label, Problem, problem

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
    """A keyword and its value stand side by side, as in the architecture table: `stride 2`.

    ```net fail
    net bad { input x 3x32x32; conv 3x3 8 stride=2; dense 10 }
    ```

    ```net mended
    net good { input x 3x32x32; conv 3x3 8 stride 2; dense 10 }
    ```
    """

    name: Span
    others: tuple[Span, ...]
    """The other signs of the same kind in the statement."""
    whole: Span
    statement: str
    """What to write in place of the whole, where more is wrong than the signs."""
    edits: tuple[Edit, ...]
    certain: bool

    def message(self) -> str:
        if self.others:
            return f"{len(self.others) + 1} keywords are given with `{self.span.text}`"
        return f"a keyword takes its value without `{self.span.text}`"

    def label(self) -> str:
        return f"unexpected `{self.span.text}`"

    def labels(self) -> Iterable[Label]:
        return [Label(span, f"unexpected `{span.text}`") for span in self.others]

    def helps(self) -> Iterable[Help]:
        if self.statement:
            yield Help(f"write `{self.statement}`", Edit(self.whole, self.statement))
        elif len(self.edits) > 1:
            yield Help("write all arguments side by side", *self.edits, safe=self.certain)
        else:
            yield Help(f"write `{self.name.text}` and its value side by side", *self.edits, safe=self.certain)


@problem("E0111", "a comma between arguments")
class CommaInCall(Problem):
    """The arguments of a call are separated by spaces; commas stand in lists, `[1, 2]`, and in functions, `max(a, b)`.

    ```net fail
    net bad { input x 3x32x32; conv 3x3, 64; dense 10 }
    ```

    ```net mended
    net good { input x 3x32x32; conv 3x3 64; dense 10 }
    ```
    """

    others: tuple[Span, ...]
    whole: Span
    statement: str
    edits: tuple[Edit, ...]
    certain: bool

    def message(self) -> str:
        return f"{len(self.others) + 1} commas between arguments" if self.others else self.title

    def label(self) -> str:
        return "arguments are separated by spaces"

    def labels(self) -> Iterable[Label]:
        return [Label(span, "unexpected comma") for span in self.others]

    def helps(self) -> Iterable[Help]:
        if self.statement:
            yield Help(f"write `{self.statement}`", Edit(self.whole, self.statement))
            return
        if len(self.edits) > 1:
            yield Help("write all arguments side by side", *self.edits, safe=self.certain)
            return
        ways = {"; ": "separate statements with `;`", "x": "sizes are joined by `x`"}
        yield Help(ways.get(self.edits[0].text, "remove the comma"), *self.edits, safe=self.certain)


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
    statement: str = ""
    """What to write in place of the call."""
    translated: bool = False
    """Whether more is wrong than parentheses and commas."""
    certain: bool = False
    """Whether the arguments can only have our order."""

    def message(self) -> str:
        return f"`{self.name}` is called with parentheses"

    def label(self) -> str:
        return "arguments follow the layer's name without parentheses"

    def helps(self) -> Iterable[Help]:
        from netdsl.diagnostics.foreign import layer_helps

        head = Span(self.span.source, self.span.start, self.span.start + len(self.name))
        known = layer_helps(head, self.name)
        if self.translated or not known:
            yield Help(f"write `{self.statement}`", Edit(self.span, self.statement), safe=self.certain)
        elif not known[0].edits:
            yield known[0]
        else:
            ours = known[0].edits[0].text + self.statement.removeprefix(self.name)
            yield Help(f"write the arguments side by side; {known[0].text}", Edit(self.span, ours))


@problem("E0120", "an assignment among statements")
class AssignmentInBody(Problem):
    """`let` names a constant, `let n = 3`; a label names a result, `fc: dense 10`.

    ```net fail
    net bad { input x 784; n = 3; dense n }
    ```

    ```net mended
    net good { input x 784; let n = 3; dense n }
    ```
    """

    name: Span
    result: tuple[Edit, ...]
    """The edits that make a label of the name, where a layer follows."""
    sum: tuple[Edit, ...]
    """The edits that make a labelled merge, where two names are added or the like."""
    certain: bool
    """Whether the value can be no layer or label."""

    def message(self) -> str:
        return "a label names a result, with `:`" if self.result else "`let` gives a value a name"

    def label(self) -> str:
        return "unexpected `=`"

    def helps(self) -> Iterable[Help]:
        if self.result:
            yield Help(f"write `{self.name.text}: …`", *self.result, safe=len(self.result) == 1 and self._is_plain)
            return
        yield from self._call()
        yield Help(f"write `let {self.name.text} = …`", Edit(before(self.name), "let "), safe=self.certain)
        for edit in self.sum:
            yield Help(f"for values of layers, write `{self.name.text}{edit.text}`", edit)

    def _call(self) -> Iterable[Help]:
        """Yield `dense 10` for `dense=10`."""
        from netdsl.diagnostics.foreign import is_layer

        if is_layer(self.name.text):
            gap = Span(self.span.source, self.name.end, self.span.end)
            blank = "" if self.span.source.text[self.span.end : self.span.end + 1] == " " else " "
            yield Help(f"to apply `{self.name.text}`, write its arguments without `=`", Edit(gap, blank))

    @property
    def _is_plain(self) -> bool:
        return self.result[0].text == ": "


@problem("E0121", "two labels before one statement")
class TwoLabels(Problem):
    """A statement has one label, since its weights have one name.

    ```net fail
    net bad { input x 784; a: b: dense 8; dense 10 }
    ```

    ```net mended
    net good { input x 784; a: dense 8; dense 10 }
    ```
    """

    first: Span

    def message(self) -> str:
        return f"`{self.first.text}` and `{self.span.text}` label the same statement"

    def label(self) -> str:
        return "a second label"

    def labels(self) -> Iterable[Label]:
        yield Label(self.first, "the first label")

    def helps(self) -> Iterable[Help]:
        source = self.span.source
        both = Span(source, self.first.start, source.text.index(":", self.span.end) + 1)
        for name in (self.first.text, self.span.text):
            yield Help(f"keep one label, such as `{name}`", Edit(both, f"{name}:"))


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
    """What to write in its place, where that is clear."""

    def message(self) -> str:
        return f"`{self.name}` is called as in Python"

    def label(self) -> str:
        return "arguments follow the name without parentheses"

    def helps(self) -> Iterable[Help]:
        if self.statement:
            yield Help(f"write `{self.statement}`", Edit(self.span, self.statement))
            return
        from netdsl.diagnostics.foreign import layer_helps

        last = self.name.rpartition(".")[2]
        if self.ours:
            said = f"write `{last}`" if self.ours == last else f"netdsl calls it `{self.ours}`"
            yield Help(f"{said}, with its arguments side by side: see `netdsl layers {self.ours.split()[0]}`")
        else:
            yield from layer_helps(self.span, last) or [Help("write its name, and its arguments side by side")]
