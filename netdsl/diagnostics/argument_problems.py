"""Problems of arguments and expressions: values that do not fit, and calls that do not match what is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.problem import Edit, Help, Label, Problem, gap_before, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.text import Span


@problem("E0401", "a value that does not fit")
class BadArgument(Problem):
    """An argument takes values of one kind, within bounds; the layer's page says which.

    ```net fail
    net bad { input x 3x32x32; conv 3x3 64 stride 0 }
    ```

    ```net mended
    net good { input x 3x32x32; conv 3x3 64 stride 2 }
    ```
    """

    callee: str
    argument: str
    expected: str
    value: str
    order: tuple[Edit, ...] = ()
    """What puts the arguments into an order in which they fit."""
    instead: str = ""
    """The value in the notation that fits."""
    layer: bool = False
    """Whether the value is a layer given by position, which may be meant as the next statement."""

    def helps(self) -> Iterable[Help]:
        if self.order:
            yield Help("write the arguments in their order", *self.order, safe=True)
        if self.instead:
            yield Help(f"write `{self.instead}`", Edit(self.span, self.instead))
        if self.layer:
            yield Help("separate statements with `;`", Edit(gap_before(self.span), "; "))

    def message(self) -> str:
        return f"`{self.argument}` of `{self.callee}` must be {self.expected}, not {self._shown}"

    def label(self) -> str:
        return "" if self._shown in self.span.text else f"this is {self.value}"

    @property
    def _shown(self) -> str:
        """A literal as it is written, `0x3` and no list, else the value."""
        return self.span.text if self.span.text.replace("x", "").isdecimal() else self.value


@problem("E0403", "a missing argument")
class MissingArgument(Problem):
    """An argument without a default must be given.

    ```net fail
    net bad { input x 784; dense }
    ```

    ```net mended
    net good { input x 784; dense 10 }
    ```
    """

    callee: str
    name: str
    usage: str
    declared: Span | None = None
    edit: Edit | None = None
    """What gives it a value that may be meant."""

    def helps(self) -> Iterable[Help]:
        if self.edit:
            yield Help(f"give `{self.name}` a value, such as `{self.edit.text.split()[0]}`", self.edit)

    def message(self) -> str:
        return f"`{self.callee}` needs its argument `{self.name}`"

    def label(self) -> str:
        return f"no `{self.name}` is given"

    def labels(self) -> Iterable[Label]:
        if self.declared:
            yield Label(self.declared, "declared here")

    def notes(self) -> Iterable[str]:
        yield f"usage: {self.usage}"


@problem("E0404", "an argument given twice")
class ArgumentTwice(Problem):
    """An argument has one value.

    ```net fail
    net bad { input x 3x32x32; conv 3x3 64 stride 2 stride 1 }
    ```

    ```net mended
    net good { input x 3x32x32; conv 3x3 64 stride 2 }
    ```
    """

    callee: str
    name: str
    earlier: Span

    def message(self) -> str:
        return f"`{self.name}` of `{self.callee}` is given twice"

    def label(self) -> str:
        return "again here"

    def labels(self) -> Iterable[Label]:
        yield Label(self.earlier, "first here")


@problem("E0405", "a positional argument too many")
class TooMany(Problem):
    """Positional arguments come first and in their order; all else is given by its keyword.

    ```net fail
    net bad { input x 784; dense 10 20 }
    ```

    ```net mended
    net good { input x 784; dense 20; dense 10 }
    ```
    """

    callee: str
    limit: int
    given: int
    usage: str
    declared: Span | None = None
    after: str = ""
    layers: tuple[tuple[Span, str], ...] = ()
    """The arguments that are layers, and their names here: they may be meant as statements."""

    keyword: str = ""
    """The keyword that it may be the value of."""

    def helps(self) -> Iterable[Help]:
        if self.keyword:
            text = f"{self.keyword} {self.span.text}"
            yield Help(f"write `{text}`", Edit(self.span, text))
        elif not self.limit and not self.layers and not self.after and self.given == 1:
            yield Help(f"`{self.callee}` takes no positional value: leave it out", Edit(self._blank, ""))
        if self.layers and self.layers[0][0] == self.span:
            edits = [Edit(gap_before(span).to(span), f"; {name}") for span, name in self.layers]
            yield Help("separate statements with `;`", *edits)

    @property
    def _blank(self) -> Span:
        return gap_before(self.span).to(self.span)

    def message(self) -> str:
        if self.after:
            return f"a positional argument of `{self.callee}` cannot stand behind its keyword `{self.after}`"
        return (
            f"`{self.callee}` takes {self.limit or 'no'} positional argument{'s' * (self.limit != 1)}, "
            f"and {self.given} {'is' if self.given == 1 else 'are'} given"
        )

    def label(self) -> str:
        return "this has no keyword" if self.after else "this is one too many"

    def labels(self) -> Iterable[Label]:
        if self.declared:
            yield Label(self.declared, "declared here")

    def notes(self) -> Iterable[str]:
        yield f"usage: {self.usage}"


@problem("E0406", "a keyword without a value")
class NoValue(Problem):
    """In a call a word that is a keyword of what is called is that keyword, and its value follows. To pass a variable
    of the same name by position, write it in parentheses.

    ```net fail
    net bad { input x 3x32x32; conv 3x3 64 stride }
    ```

    ```net mended
    net good { input x 3x32x32; conv 3x3 64 stride 2 }
    ```
    """

    callee: str
    name: str

    def message(self) -> str:
        return f"the keyword `{self.name}` of `{self.callee}` has no value"

    def label(self) -> str:
        return "a value must follow"


@problem("E0407", "a value outside its domain")
class OutsideDomain(Problem):
    """A parameter that declares a domain takes only those values.

    ```net fail
    net one(depth in [18, 34] = 18) { input x 784; dense depth }
    net two = one(depth = 19)
    ```

    ```net mended
    net one(depth in [18, 34] = 18) { input x 784; dense depth }
    net two = one(depth = 34)
    ```
    """

    name: str
    value: str
    domain: str
    declared: Span

    def message(self) -> str:
        return f"`{self.name}` must be one of {self.domain}, not {self.value}"

    def label(self) -> str:
        return f"this is {self.value}"

    def labels(self) -> Iterable[Label]:
        yield Label(self.declared, "the domain is declared here")


@problem("E0226", "a function without its arguments")
class FunctionWithoutCall(Problem):
    """Functions are called by their name with all their arguments in parentheses, `half(10)`, and are no values.

    ```net fail
    fn half(n) = n // 2
    net bad { input x 784; dense half 20 }
    ```

    ```net mended
    fn half(n) = n // 2
    net good { input x 784; dense half(20) }
    ```
    """

    name: str
    edit: Edit | None

    def message(self) -> str:
        return f"the function `{self.name}` is called with parentheses"

    def label(self) -> str:
        return "this is a function, not a value"

    def helps(self) -> Iterable[Help]:
        if self.edit:
            yield Help(f"write `{self.edit.text}`", self.edit)
        else:
            yield Help(f"write `{self.name}(…)`, with its arguments")


@problem("E0425", "arguments that contradict each other")
class Contradiction(Problem):
    """Each value is valid by itself, but not together with another one: the bounds of an interval in the wrong order,
    a schedule that would raise the learning rate instead of lowering it, Nesterov momentum without momentum.

    ```net fail
    net bad { input x 784; dense 10 init uniform(0.1, (-0.1)) }
    ```

    ```net mended
    net good { input x 784; dense 10 init uniform((-0.1), 0.1) }
    ```
    """

    what: str
    here: str = ""
    other: Span | None = None
    there: str = ""
    help: Help | None = None

    def message(self) -> str:
        return self.what

    def label(self) -> str:
        return self.here

    def labels(self) -> Iterable[Label]:
        if self.other:
            yield Label(self.other, self.there)

    def helps(self) -> Iterable[Help]:
        if self.help:
            yield self.help
