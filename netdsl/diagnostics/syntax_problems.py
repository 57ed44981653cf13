"""Problems of the text itself: characters, numbers, brackets, and statements that are not put together right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.problem import Edit, Help, Label, Problem, problem
from netdsl.text import Span

if TYPE_CHECKING:
    from collections.abc import Iterable


def before(span: Span) -> Span:
    """The place just before a span, to insert at."""
    return Span(span.source, span.start, span.start)


def after(span: Span) -> Span:
    """The place just behind a span, to insert at."""
    return Span(span.source, span.end, span.end)


@problem("E0101", "this cannot stand here")
class UnexpectedToken(Problem):
    """Something stands where the language has no place for it. The rest of the statement is passed over, and the
    check goes on with the next one.

    ```net fail
    net bad { input x 784; repeat as j { relu }; dense 10 }
    ```
    """

    found: str
    expected: tuple[str, ...] = ()
    advice: Help | None = None

    def message(self) -> str:
        return f"unexpected {self.found}"

    def label(self) -> str:
        if not self.expected:
            return "this cannot stand here"
        if len(self.expected) == 1:
            return f"expected {self.expected[0]}"
        return f"expected {', '.join(self.expected[:-1])} or {self.expected[-1]}"

    def helps(self) -> Iterable[Help]:
        if self.advice:
            yield self.advice


@problem("E0102", "unclosed bracket")
class UnclosedBracket(Problem):
    """Every `(`, `[` and `{` has its closing bracket, in the right order.

    ```net fail
    net bad { input x 784; dense (5 + 5 }
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
            yield Help(way, *edits)


@problem("E0105", "unterminated text")
class UnterminatedText(Problem):
    """A text ends with `"` on the line where it begins.

    ```net fail
    net bad { about { paper "Gradient-based learning
    }; input x 784; dense 10 }
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
    """

    reason: str
    instead: str | None = None

    def message(self) -> str:
        return f"malformed number `{shortened(self.span.text)}`"

    def label(self) -> str:
        return self.reason

    def helps(self) -> Iterable[Help]:
        if self.instead:
            yield Help(f"write `{self.instead}`", Edit(self.span, self.instead))


@problem("E0107", "a number touches a letter")
class TouchingNumber(Problem):
    """Dims such as `3x3` join integers; where one of the sizes is a variable, write a list.

    ```net fail
    block b(k) { conv 3xk 64 }
    net bad { input x 8x28x28; b 3; dense 10 }
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
            yield Help(f"write {kind}, `{self.instead}`", Edit(self.span, self.instead))


@problem("E0108", "a minus between arguments")
class MinusInCall(Problem):
    """In a call a space begins the next argument, so `conv 3x3 64 -1` could mean one argument or two. Parentheses
    make it one value, closing the gap a subtraction.

    ```net fail
    net bad { input x 784; scale -1; dense 10 }
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


@problem("E0109", "nested too deep")
class TooDeep(Problem):
    """Brackets and operations may be nested 100 levels deep: more is a mistake, or an attack.

    ```net fail
    net bad { input x 784; dense (((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((
      ((((((((((((((((((((((((((((((((((((((((10))))))))))))))))))))))))))))))))))))))))
      ))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))) }
    ```
    """

    limit: int

    def message(self) -> str:
        return f"nested more than {self.limit} levels deep"

    def label(self) -> str:
        return "this is one level too many"


@problem("E0110", "`=` in a call")
class EqualsInCall(Problem):
    """A keyword and its value stand side by side, as in the architecture table: `stride 2`. Names are given to values
    by `let`.

    ```net fail
    net bad { input x 3x32x32; conv 3x3 8 stride=2; dense 10 }
    ```
    """

    name: Span
    gap: Span
    assignment: bool

    def message(self) -> str:
        return "a name is given to a value by `let`" if self.assignment else "a keyword takes its value without `=`"

    def label(self) -> str:
        return "no `=` stands here"

    def helps(self) -> Iterable[Help]:
        if self.assignment:
            yield Help(f"write `let {self.name.text} = …`", Edit(before(self.name), "let "))
        else:
            yield Help(f"write `{self.name.text}` and its value, side by side", Edit(self.gap, " "))


@problem("E0111", "a comma between arguments")
class CommaInCall(Problem):
    """The arguments of a call are parted by spaces; commas stand in lists, `[1, 2]`, and in functions, `max(a, b)`.

    ```net fail
    net bad { input x 3x32x32; conv 3x3, 64; dense 10 }
    ```
    """

    gap: Span

    def label(self) -> str:
        return "arguments are parted by spaces"

    def helps(self) -> Iterable[Help]:
        yield Help("remove the comma", Edit(self.gap, " "))


@problem("E0112", "a layer called with parentheses")
class ParenthesesInCall(Problem):
    """A layer's arguments follow its name without parentheses: `conv 3x3 64`. Parentheses call functions within
    expressions, `max(a, b)`.

    ```net fail
    net bad { input x 3x32x32; conv(3x3, 64); dense 10 }
    ```
    """

    name: str
    edits: tuple[Edit, ...] = ()

    def message(self) -> str:
        return f"`{self.name}` is called with parentheses"

    def label(self) -> str:
        return "a layer's arguments stand behind its name without parentheses"

    def helps(self) -> Iterable[Help]:
        yield Help("write the arguments side by side", *self.edits)


@problem("E0113", "a reserved word")
class ReservedWord(Problem):
    """Words that begin statements, and the words of expressions, cannot name variables or blocks. Labels may be any
    word.

    ```net fail
    net bad { let skip = 3; input x 784; dense 10 }
    ```
    """

    def message(self) -> str:
        return f"`{self.span.text}` is a word of the language, and cannot be a name"

    def label(self) -> str:
        return "choose another name"


@problem("E0114", "unknown definition")
class UnknownItem(Problem):
    """A file consists of `use`, `net`, `block`, `fn`, `let`, `default` and `train`.

    ```net fail
    netwrok bad { input x 784; dense 10 }
    ```
    """

    candidate: str

    def message(self) -> str:
        return f"a file has no `{shortened(self.span.text)}`"

    def label(self) -> str:
        return "no definition begins with this word"

    def helps(self) -> Iterable[Help]:
        yield Help(f"did you mean `{self.candidate}`?", Edit(self.span, self.candidate))


@problem("E0115", "a statement outside of a net")
class StatementOutside(Problem):
    """Layers and the other statements of a flow stand within the braces of a net or a block.

    ```net fail
    input x 784
    dense 10
    ```
    """

    def message(self) -> str:
        return f"`{shortened(self.span.text)}` stands outside of a net"

    def label(self) -> str:
        return "only definitions may stand here"

    def helps(self) -> Iterable[Help]:
        yield Help("put the statements into `net NAME { … }` or `block NAME { … }`")


@problem("E0116", "a definition inside of a body")
class ItemInside(Problem):
    """Nets, blocks, functions and trainings are defined at the file's level, in any order.

    ```net fail
    net bad { block b { relu }; input x 784; b; dense 10 }
    ```
    """

    def message(self) -> str:
        return f"`{self.span.text}` stands inside of a body"

    def label(self) -> str:
        return "this is defined at the file's level"

    def helps(self) -> Iterable[Help]:
        yield Help("move it out of the braces; order does not matter there")


def shortened(text: str, most: int = 40) -> str:
    """A word of the user's, cut where it would fill the screen."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
