"""Problems of words in calls: keywords, and words that keywords take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.text import Span
from netdsl.diagnostics.problem import Edit, Help, Problem, comment_before, gap_before, meant, problem

if TYPE_CHECKING:
    from collections.abc import Iterable


@problem("E0402", "unknown argument")
class UnknownArgument(Problem):
    """A word in a call is a keyword of what is called, or the name of something. What is given by its place has no
    keyword.

    ```net fail
    net bad { input x 3x32x32; conv 3x3 64 strid 2 }
    ```

    ```net mended
    net good { input x 3x32x32; conv 3x3 64 stride 2 }
    ```
    """

    callee: str
    name: str
    usage: str
    places: tuple[str, ...]
    keywords: tuple[str, ...]
    names: tuple[str, ...]
    value: Span | None = None
    """The argument that follows the word, if any."""
    end: int = 0
    """The offset of the call's end."""
    needless: bool = False
    """Whether the value that follows would stand in its place without the word."""

    def message(self) -> str:
        return f"`{self.name}` is neither an argument of `{self.callee}` nor a name that is known here"

    def label(self) -> str:
        return "unknown word"

    def notes(self) -> Iterable[str]:
        yield f"usage: {self.usage}"

    def helps(self) -> Iterable[Help]:
        from netdsl.base.suggest import suggest
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
            yield Help(f"{called} a positional argument", *edits, safe=exact or self.name in self.places)
            return
        if ours:
            yield Help(f"netdsl calls it `{ours}`", Edit(self.span, ours), safe=exact)
            return
        if self.name in foreign.NEEDLESS:
            edits = tuple(self._activation()) if foreign.NEEDLESS[self.name].startswith("the activation") else ()
            yield Help(foreign.NEEDLESS[self.name], *edits)
            return
        layer = foreign.called(self.name, foreign.OURS)
        if layer and foreign.instead(self.name) is None and not self.callee.startswith("default "):
            edit = Edit(gap_before(self.span).to(self.span), f"; {layer}")
            yield Help("separate statements with `;`", edit)
            return
        close = suggest(self.name, (*self.keywords, *self.names, *self.places))[:1]
        for word in close:
            if word in self.keywords or word in self.names:
                yield from meant(self.span, self.name, (*self.keywords, *self.names, *self.places))
            else:
                yield Help(f"did you mean `{word}`? it is a positional argument")

    def _activation(self) -> Iterable[Edit]:
        """Yield the edits that make a statement of `activation relu`."""
        from netdsl.diagnostics import foreign

        layer = foreign.called(self.value.text.strip("\"'"), foreign.OURS) if self.value else None
        if not self.value or not layer or self.callee.startswith("default "):
            return
        yield Edit(gap_before(self.span).to(self.value), "")
        yield Edit(Span(self.span.source, self.end, self.end), f"; {layer}")


@problem("E0418", "unknown word")
class UnknownWord(Problem):
    """Some keywords take words, as `pad` takes `same`, and other values besides.

    ```net fail
    net bad { input x 3x32x32; conv 3x3 64 pad smae }
    ```

    ```net mended
    net good { input x 3x32x32; conv 3x3 64 pad same }
    ```
    """

    callee: str
    argument: str
    name: str
    words: tuple[str, ...]
    names: tuple[str, ...]

    def message(self) -> str:
        return f"`{self.name}` is neither a word that `{self.argument}` of `{self.callee}` takes nor a known name"

    def label(self) -> str:
        return "unknown word"

    def notes(self) -> Iterable[str]:
        yield f"the words of `{self.argument}` are {', '.join(self.words)}"

    def helps(self) -> Iterable[Help]:
        from netdsl.diagnostics import foreign

        if ours := foreign.WORDS.get(self.name.lower()):
            yield Help(f"netdsl calls it `{ours}`", Edit(self.span, ours))
        elif self.name in foreign.DISTRIBUTIONS:
            yield Help(f"`{self.name}` takes numbers: write `{foreign.DISTRIBUTIONS[self.name]}`")
        else:
            yield from meant(self.span, self.name, (*self.words, *self.names))


@problem("E0419", "a keyword called with parentheses")
class KeywordCalled(Problem):
    """A keyword and its value stand side by side: `stride 2`. A `(` that touches a word calls a function.

    ```net fail
    net bad { input x 3x32x32; conv 3x3 64 stride(2); dense 10 }
    ```

    ```net mended
    net good { input x 3x32x32; conv 3x3 64 stride 2; dense 10 }
    ```
    """

    callee: str
    name: str
    value: Span | None

    def message(self) -> str:
        return f"`{self.name}` is a keyword of `{self.callee}`, and no function"

    def label(self) -> str:
        return "a keyword's value stands behind it without parentheses"

    def helps(self) -> Iterable[Help]:
        if self.value:
            text = f"{self.name} {self.value.text}"
            yield Help(f"write `{text}`", Edit(self.span, text), safe=True)
