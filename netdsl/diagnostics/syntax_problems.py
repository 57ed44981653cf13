"""Problems of statements and definitions that are not put together right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.problem import Edit, Help, Problem, problem
from netdsl.diagnostics.text_problems import shortened
from netdsl.text import Span

if TYPE_CHECKING:
    from collections.abc import Iterable


def before(span: Span) -> Span:
    """The place just before a span, to insert at."""
    return Span(span.source, span.start, span.start)


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
            yield Help(f"write `let {self.name.text} = …`", Edit(before(self.name), "let "), safe=True)
        else:
            yield Help(f"write `{self.name.text}` and its value, side by side", Edit(self.gap, " "), safe=True)


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
        yield Help("remove the comma", Edit(self.gap, " "), safe=True)


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
        yield Help("write the arguments side by side", *self.edits, safe=True)


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
        yield Help(f"did you mean `{self.candidate}`?", Edit(self.span, self.candidate), safe=True)


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
