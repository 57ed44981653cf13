"""Problems of arguments: unknown, missing, repeated, or with values that do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.text import Span
from netdsl.diagnostics.edits import after, comment_before, did_you_mean, gap_before, replace
from netdsl.diagnostics.name_problems import Twice
from netdsl.diagnostics.problem import Edit, Problem, Suggestion, problem

if TYPE_CHECKING:
    from collections.abc import Iterable


class _WithUsage(Problem):
    """An argument that does not match the declaration of what is called."""

    callee: str
    usage: str
    declared: Span | None = None

    related = "declared", "declared here"

    def notes(self) -> Iterable[str]:
        yield f"usage: {self.usage}"


@problem("E0401", "an invalid value for an argument")
class BadArgument(Problem):
    """An argument takes values of one kind, within bounds. The page of the layer documents them.

    ```net fail
    net bad { input x 3x32x32; conv 3x3 64 stride 0 }
    ```

    ```net fixed
    net good { input x 3x32x32; conv 3x3 64 stride 2 }
    ```
    """

    callee: str
    argument: str
    expected: str
    value: str
    order: tuple[Edit, ...] = ()
    """The edits that put the arguments into an order in which they fit."""
    instead: str = ""
    """The value in the notation that fits."""
    layer: bool = False
    """Whether the value is a layer given by position, which may be meant as the next statement."""

    headline = "`{argument}` of `{callee}` must be {expected}, not {_shown}"

    def label(self) -> str:
        return "" if self._shown in self.span.text else f"this is {self.value}"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.order:
            yield Suggestion("write the arguments in order", *self.order, safe=True)
        if self.instead:
            yield replace(self.span, self.instead)
        if self.layer:
            yield Suggestion("separate statements with `;`", Edit(gap_before(self.span), "; "))

    @property
    def _shown(self) -> str:
        """A literal as it is written, `0x3` and no list, else the value."""
        return self.span.text if self.span.text.replace("x", "").isdecimal() else self.value


@problem("E0402", "unknown argument")
class UnknownArgument(_WithUsage):
    """A word in a call is a keyword of the callee or a name that is defined before. Positional arguments have no
    keyword.

    ```net fail
    net bad { input x 3x32x32; conv 3x3 64 strid 2 }
    ```

    ```net fixed
    net good { input x 3x32x32; conv 3x3 64 stride 2 }
    ```
    """

    name: str
    places: tuple[str, ...]
    keywords: tuple[str, ...]
    names: tuple[str, ...]
    words: tuple[str, ...] = ()
    """The words that the place takes, if it takes any."""
    value: Span | None = None
    """The argument that follows the word, if any."""
    end: int = 0
    """The offset of the call's end."""
    needless: bool = False
    """Whether the value that follows would be in its place without the word."""

    headline = "`{name}` is neither an argument of `{callee}` nor a known name"
    caption = "unknown word"

    def notes(self) -> Iterable[str]:
        yield from super().notes()
        if self.words:
            yield self.fill("the words for this argument are {words}")

    def suggestions(self) -> Iterable[Suggestion]:
        from netdsl.diagnostics import foreign

        if comment := [*comment_before(self.span)]:
            yield from comment
            return
        ours = foreign.argument(self.name, (*self.keywords, *self.places))
        exact = foreign.is_exact_argument(self.name, self.value.text if self.value else "")
        if self.name in self.places or ours in self.places:
            called = f"netdsl calls it `{ours}`, and it is" if ours else f"`{self.name}` is"
            edits: tuple[Edit, ...] = ()
            if self.needless and self.value:
                edits = (Edit(Span(self.span.source, self.span.start, self.value.start), ""),)
            yield Suggestion(f"{called} a positional argument", *edits, safe=exact or self.name in self.places)
        elif ours:
            yield Suggestion(f"netdsl calls it `{ours}`", Edit(self.span, ours), safe=exact)
        elif self.name in foreign.NEEDLESS:
            edits = tuple(self._activation()) if foreign.NEEDLESS[self.name].startswith("the activation") else ()
            yield Suggestion(foreign.NEEDLESS[self.name], *edits)
        else:
            yield from self._next_statement() or self._similar()

    def _next_statement(self) -> list[Suggestion]:
        """Suggest a `;` before a word that is a layer."""
        from netdsl.diagnostics import foreign

        layer = foreign.called(self.name, foreign.OURS)
        if not layer or foreign.instead(self.name) is not None or self.callee.startswith("default "):
            return []
        return [Suggestion("separate statements with `;`", Edit(gap_before(self.span).to(self.span), f"; {layer}"))]

    def _similar(self) -> Iterable[Suggestion]:
        from netdsl.base.suggest import suggest

        for word in suggest(self.name, (*self.keywords, *self.names, *self.places))[:1]:
            if word in self.keywords or word in self.names:
                yield from did_you_mean(self.span, self.name, (*self.keywords, *self.names, *self.places))
            else:
                yield Suggestion(f"did you mean `{word}`? it is a positional argument")

    def _activation(self) -> Iterable[Edit]:
        """Yield the edits that turn `activation relu` into a statement."""
        from netdsl.diagnostics import foreign

        layer = foreign.called(self.value.text.strip("\"'"), foreign.OURS) if self.value else None
        if not self.value or not layer or self.callee.startswith("default "):
            return
        yield Edit(gap_before(self.span).to(self.value), "")
        yield Edit(Span(self.span.source, self.end, self.end), f"; {layer}")


@problem("E0403", "a missing argument")
class MissingArgument(_WithUsage):
    """An argument without a default is required.

    ```net fail
    net bad { input x 784; dense }
    ```

    ```net fixed
    net good { input x 784; dense 10 }
    ```
    """

    name: str
    doc: str = ""
    edit: Edit | None = None
    """The edit that adds a plausible value."""

    headline = "`{callee}` requires the argument `{name}`"

    def label(self) -> str:
        return f"`{self.name}` is missing" + (f": {self.doc}" if self.doc else "")

    def suggestions(self) -> Iterable[Suggestion]:
        if self.edit:
            yield Suggestion(f"add a value for `{self.name}`, such as `{self.edit.text.split()[0]}`", self.edit)


@problem("E0404", "an argument given twice")
class ArgumentTwice(Twice):
    """An argument can be given only once.

    ```net fail
    net bad { input x 3x32x32; conv 3x3 64 stride 2 stride 1 }
    ```

    ```net fixed
    net good { input x 3x32x32; conv 3x3 64 stride 2 }
    ```
    """

    callee: str
    name: str

    headline = "`{name}` of `{callee}` is given twice"


@problem("E0405", "too many positional arguments")
class TooMany(_WithUsage):
    """Positional arguments come first, in order. All others are given by keyword.

    ```net fail
    net bad { input x 784; dense 10 20 }
    ```

    ```net fixed
    net good { input x 784; dense 20; dense 10 }
    ```
    """

    limit: int
    given: int
    after: str = ""
    """The keyword that precedes the argument; empty if there is none."""
    layers: tuple[tuple[Span, str], ...] = ()
    """The arguments that are layers, and their names in netdsl: they may be meant as statements."""
    keyword: str = ""
    """The keyword whose value it may be."""

    def message(self) -> str:
        if self.after:
            return self.fill("a positional argument of `{callee}` cannot follow the keyword `{after}`")
        return (
            f"`{self.callee}` takes {self.limit or 'no'} positional argument{'s' * (self.limit != 1)}, "
            f"but {self.given} {'is' if self.given == 1 else 'are'} given"
        )

    def label(self) -> str:
        return "this has no keyword" if self.after else "this is one too many"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.keyword:
            yield replace(self.span, f"{self.keyword} {self.span.text}")
        elif self.callee == "positions" and self.given == 2 and not self.layers:
            text = "learned positions are an `embedding` of these"
            yield Suggestion(text, Edit(gap_before(self.span), "; embedding "))
        elif not self.limit and not self.layers and not self.after and self.given == 1:
            edit = Edit(gap_before(self.span).to(self.span), "")
            yield Suggestion(f"remove it: `{self.callee}` takes no positional argument", edit)
        if self.layers and self.layers[0][0] == self.span:
            edits = [Edit(gap_before(span).to(span), f"; {name}") for span, name in self.layers]
            yield Suggestion("separate statements with `;`", *edits)


@problem("E0406", "a keyword without a value")
class NoValue(Problem):
    """A word in a call that is a keyword of the callee is that keyword, and its value follows. To pass a variable with
    the same name by position, write it in parentheses.

    ```net fail
    net bad { input x 3x32x32; conv 3x3 64 stride }
    ```

    ```net fixed
    net good { input x 3x32x32; conv 3x3 64 stride 2 }
    ```
    """

    callee: str
    name: str

    flag: bool
    """Whether the value is `on` or `off`."""

    headline = "the keyword `{name}` of `{callee}` has no value"
    caption = "expected a value after this"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.flag:
            yield Suggestion(f"switch it on with `{self.name} on`", after(self.span, " on"))


@problem("E0407", "a value outside its domain")
class OutsideDomain(Problem):
    """A parameter with a domain takes only the values that the domain lists.

    ```net fail
    net one(depth in [18, 34] = 18) { input x 784; dense depth }
    net two = one(depth = 19)
    ```

    ```net fixed
    net one(depth in [18, 34] = 18) { input x 784; dense depth }
    net two = one(depth = 34)
    ```
    """

    name: str
    value: str
    domain: str
    declared: Span

    headline = "`{name}` must be one of {domain}, not {value}"
    caption = "this is {value}"
    related = "declared", "the domain is declared here"


@problem("E0418", "unknown word")
class UnknownWord(Problem):
    """Some keywords take a word as their value, as in `pad same`, in addition to other values.

    ```net fail
    net bad { input x 3x32x32; conv 3x3 64 pad smae }
    ```

    ```net fixed
    net good { input x 3x32x32; conv 3x3 64 pad same }
    ```
    """

    callee: str
    argument: str
    name: str
    words: tuple[str, ...]
    names: tuple[str, ...]

    headline = "`{name}` is neither a word for `{argument}` of `{callee}` nor a known name"
    caption = "unknown word"

    def notes(self) -> Iterable[str]:
        yield self.fill("the words for `{argument}` are {words}")

    def suggestions(self) -> Iterable[Suggestion]:
        from netdsl.diagnostics import foreign

        if ours := foreign.WORDS.get(self.name.lower()):
            yield Suggestion(f"netdsl calls it `{ours}`", Edit(self.span, ours))
        elif self.name in foreign.DISTRIBUTIONS:
            yield Suggestion(f"`{self.name}` takes numbers: write `{foreign.DISTRIBUTIONS[self.name]}`")
        else:
            yield from did_you_mean(self.span, self.name, (*self.words, *self.names))


@problem("E0419", "a keyword called with parentheses")
class KeywordCalled(Problem):
    """A keyword is followed by its value: `stride 2`. A word directly before a `(` is a function.

    ```net fail
    net bad { input x 3x32x32; conv 3x3 64 stride(2); dense 10 }
    ```

    ```net fixed
    net good { input x 3x32x32; conv 3x3 64 stride 2; dense 10 }
    ```
    """

    callee: str
    name: str
    value: Span | None

    headline = "`{name}` is a keyword of `{callee}`, not a function"
    caption = "the value of a keyword follows without parentheses"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.value:
            yield replace(self.span, f"{self.name} {self.value.text}", safe=True)


@problem("E0226", "a function without its arguments")
class FunctionWithoutCall(Problem):
    """A function is called by its name with all arguments in parentheses, as in `half(10)`. Functions are not values.

    ```net fail
    fn half(n) = n//2
    net bad { input x 784; dense half 20 }
    ```

    ```net fixed
    fn half(n) = n//2
    net good { input x 784; dense half(20) }
    ```
    """

    name: str
    edit: Edit | None

    headline = "the function `{name}` must be called with parentheses"
    caption = "a function, not a value"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.edit:
            yield Suggestion(f"write `{self.edit.text}`", self.edit)
        else:
            yield Suggestion(f"write `{self.name}(…)` with its arguments")


@problem("E0425", "arguments that contradict each other")
class Contradiction(Problem):
    """Each value is valid, but not in combination with another: the bounds of an interval in the wrong order, a
    schedule that would raise the learning rate instead of lowering it, Nesterov momentum without momentum.

    ```net fail
    net bad { input x 784; dense 10 init uniform(0.1, (-0.1)) }
    ```

    ```net fixed
    net good { input x 784; dense 10 init uniform((-0.1), 0.1) }
    ```
    """

    what: str
    here: str = ""
    other: Span | None = None
    there: str = ""
    help: Suggestion | None = None

    headline = "{what}"
    caption = "{here}"
    related = "other", "{there}"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.help:
            yield self.help
