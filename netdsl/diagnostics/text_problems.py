"""Problems of the text itself: its characters, numbers and brackets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.text import Span
from netdsl.diagnostics.problem import Edit, Help, Label, Problem, problem

if TYPE_CHECKING:
    from collections.abc import Iterable


def after(span: Span) -> Span:
    """The place just behind a span, to insert at."""
    return Span(span.source, span.end, span.end)


@problem("E0102", "unclosed bracket")
class UnclosedBracket(Problem):
    """Every `(`, `[` and `{` has its closing bracket, in the right order.

    ```net fail
    net bad { input x 784; dense (5 + 5 }
    ```

    ```net mended
    net good { input x 784; dense (5 + 5) }
    ```
    """

    end: Span

    def message(self) -> str:
        return f"unclosed `{self.span.text}`"

    def label(self) -> str:
        return "this is never closed"

    def labels(self) -> Iterable[Label]:
        where = (
            "the file ends here" if self.end.start == len(self.end.source.text) else "it should be closed before this"
        )
        yield Label(self.end, where)


@problem("E0103", "nothing to close")
class StrayBracket(Problem):
    """A closing bracket needs an opening one of its kind before it.

    ```net fail
    net bad { input x 784; dense 10) }
    ```

    ```net mended
    net good { input x 784; dense 10 }
    ```
    """

    def message(self) -> str:
        return f"this `{self.span.text}` closes nothing"

    def label(self) -> str:
        return "no bracket is open that this could close"

    def helps(self) -> Iterable[Help]:
        yield Help("remove it", Edit(self.span, ""))


@problem("E0104", "illegal character")
class IllegalCharacter(Problem):
    """Names, numbers and signs are ASCII; any character may stand in comments and in texts, but for those that make
    a line read otherwise than it is written. Characters that come from a word processor or a paper's PDF, such as
    `−` or `“`, look right but are not.

    ```net fail
    net bad { input x 784; scale (−1); dense 10 }
    ```

    ```net mended
    net good { input x 784; scale (-1); dense 10 }
    ```
    """

    replacements: tuple[tuple[Span, str | None], ...]

    def message(self) -> str:
        from unicodedata import name

        character = self.span.text[0]
        point = f"U+{ord(character):04X}"
        official = name(character, "")
        if "!" <= character <= "~":
            return f"illegal character `{character}`"
        return f"illegal character {point} {official}".rstrip()

    def label(self) -> str:
        return "not a character of the language"

    def helps(self) -> Iterable[Help]:
        edits = [Edit(span, text) for span, text in self.replacements if text is not None]
        if edits:
            instead = edits[0].text
            way = f"write `{instead}`" if instead.strip() else "write a plain space" if instead else "remove it"
            yield Help(way, *edits, safe=not {"^", "|"} & {span.text for span, _ in self.replacements})
        word = self._quoted()
        if word:
            yield Help(f"write `{word.text[1:-1]}`, without quotes", Edit(word, word.text[1:-1]))

    def _quoted(self) -> Span | None:
        """The word in single quotes that is all that is wrong, with its quotes."""
        spans = [span for span, _ in self.replacements]
        if len(spans) != 2 or {span.text for span in spans} != {"'"}:
            return None
        whole = spans[0].to(spans[1])
        return whole if whole.text[1:-1].isidentifier() else None


@problem("E0105", "unterminated text")
class UnterminatedText(Problem):
    """A text ends with `"` on the line where it begins.

    ```net fail
    net bad { about { paper "Gradient-based learning
    }; input x 784; dense 10 }
    ```

    ```net mended
    net good { about { paper "Gradient-based learning" }
      input x 784; dense 10 }
    ```
    """

    def label(self) -> str:
        return "this text has no end on its line"

    def helps(self) -> Iterable[Help]:
        yield Help('end it with `"`', Edit(after(self.span), '"'))


@problem("E0106", "malformed number")
class MalformedNumber(Problem):
    """Numbers are `64`, `1_000`, `0.5`, `5e-4`: decimal digits on both sides of a point, no leading zeros.

    ```net fail
    net bad { input x 784; dropout 0..5; dense 10 }
    ```

    ```net mended
    net good { input x 784; dropout 0.5; dense 10 }
    ```
    """

    reason: str
    instead: str | None = None

    def message(self) -> str:
        return f"malformed number `{shortened(self.span.text)}`"

    def label(self) -> str:
        return self.reason

    def helps(self) -> Iterable[Help]:
        if self.instead:
            octal = self.span.text.startswith("0")
            yield Help(f"write `{self.instead}`", Edit(self.span, self.instead), safe=not octal)


@problem("E0107", "a number touches a letter")
class TouchingNumber(Problem):
    """Dims such as `3x3` join integers; where one of the sizes is a variable, write a list.

    ```net fail
    block b(k) { conv 3xk 64 }
    net bad { input x 8x28x28; b 3; dense 10 }
    ```

    ```net mended
    block b(k) { conv [3, k] 64 }
    net good { input x 8x28x28; b 3; dense 10 }
    ```
    """

    instead: str | None

    def message(self) -> str:
        return f"a number touches a letter in `{shortened(self.span.text)}`"

    def label(self) -> str:
        return "neither a number nor dims such as `3x3`"

    def helps(self) -> Iterable[Help]:
        if self.instead:
            kind = "a list" if self.instead.startswith("[") else "a product"
            yield Help(f"write {kind}, `{self.instead}`", Edit(self.span, self.instead), safe=kind == "a list")


def shortened(text: str, most: int = 40) -> str:
    """A word of the user's, cut where it would fill the screen."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
