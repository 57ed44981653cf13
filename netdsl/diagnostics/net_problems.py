"""Problems of nets: which there are, what goes in and comes out of them, and what they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import Shape, text
from netdsl.base.text import Span
from netdsl.diagnostics.name_problems import Unknown
from netdsl.diagnostics.problem import Edit, Help, Label, Problem, problem

if TYPE_CHECKING:
    from collections.abc import Iterable


@problem("E0207", "no input")
class NoInput(Problem):
    """Statements apply to the current value, and the first one comes from an `input`.

    ```net fail
    net bad { dense 10 }
    ```

    ```net mended
    net good { input x 784; dense 10 }
    ```
    """

    what: str

    def message(self) -> str:
        return f"{self.what} has no value to work on"

    def label(self) -> str:
        return "no `input` stands before this"

    def helps(self) -> Iterable[Help]:
        yield Help("begin the net with an input, such as `input image 3x224x224`")


@problem("E0208", "no network defined")
class NoNet(Problem):
    """There is nothing to compile in a file without a `net`.

    ```net fail
    # a file without a net
    ```

    ```net mended
    net good { input x 784; dense 10 }
    ```
    """

    blocks: bool = False

    def message(self) -> str:
        return "no network defined: the file has only blocks" if self.blocks else "no network defined"

    def helps(self) -> Iterable[Help]:
        yield Help("a network is written `net NAME { input x 784; dense 10 }`")


@problem("E0209", "which network?")
class WhichNet(Problem):
    """A file with several nets has one entry only if a net is called like the file.

    ```net fail
    net one { input x 784; dense 10 }
    net two { input x 784; dense 10 }
    ```

    ```net mended
    net one { input x 784; dense 10 }
    ```
    """

    names: tuple[str, ...]
    file: str
    others: tuple[Span, ...] = ()

    def message(self) -> str:
        return f"this file has {len(self.names)} networks: {', '.join(self.names)}"

    def label(self) -> str:
        return "one" if self.others else ""

    def labels(self) -> Iterable[Label]:
        for other in self.others:
            yield Label(other, "another")

    def helps(self) -> Iterable[Help]:
        yield Help(f"choose one, as in `{self.file}:{self.names[0]}`")


@problem("E0210", "unknown network")
class UnknownNet(Unknown):
    """The net that was asked for, or that an alias or a `train` names, is not in this file.

    ```net fail
    net one { input x 784; dense 10 }
    net two = on(depth = 1)
    ```

    ```net mended
    net one { input x 784; dense 10 }
    net two = one()
    ```
    """

    def message(self) -> str:
        return f"there is no network `{self.name}`"


@problem("E0211", "two graph values of one name")
class OutputTwice(Problem):
    """Inputs and outputs are the names by which a program talks to the model, so each is unique.

    ```net fail
    net bad { input x 784; dense 10; output y; relu; output y }
    ```

    ```net mended
    net good { input x 784; dense 10; output y; relu; output z }
    ```
    """

    name: str
    earlier: Span

    def message(self) -> str:
        return f"two inputs or outputs are called `{self.name}`"

    def label(self) -> str:
        return "again here"

    def labels(self) -> Iterable[Label]:
        yield Label(self.earlier, "first here")


@problem("E0213", "a statement in the wrong place")
class Misplaced(Problem):
    """Inputs and outputs belong to a net, not to the blocks that it calls; definitions stand outside of both.

    ```net fail
    block b { input x 784 }
    net bad { b; dense 10 }
    ```

    ```net mended
    block b { relu }
    net good { input x 784; b; dense 10 }
    ```
    """

    what: str
    where: str

    def message(self) -> str:
        return f"`{self.what}` cannot stand {self.where}"

    def label(self) -> str:
        return "in the wrong place"


@problem("E0214", "unknown parameter")
class UnknownParameter(Unknown):
    """A value was given to a parameter that the net does not declare.

    ```net fail
    net one(depth = 1) { input x 784; dense depth }
    net two = one(dept = 2)
    ```

    ```net mended
    net one(depth = 1) { input x 784; dense depth }
    net two = one(depth = 2)
    ```
    """

    net: str

    def message(self) -> str:
        return f"the net `{self.net}` has no parameter `{self.name}`"

    def label(self) -> str:
        if not self.candidates:
            return "it has none"
        named = ", ".join(f"`{name}`" for name in self.candidates)
        return f"its parameters are {named}" if len(self.candidates) > 1 else f"its only parameter is {named}"


@problem("E0215", "a parameter of a net without a default")
class NoDefault(Problem):
    """Every parameter of a net has a default, so that the net can be checked and compiled by its name alone.

    ```net fail
    net bad(classes) { input x 784; dense classes }
    ```

    ```net mended
    net good(classes = 10) { input x 784; dense classes }
    ```
    """

    name: str

    def message(self) -> str:
        return f"the parameter `{self.name}` of a net needs a default"

    def label(self) -> str:
        return "no default is given"

    def helps(self) -> Iterable[Help]:
        yield Help(f"give it the value that it has in the paper: `{self.name} = …`")


@problem("W0201", "a value that reaches no output")
class DeadValue(Problem):
    """Nothing reads this value and it is not an output, so it is not part of the compiled graph.

    ```net warn
    net odd { input x 784; side: dense 5; from x; dense 10 }
    ```

    ```net mended
    net even { input x 784; side: dense 5; from x; dense 5; add side; dense 10 }
    ```
    """

    name: str
    shape: Shape

    def message(self) -> str:
        return f"`{self.name}` reaches no output"

    def label(self) -> str:
        return f"nothing reads this value of {text(self.shape)}"


@problem("E0227", "a `for` operand on a line of its own")
class OperandOnNextLine(Problem):
    """A `for` at the beginning of a line is a statement: it applies to the merge's result, one round after the other.
    As an operand it begins on the line of the merge or of the operand before it. A `for` below a merge and further to
    the right looks like an operand, and is refused.

    ```net fail
    net bad {
      input x 4x8x8
      concat { relu }
             for k in [3, 5] { conv k 8 }
      dense 10
    }
    ```

    ```net mended
    net good {
      input x 4x8x8
      concat { relu } for k in [3, 5] { conv k 8 }
      dense 10
    }
    ```
    """

    merge: Span
    end: int
    """The offset where the merge's operands end."""

    def message(self) -> str:
        return f"this `for` is not an operand of `{self.merge.text}`"

    def label(self) -> str:
        return "a statement of its own, since it begins a line"

    def labels(self) -> Iterable[Label]:
        yield Label(self.merge, "this merge ends with its line")

    def helps(self) -> Iterable[Help]:
        gap = Span(self.span.source, self.end, self.span.start)
        edits = () if gap.text.strip() else (Edit(gap, " "),)  # no comment is lost
        yield Help("as an operand, begin it on the line before", *edits)
        yield Help("as a statement, indent it like the merge")
