"""Problems of nets: inputs, outputs, parameters, and the choice of a net."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.text import Span
from netdsl.diagnostics.name_problems import TwiceOrEachRound, Unknown
from netdsl.diagnostics.problem import Edit, Label, Problem, Suggestion, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.shape import Shape


@problem("E0207", "no input")
class NoInput(Problem):
    """Statements apply to the current value, and the first current value is an `input`.

    ```net fail
    net bad { dense 10 }
    ```

    ```net fixed
    net good { input x 784; dense 10 }
    ```
    """

    what: str

    headline = "{what} has no value to apply to"
    caption = "no `input` before this"
    hint = "begin the net with an input, such as `input image 3x224x224`"


@problem("E0208", "no net in the file")
class NoNet(Problem):
    """A file without a `net` has nothing to compile.

    ```net fail
    # a file without a net
    ```

    ```net fixed
    net good { input x 784; dense 10 }
    ```
    """

    blocks: bool = False

    hint = "define a net: `net NAME {{ input x 784; dense 10 }}`"

    def message(self) -> str:
        return "the file defines blocks, but no net" if self.blocks else "the file defines no net"


@problem("E0209", "several nets to choose from")
class WhichNet(Problem):
    """In a file with several nets, the one with the file's name is the default. If there is none, name a net.

    ```net fail
    net one { input x 784; dense 10 }
    net two { input x 784; dense 10 }
    ```

    ```net fixed
    net one { input x 784; dense 10 }
    ```
    """

    names: tuple[str, ...]
    file: str
    others: tuple[Span, ...] = ()

    hint = "choose one, as in `{file}:{names[0]}`"

    def message(self) -> str:
        return f"this file has {len(self.names)} nets: {', '.join(self.names)}"

    def label(self) -> str:
        return "one" if self.others else ""

    def labels(self) -> Iterable[Label]:
        return [Label(other, "another") for other in self.others]


@problem("E0210", "unknown net")
class UnknownNet(Unknown):
    """The file does not define the net that was requested, or that an alias or a `train` block names.

    ```net fail
    net one { input x 784; dense 10 }
    net two = on(depth = 1)
    ```

    ```net fixed
    net one { input x 784; dense 10 }
    net two = one()
    ```
    """

    headline = "unknown net `{name}`"


@problem("E0211", "two inputs or outputs with the same name")
class OutputTwice(TwiceOrEachRound):
    """Inputs and outputs are addressed by name in the ONNX model, so each name must be unique. In a loop, braces number
    them: `output head{i}`.

    ```net fail
    net bad { input x 784; dense 10; output y; relu; output y }
    ```

    ```net fixed
    net good { input x 784; dense 10; output y; relu; output z }
    ```
    """

    def message(self) -> str:
        if self._loop:
            return f"every round of the loop declares an input or output `{self.name}`"
        return f"two inputs or outputs are named `{self.name}`"


@problem("E0263", "an input or output with the name of a weight")
class NamedLikeWeight(Problem):
    """Inputs, outputs and weights are addressed by name in the ONNX model. The weight of a `param` has the name of its
    label, or is numbered, as `param1`.

    ```net fail
    net bad { input x 4; p: param [4]; add { from x } p; output p }
    ```

    ```net fixed
    net good { input x 4; p: param [4]; add { from x } p; output p_out }
    ```
    """

    what: str
    name: str
    weight: Span
    implied: bool = False
    """Whether it is the output of a net that names none."""

    headline = "the {what} `{name}` has the name of a weight"
    related = "weight", "the weight `{name}`"

    def label(self) -> str:
        return "the last value is the output `output`" if self.implied else "the model cannot have both"

    def suggestions(self) -> Iterable[Suggestion]:
        name = f"{self.name}_{'in' if self.what == 'input' else 'out'}"
        if self.implied:
            yield Suggestion(f"name the output: end the net with `output {name}`")
        elif self.what == "output" and self.span.text == self.name:
            yield Suggestion(f"rename the output: `output {name}`", Edit(self.span, name))
        else:
            yield Suggestion(f"rename the {self.what}, such as `{name}`")


@problem("E0240", "a branch that touches the name of an output")
class BranchTouchesName(Problem):
    """A `{` directly after the name of an input or output interpolates: `output head{i}` is `head0`, `head1` and so on.
    A branch begins after a space.

    ```net fail
    net bad { input x 784; dense 10; output y{relu} }
    ```

    ```net fixed
    net good { input x 784; dense 10; output y { relu } }
    ```
    """

    layer: str

    headline = "the braces that touch a name contain `{layer}`, a layer or block"
    caption = "a name takes an integer of at least 0 or a word in its braces"

    def suggestions(self) -> Iterable[Suggestion]:
        source = self.span.source
        brace = source.text.rindex("{", 0, self.span.start)
        yield Suggestion("a branch begins after a space", Edit(Span(source, brace, brace), " "))


@problem("E0213", "a statement in the wrong place")
class Misplaced(Problem):
    """Inputs and outputs belong in a net, not in the blocks that it calls. Definitions belong at the top level.

    ```net fail
    block b { input x 784 }
    net bad { b; dense 10 }
    ```

    ```net fixed
    block b { relu }
    net good { input x 784; b; dense 10 }
    ```
    """

    what: str
    where: str

    headline = "`{what}` is not allowed {where}"
    caption = "in the wrong place"


@problem("E0214", "unknown parameter")
class UnknownParameter(Unknown):
    """A value is given for a parameter that the net does not declare.

    ```net fail
    net one(depth = 1) { input x 784; dense depth }
    net two = one(dept = 2)
    ```

    ```net fixed
    net one(depth = 1) { input x 784; dense depth }
    net two = one(depth = 2)
    ```
    """

    net: str
    training: bool = False

    headline = "the net `{net}` has no parameter `{name}`"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.training:
            yield Suggestion(f"a `train` block has such a line or argument: `--set train.{self.name}=…` sets it")
        else:
            yield from super().suggestions()

    def label(self) -> str:
        if not self.candidates:
            return "it has none"
        named = ", ".join(f"`{name}`" for name in self.candidates)
        return f"its parameters are {named}" if len(self.candidates) > 1 else f"its only parameter is {named}"


@problem("E0215", "a net parameter without a default")
class NoDefault(Problem):
    """Every parameter of a net needs a default, so that the net can be checked and compiled without arguments.

    ```net fail
    net bad(classes) { input x 784; dense classes }
    ```

    ```net fixed
    net good(classes = 10) { input x 784; dense classes }
    ```
    """

    name: str

    headline = "the net parameter `{name}` needs a default"
    caption = "no default"
    hint = "use the value from the paper: `{name} = …`"


@problem("W0201", "a value that reaches no output")
class DeadValue(Problem):
    """Nothing reads this value, and it is not an output, so it is not part of the compiled graph.

    ```net warn
    net odd { input x 784; side: dense 5; from x; dense 10 }
    ```

    ```net fixed
    net even { input x 784; side: dense 5; from x; dense 5; add side; dense 10 }
    ```
    """

    name: str
    shape: Shape

    headline = "`{name}` reaches no output"
    caption = "nothing reads this value of {shape}"


@problem("E0227", "a `for` operand on its own line")
class OperandOnNextLine(Problem):
    """A `for` at the beginning of a line is a statement: its rounds apply to the result of the merge, one after the
    other. As an operand, it begins on the line of the merge or of the previous operand. A `for` below a merge that is
    indented further looks like an operand, and is an error.

    ```net fail
    net bad {
      input x 4x8x8
      concat { relu }
             for k in [3, 5] { conv k 8 }
      dense 10
    }
    ```

    ```net fixed
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
    loop: Span
    """The whole `for`."""

    headline = "this `for` is not an operand of `{merge.text}`"
    caption = "a separate statement, since it begins a line"
    related = "merge", "this `{merge.text}` ends with its line"

    def suggestions(self) -> Iterable[Suggestion]:
        source = self.span.source
        gap = Span(source, self.end, self.span.start)
        edits = [Edit(gap, " ")]
        if gap.text.strip():  # comments stay where they are
            place = Span(source, self.end, self.end)
            line = Span(source, source.text.rindex("\n", 0, self.span.start), self.loop.end)
            edits = [Edit(place, f" {self.loop.text}"), Edit(line, "")]
        yield Suggestion("to make it an operand, begin it on the line before", *edits)
        yield Suggestion("to make it a statement, indent it like the line before")
