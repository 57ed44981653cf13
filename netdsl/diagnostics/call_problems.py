"""Problems of calls: punctuation that other languages have between a name and its arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.text import Span
from netdsl.diagnostics.edits import before, replace
from netdsl.diagnostics.problem import Edit, Label, Problem, Suggestion, problem

if TYPE_CHECKING:
    from collections.abc import Iterable


@problem("E0108", "a minus between arguments")
class MinusInCall(Problem):
    """A space separates arguments, so `conv 3x3 64 -1` could mean one argument or two. Write a negative number in
    parentheses, and a subtraction without spaces.

    ```net fail
    net bad { input x 784; scale -1; dense 10 }
    ```

    ```net fixed
    net good { input x 784; scale (-1); dense 10 }
    ```
    """

    operand: Span
    left: Span | None

    caption = "a subtraction or a negative argument?"

    def suggestions(self) -> Iterable[Suggestion]:
        negative = f"(-{self.operand.text})"
        if self.left:
            gap = Span(self.span.source, self.left.end, self.operand.start)
            yield Suggestion(f"for a subtraction, write `{self.left.text}-{self.operand.text}`", Edit(gap, "-"))
        value = Span(self.span.source, self.span.start, self.operand.end)
        yield Suggestion(f"for a negative argument, write `{negative}`", Edit(value, negative))


class _Punctuated(Problem):
    """Signs between arguments, all of one kind; the primary span is the first."""

    others: tuple[Span, ...]
    """The other signs in the statement."""
    whole: Span
    statement: str
    """What to write in place of the whole, where more is wrong than the signs."""
    edits: tuple[Edit, ...]
    certain: bool

    def suggestions(self) -> Iterable[Suggestion]:
        if self.statement:
            yield replace(self.whole, self.statement)
        else:
            several = "write all arguments separated by spaces"
            yield Suggestion(several if len(self.edits) > 1 else self._way(), *self.edits, safe=self.certain)

    def _way(self) -> str:
        """Return the suggestion for a single edit."""
        raise NotImplementedError


@problem("E0110", "`=` or `:` in a call")
class EqualsInCall(_Punctuated):
    """A keyword is followed by its value without `=` or `:`, as in `stride 2`.

    ```net fail
    net bad { input x 3x32x32; conv 3x3 8 stride=2; dense 10 }
    ```

    ```net fixed
    net good { input x 3x32x32; conv 3x3 8 stride 2; dense 10 }
    ```
    """

    name: Span

    caption = "unexpected `{span.text}`"

    def message(self) -> str:
        if self.others:
            return f"{len(self.others) + 1} keywords with `{self.span.text}`"
        return f"`{self.span.text}` between a keyword and its value"

    def labels(self) -> Iterable[Label]:
        return [Label(span, f"unexpected `{span.text}`") for span in self.others]

    def _way(self) -> str:
        return f"separate `{self.name.text}` and its value with a space"


@problem("E0111", "a comma between arguments")
class CommaInCall(_Punctuated):
    """The arguments of a layer are separated by spaces. Commas separate the entries of a list, `[1, 2]`, and the
    arguments of a function, `max(a, b)`.

    ```net fail
    net bad { input x 3x32x32; conv 3x3, 64; dense 10 }
    ```

    ```net fixed
    net good { input x 3x32x32; conv 3x3 64; dense 10 }
    ```
    """

    caption = "arguments are separated by spaces"

    def message(self) -> str:
        return f"{len(self.others) + 1} commas between arguments" if self.others else self.title

    def labels(self) -> Iterable[Label]:
        return [Label(span, "unexpected comma") for span in self.others]

    def _way(self) -> str:
        ways = {"; ": "separate statements with `;`", "x": "join sizes with `x`"}
        return ways.get(self.edits[0].text, "remove the comma")


@problem("E0112", "a layer called with parentheses")
class ParenthesesInCall(Problem):
    """The arguments of a layer follow its name without parentheses: `conv 3x3 64`. Parentheses call functions in
    expressions, as in `max(a, b)`.

    ```net fail
    net bad { input x 3x32x32; conv(3x3, 64); dense 10 }
    ```

    ```net fixed
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

    headline = "`{name}` is called with parentheses"
    caption = "arguments follow the layer's name without parentheses"

    def suggestions(self) -> Iterable[Suggestion]:
        from netdsl.diagnostics.foreign import suggest_layer

        head = Span(self.span.source, self.span.start, self.span.start + len(self.name))
        known = suggest_layer(head, self.name)
        if self.translated or not known:
            yield replace(self.span, self.statement, safe=self.certain)
        elif not known[0].edits:
            yield known[0]
        else:
            ours = known[0].edits[0].text + self.statement.removeprefix(self.name)
            yield Suggestion(f"separate the arguments with spaces; {known[0].text}", Edit(self.span, ours))


@problem("E0120", "an assignment among statements")
class AssignmentInBody(Problem):
    """`let` defines a constant: `let n = 3`. A label names a result: `fc: dense 10`.

    ```net fail
    net bad { input x 784; n = 3; dense n }
    ```

    ```net fixed
    net good { input x 784; let n = 3; dense n }
    ```
    """

    name: Span
    result: tuple[Edit, ...]
    """The edits that turn the name into a label, where a layer follows."""
    sum: tuple[Edit, ...]
    """The edits that create a labeled merge, where two names are added, for example."""
    certain: bool
    """Whether the value cannot be a layer or label."""

    caption = "unexpected `=`"

    def message(self) -> str:
        return "assignment instead of a label" if self.result else "assignment without `let`"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.result:
            is_plain = len(self.result) == 1 and self.result[0].text == ": "
            yield Suggestion(f"write `{self.name.text}: …`", *self.result, safe=is_plain)
            return
        yield from self._call()
        yield Suggestion(f"write `let {self.name.text} = …`", before(self.name, "let "), safe=self.certain)
        for edit in self.sum:
            yield Suggestion(f"for the results of layers, write `{self.name.text}{edit.text}`", edit)

    def _call(self) -> Iterable[Suggestion]:
        """Yield `dense 10` for `dense=10`."""
        from netdsl.diagnostics.foreign import is_layer

        if is_layer(self.name.text):
            gap = Span(self.span.source, self.name.end, self.span.end)
            blank = "" if self.span.source.text[self.span.end : self.span.end + 1] == " " else " "
            yield Suggestion(f"to apply `{self.name.text}`, write its arguments without `=`", Edit(gap, blank))


@problem("E0121", "two labels on one statement")
class TwoLabels(Problem):
    """A statement can have only one label, since its weights have only one name.

    ```net fail
    net bad { input x 784; a: b: dense 8; dense 10 }
    ```

    ```net fixed
    net good { input x 784; a: dense 8; dense 10 }
    ```
    """

    first: Span

    headline = "`{first.text}` and `{span.text}` label the same statement"
    caption = "second label"
    related = "first", "first label"

    def suggestions(self) -> Iterable[Suggestion]:
        source = self.span.source
        both = Span(source, self.first.start, source.text.index(":", self.span.end) + 1)
        for name in (self.first.text, self.span.text):
            yield Suggestion(f"keep one label, such as `{name}`", Edit(both, f"{name}:"))


@problem("E0117", "a layer called as in Python")
class PythonCall(Problem):
    """Statements apply to the current value from top to bottom. It has no name and is not passed as an argument. The
    arguments of a layer follow its name, without parentheses and commas.

    ```net fail
    net bad { input x 784; x = F.relu(x); dense 10 }
    ```

    ```net fixed
    net good { input x 784; relu; dense 10 }
    ```
    """

    name: str
    ours: str | None
    statement: str
    """What to write in its place, where that is clear."""
    others: tuple[str, ...] = ()
    """What to write instead if the value has more axes."""

    headline = "`{name}` is called as in Python"
    caption = "arguments follow the name without parentheses"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.statement:
            yield from (replace(self.span, each) for each in (self.statement, *self.others))
            return
        from netdsl.diagnostics.foreign import suggest_layer

        last = self.name.rpartition(".")[2]
        if self.ours:
            said = f"write `{last}`" if self.ours == last else f"netdsl calls it `{self.ours}`"
            page = f"see `netdsl layers {self.ours.split()[0]}`"
            yield Suggestion(f"{said}, with its arguments separated by spaces: {page}")
        else:
            yield from suggest_layer(self.span, last) or [
                Suggestion("write its name, and its arguments separated by spaces")
            ]
