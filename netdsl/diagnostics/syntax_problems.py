"""Problems of statements and definitions that are not put together right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.text import Span
from netdsl.diagnostics.problem import Edit, Help, Problem, problem
from netdsl.diagnostics.text_problems import shortened

if TYPE_CHECKING:
    from collections.abc import Iterable


@problem("E0101", "this cannot stand here")
class UnexpectedToken(Problem):
    """Something stands where the language has no place for it. The rest of the statement is passed over, and the
    check goes on with the next one.

    ```net fail
    net bad { input x 784; repeat as j { relu }; dense 10 }
    ```

    ```net mended
    net good { input x 784; repeat 2 as j { relu }; dense 10 }
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


@problem("E0109", "nested too deep")
class TooDeep(Problem):
    """Brackets and operations may be nested 100 levels deep: more is a mistake, or an attack.

    ```net fail
    net bad { input x 784; dense (((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((
      ((((((((((((((((((((((((((((((((((((((((10))))))))))))))))))))))))))))))))))))))))
      ))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))) }
    ```

    ```net mended
    net good { input x 784; dense ((5 + 5)) }
    ```
    """

    limit: int

    def message(self) -> str:
        return f"nested more than {self.limit} levels deep"

    def label(self) -> str:
        return "this is one level too many"


@problem("E0113", "a reserved word")
class ReservedWord(Problem):
    """Words that begin statements, and the words of expressions, cannot name variables or blocks. Labels may be any
    word.

    ```net fail
    net bad { let skip = 3; input x 784; dense 10 }
    ```

    ```net mended
    net good { let width = 3; input x 784; dense width }
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

    ```net mended
    net good { input x 784; dense 10 }
    ```
    """

    candidate: str

    def message(self) -> str:
        return f"a file has no `{shortened(self.span.text)}`"

    def label(self) -> str:
        return "no definition begins with this word"

    def helps(self) -> Iterable[Help]:
        from netdsl.base.suggest import is_slip

        safe = is_slip(self.span.text, self.candidate) or self.span.text.casefold() in ("net", "network", "model")
        yield Help(f"did you mean `{self.candidate}`?", Edit(self.span, self.candidate), safe=safe)


@problem("E0115", "a statement outside of a net")
class StatementOutside(Problem):
    """Layers and the other statements of a flow stand within the braces of a net or a block.

    ```net fail
    input x 784
    dense 10
    ```

    ```net mended
    net good {
      input x 784
      dense 10
    }
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

    ```net mended
    block b { relu }
    net good { input x 784; b; dense 10 }
    ```
    """

    def message(self) -> str:
        return f"`{self.span.text}` stands inside of a body"

    def label(self) -> str:
        return "this is defined at the file's level"

    def helps(self) -> Iterable[Help]:
        yield Help("move it out of the braces; order does not matter there")


@problem("E0122", "a statement without its name")
class MissingName(Problem):
    """Inputs, outputs and definitions have a name: it becomes that of the model's input or output.

    ```net fail
    net bad { input 1x28x28; dense 10 }
    ```

    ```net mended
    net good { input image 1x28x28; dense 10 }
    ```
    """

    word: str
    name: str
    """A name that would do; empty where it is the user's choice."""
    edits: tuple[Edit, ...]

    def message(self) -> str:
        return f"`{self.word}` needs a name"

    def label(self) -> str:
        return "expected a name before this"

    def helps(self) -> Iterable[Help]:
        if self.name:
            yield Help(f"give it a name, such as `{self.name}`", *self.edits)


@problem("E0123", "a text without quotes")
class UnquotedText(Problem):
    """Texts, such as paths and the names of columns, stand in quotes.

    ```net fail
    use zoo/resnet.net
    net bad { input x 784; dense 10 }
    ```

    ```net mended
    use "zoo/resnet.net"
    net good { input x 784; dense 10 }
    ```
    """

    path: str

    def message(self) -> str:
        return f"`{shortened(self.path)}` is a text without quotes"

    def label(self) -> str:
        return "expected quotes around this"

    def helps(self) -> Iterable[Help]:
        quoted = f'"{self.path}"'
        yield Help(f"write `{quoted}`", Edit(self.span, quoted), safe=self.span.text == self.path)


@problem("E0124", "notation of another language")
class OtherNotation(Problem):
    """Bodies stand in braces, comments begin with `#`, and conditions go on with `else if`.

    ```net fail
    net bad { input x 784; if channels > 9 { relu } elif channels > 5 { tanh }; dense 10 }
    ```

    ```net mended
    net good { input x 784; if channels > 9 { relu } else if channels > 5 { tanh }; dense 10 }
    ```
    """

    instead: str
    edits: tuple[Edit, ...] = ()

    def message(self) -> str:
        return f"unexpected `{shortened(self.span.text)}`, which is notation of another language"

    def label(self) -> str:
        return "not part of the `.net` language"

    def helps(self) -> Iterable[Help]:
        yield Help(self.instead, *self.edits)


@problem("E0125", "a label before a statement without a value")
class LabelledStatement(Problem):
    """A label names the value of a layer, a block or a group. `let`, `input` and `output` have names of their own, and
    `default`, `expect` and `about` have no value.

    ```net fail
    net bad { input x 784; a: let w = 3; dense w }
    ```

    ```net mended
    net good { input x 784; let w = 3; dense w }
    ```
    """

    statement: str
    end: int
    """The offset behind the label and the blanks that follow."""

    def message(self) -> str:
        return f"`{self.statement}` cannot have a label"

    def label(self) -> str:
        return "a label names a value"

    def helps(self) -> Iterable[Help]:
        yield Help("remove the label", Edit(Span(self.span.source, self.span.start, self.end), ""))


@problem("E0126", "a file in another language")
class OtherLanguage(Problem):
    """The file is a program in Python, or data in JSON or YAML. netdsl reads `.net` files; `netdsl init` or the
    tutorial shows how to begin one.

    ```net fail
    import torch.nn as nn

    class Net(nn.Module):
        pass
    ```

    ```net mended
    net example {
      input image 1x28x28
      dense 10
    }
    ```
    """

    language: str

    def message(self) -> str:
        return f"this is {self.language}, not the `.net` language"

    def label(self) -> str:
        return f"{self.language} begins here"

    def helps(self) -> Iterable[Help]:
        yield Help("write `net NAME { … }`, as in `net a { input image 1x28x28; dense 10 }`")
