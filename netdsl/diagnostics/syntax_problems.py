"""Problems of statements and definitions: tokens, names and braces in the wrong place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.terminal import shortened
from netdsl.base.text import Span
from netdsl.diagnostics.problem import Edit, Problem, Suggestion, problem

if TYPE_CHECKING:
    from collections.abc import Iterable


@problem("E0101", "syntax error")
class UnexpectedToken(Problem):
    """The grammar does not allow this here. The rest of the statement is skipped, and checking continues with the next
    one.

    ```net fail
    net bad { input x 784; repeat as j { relu }; dense 10 }
    ```

    ```net fixed
    net good { input x 784; repeat 2 as j { relu }; dense 10 }
    ```
    """

    found: str
    expected: tuple[str, ...] = ()
    advice: Suggestion | None = None

    headline = "unexpected {found}"

    def label(self) -> str:
        if not self.expected:
            return "not allowed here"
        *others, last = self.expected
        return f"expected {', '.join(others)} or {last}" if others else f"expected {last}"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.advice:
            yield self.advice


@problem("E0109", "nested too deeply")
class TooDeep(Problem):
    """Brackets and operations can be nested 100 levels deep. Deeper nesting is a mistake or an attack.

    ```net fail
    net bad { input x 784; dense (((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((
      ((((((((((((((((((((((((((((((((((((((((10))))))))))))))))))))))))))))))))))))))))
      ))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))) }
    ```

    ```net fixed
    net good { input x 784; dense ((5 + 5)) }
    ```
    """

    limit: int

    headline = "nested more than {limit} levels deep"
    caption = "one level too many"


@problem("E0113", "a reserved word used as a name")
class ReservedWord(Problem):
    """Keywords cannot name variables or blocks. A label can be any word.

    ```net fail
    net bad { let skip = 3; input x 784; dense 10 }
    ```

    ```net fixed
    net good { let width = 3; input x 784; dense width }
    ```
    """

    headline = "`{span.text}` is a keyword and cannot be used as a name"
    caption = "choose another name"


@problem("E0114", "unknown definition")
class UnknownItem(Problem):
    """A file consists of `use`, `net`, `block`, `fn`, `let`, `default` and `train`.

    ```net fail
    netwrok bad { input x 784; dense 10 }
    ```

    ```net fixed
    net good { input x 784; dense 10 }
    ```
    """

    candidate: str

    caption = "no definition begins with this word"

    def message(self) -> str:
        return f"unknown definition `{shortened(self.span.text)}`"

    def suggestions(self) -> Iterable[Suggestion]:
        from netdsl.base.suggest import is_slip

        safe = is_slip(self.span.text, self.candidate) or self.span.text.casefold() in ("net", "network", "model")
        yield Suggestion(f"did you mean `{self.candidate}`?", Edit(self.span, self.candidate), safe=safe)


@problem("E0115", "a statement outside a net")
class StatementOutside(Problem):
    """Layers and other statements belong in the braces of a net or a block.

    ```net fail
    input x 784
    dense 10
    ```

    ```net fixed
    net good {
      input x 784
      dense 10
    }
    ```
    """

    caption = "only definitions are allowed here"
    hint = "move the statements into `net NAME {{ … }}` or `block NAME {{ … }}`"

    def message(self) -> str:
        return f"`{shortened(self.span.text)}` outside a net"


@problem("E0116", "a definition inside a body")
class ItemInside(Problem):
    """Nets, blocks, functions and training recipes are defined at the top level of a file, in any order.

    ```net fail
    net bad { block b { relu }; input x 784; b; dense 10 }
    ```

    ```net fixed
    block b { relu }
    net good { input x 784; b; dense 10 }
    ```
    """

    headline = "`{span.text}` inside a body"
    caption = "allowed only at the top level of the file"
    hint = "move it out of the braces; the order of definitions does not matter"


@problem("E0122", "a missing name")
class MissingName(Problem):
    """Inputs, outputs and definitions need a name. That of an input or output is its name in the ONNX model, too.

    ```net fail
    net bad { input 1x28x28; dense 10 }
    ```

    ```net fixed
    net good { input image 1x28x28; dense 10 }
    ```
    """

    word: str
    name: str
    """A possible name; empty if the choice is the user's."""
    edits: tuple[Edit, ...]

    headline = "`{word}` needs a name"
    caption = "expected a name before this"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.name:
            yield Suggestion(f"add a name, such as `{self.name}`", *self.edits)


@problem("E0123", "a string without quotes")
class UnquotedText(Problem):
    """Strings, such as paths and column names, are written in double quotes.

    ```net fail
    use zoo/resnet.net
    net bad { input x 784; dense 10 }
    ```

    ```net fixed
    use "zoo/resnet.net"
    net good { input x 784; dense 10 }
    ```
    """

    path: str

    caption = "expected double quotes around this"

    def message(self) -> str:
        return f"`{shortened(self.path)}` is not in quotes"

    def suggestions(self) -> Iterable[Suggestion]:
        quoted = f'"{self.path}"'
        yield Suggestion(f"write `{quoted}`", Edit(self.span, quoted), safe=self.span.text == self.path)


@problem("E0124", "syntax of another language")
class OtherNotation(Problem):
    """Bodies are written in braces, comments begin with `#`, and `else if` continues a condition.

    ```net fail
    net bad { input x 784; if channels > 9 { relu } elif channels > 5 { tanh }; dense 10 }
    ```

    ```net fixed
    net good { input x 784; if channels > 9 { relu } else if channels > 5 { tanh }; dense 10 }
    ```
    """

    instead: str
    edits: tuple[Edit, ...] = ()

    caption = "not part of the `.net` language"

    def message(self) -> str:
        return f"unexpected `{shortened(self.span.text)}`: syntax of another language"

    def suggestions(self) -> Iterable[Suggestion]:
        yield Suggestion(self.instead, *self.edits)


@problem("E0125", "a label on a statement without a value")
class LabelledStatement(Problem):
    """A label names the result of a layer, a block or a group. `let`, `input` and `output` have their own names, and
    `default`, `expect` and `about` have no result.

    ```net fail
    net bad { input x 784; a: let w = 3; dense w }
    ```

    ```net fixed
    net good { input x 784; let w = 3; dense w }
    ```
    """

    statement: str
    end: int
    """The offset after the label and the blanks that follow."""

    headline = "`{statement}` cannot have a label"
    caption = "a label names a result"

    def suggestions(self) -> Iterable[Suggestion]:
        yield Suggestion("remove the label", Edit(Span(self.span.source, self.span.start, self.end), ""))


@problem("E0126", "a file in another language")
class OtherLanguage(Problem):
    """The file contains Python, JSON or YAML, but netdsl reads `.net` files. The tutorial shows how to write one.

    ```net fail
    import torch.nn as nn

    class Net(nn.Module):
        pass
    ```

    ```net fixed
    net example {
      input image 1x28x28
      dense 10
    }
    ```
    """

    language: str

    headline = "this is {language}, not the `.net` language"
    caption = "{language} begins here"
    hint = "write `net NAME {{ … }}`, as in `net a {{ input image 1x28x28; dense 10 }}`"
