"""Problems of the text: characters, numbers and brackets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.terminal import shortened
from netdsl.diagnostics.edits import after, replace
from netdsl.diagnostics.problem import Edit, Label, Problem, Suggestion, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.text import Span


@problem("E0102", "unclosed bracket")
class UnclosedBracket(Problem):
    """Every `(`, `[` and `{` needs a closing bracket of its kind, and pairs of brackets must nest.

    ```net fail
    net bad { input x 784; dense (5 + 5 }
    ```

    ```net fixed
    net good { input x 784; dense (5 + 5) }
    ```
    """

    end: Span

    headline = "unclosed `{span.text}`"
    caption = "never closed"

    def labels(self) -> Iterable[Label]:
        at_end = self.end.start == len(self.end.source.text)
        yield Label(self.end, "the file ends here" if at_end else "it should be closed before this")


@problem("E0103", "unmatched closing bracket")
class StrayBracket(Problem):
    """A closing bracket needs an opening bracket of the same kind before it.

    ```net fail
    net bad { input x 784; dense 10) }
    ```

    ```net fixed
    net good { input x 784; dense 10 }
    ```
    """

    headline = "unmatched `{span.text}`"
    caption = "no open bracket matches this"

    def suggestions(self) -> Iterable[Suggestion]:
        yield Suggestion("remove it", Edit(self.span, ""))


@problem("E0104", "illegal character")
class IllegalCharacter(Problem):
    """Names, numbers and operators are ASCII. Comments and strings may contain any character, except those that make a
    line read differently from how it is written, such as bidirectional controls. Characters copied from a word
    processor or a PDF, such as `−` or `“`, look right but are not.

    ```net fail
    net bad { input x 784; scale (−1); dense 10 }
    ```

    ```net fixed
    net good { input x 784; scale (-1); dense 10 }
    ```
    """

    replacements: tuple[tuple[Span, str | None], ...]

    caption = "not a character of the language"

    def message(self) -> str:
        from unicodedata import name

        character = self.span.text[0]
        if "!" <= character <= "~":
            return f"illegal character `{character}`"
        return f"illegal character U+{ord(character):04X} {name(character, '')}".rstrip()

    def suggestions(self) -> Iterable[Suggestion]:
        edits = [Edit(span, text) for span, text in self.replacements if text is not None]
        if edits:
            instead = edits[0].text
            way = f"write `{instead}`" if instead.strip() else "write a plain space" if instead else "remove it"
            yield Suggestion(way, *edits, safe=not {"^", "|"} & {span.text for span, _ in self.replacements})
        word = self._quoted()
        if word:
            yield Suggestion(f"write `{word.text[1:-1]}`, without quotes", Edit(word, word.text[1:-1]))

    def _quoted(self) -> Span | None:
        """Return the word in single quotes, with its quotes, if they are all that is wrong."""
        spans = [span for span, _ in self.replacements]
        if len(spans) != 2 or {span.text for span in spans} != {"'"}:
            return None
        whole = spans[0].to(spans[1])
        return whole if whole.text[1:-1].isidentifier() else None


@problem("E0105", "unterminated string")
class UnterminatedText(Problem):
    """A string ends with `"` on the line where it begins.

    ```net fail
    net bad { about { paper "Gradient-based learning
    }; input x 784; dense 10 }
    ```

    ```net fixed
    net good {
      about { paper "Gradient-based learning" }
      input x 784; dense 10
    }
    ```
    """

    caption = "this string does not end on its line"

    def suggestions(self) -> Iterable[Suggestion]:
        yield Suggestion('end it with `"`', after(self.span, '"'))


@problem("E0106", "malformed number")
class MalformedNumber(Problem):
    """Numbers are written like `64`, `1_000`, `0.5` and `5e-4`: decimal digits, on both sides of a point, without
    leading zeros.

    ```net fail
    net bad { input x 784; dropout 0..5; dense 10 }
    ```

    ```net fixed
    net good { input x 784; dropout 0.5; dense 10 }
    ```
    """

    reason: str
    instead: str | None = None

    caption = "{reason}"

    def message(self) -> str:
        return f"malformed number `{shortened(self.span.text)}`"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.instead:
            octal = self.span.text.startswith("0")
            yield replace(self.span, self.instead, safe=not octal)


@problem("E0107", "malformed size")
class TouchingNumber(Problem):
    """Dimensions such as `3x3` consist of integers. If a size is a variable, write a list: `[3, k]`.

    ```net fail
    block b(k) { conv 3xk 64 }
    net bad { input x 8x28x28; b 3; dense 10 }
    ```

    ```net fixed
    block b(k) { conv [3, k] 64 }
    net good { input x 8x28x28; b 3; dense 10 }
    ```
    """

    instead: str | None

    caption = "neither a number nor dimensions such as `3x3`"

    def message(self) -> str:
        return f"malformed size `{shortened(self.span.text)}`"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.instead:
            kind = "list" if self.instead.startswith("[") else "product"
            yield Suggestion(f"write a {kind}: `{self.instead}`", Edit(self.span, self.instead), safe=kind == "list")
