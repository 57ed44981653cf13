"""Problems of nets that are used in other nets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import format_shape
from netdsl.base.text import Span
from netdsl.diagnostics.edits import after
from netdsl.diagnostics.name_problems import UnknownOfFew
from netdsl.diagnostics.problem import Edit, Label, Problem, Suggestion, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.ir.net import Node


@problem("E0243", "a cut that is no label")
class CutNotALabel(Problem):
    """`until` names the value at which a net in another net ends: a label or path of that net, or the name of one of
    its layers or outputs. It is not an expression.

    ```net fail
    net inner { input x 8; body: dense 4; dense 2 }
    net bad { input x 8; inner until "body" }
    ```

    ```net fixed
    net inner { input x 8; body: dense 4; dense 2 }
    net good { input x 8; inner until body }
    ```
    """

    headline = "`until` takes a label of the net, not `{span.text}`"


@problem("E0244", "a cut that the net does not have")
class NothingToCut(UnknownOfFew):
    """`until` names a value of the net that is called: a label, a path such as `features.3`, or the name of a layer or
    output. A condition in the net may leave it out.

    ```net fail
    net inner { input x 8; body: dense 4; dense 2 }
    net bad { input x 8; inner until boddy }
    ```

    ```net fixed
    net inner { input x 8; body: dense 4; dense 2 }
    net good { input x 8; inner until body }
    ```
    """

    net: str

    headline = "the net `{net}` has no `{name}`"
    caption = "neither a label nor the name of a layer or output"

    def notes(self) -> Iterable[str]:
        return super().notes() if len(self.candidates) <= 12 else ()


@problem("E0245", "a net with several outputs in another net")
class SeveralOutputs(Problem):
    """A net in another net continues with its only output. If it has several, `until` selects one. Training outputs do
    not count.

    ```net fail
    net inner { input x 8; dense 4; output a { dense 2 }; output b { dense 3 } }
    net bad { input x 8; inner; dense 10 }
    ```

    ```net fixed
    net inner { input x 8; dense 4; output a { dense 2 }; output b { dense 3 } }
    net good { input x 8; inner until b; dense 10 }
    ```
    """

    net: str
    outputs: tuple[str, ...]

    caption = "which one is the result?"

    def message(self) -> str:
        return f"the net `{self.net}` has {len(self.outputs)} outputs, and the call selects none"

    def suggestions(self) -> Iterable[Suggestion]:
        for name in self.outputs[:4]:
            yield Suggestion(f"continue with `{name}`", after(self.span, f" until {name}"))


@problem("E0246", "an input of a net in another net without a value")
class InputNotFed(Problem):
    """A net in another net takes the current value as its input. The values of several inputs are operands behind the
    call, in the order in which the net declares its inputs. A net that ends before an input does not need it.

    ```net fail
    net inner { input x 8; first: dense 4; input y 4; add first y }
    net bad { input x 8; inner; dense 10 }
    ```

    ```net fixed
    net inner { input x 8; first: dense 4; input y 4; add first y }
    net good { input x 8; inner { } { dense 4 }; dense 10 }
    ```
    """

    net: str
    name: str
    declared: Span
    given: int

    headline = "the input `{name}` of the net `{net}` has no value"
    related = "declared", "another input"
    hint = "pass a value for each input: `{net} {{ }} {{ … }}`"

    def label(self) -> str:
        return "the call passes only the current value" if self.given == 1 else f"the call passes {self.given} values"


@problem("E0247", "a value that does not fit the input of a net")
class PartMisfit(Problem):
    """The value that a net in another net is applied to has the channels, the number of axes and the element type of
    its input. The other sizes can differ, if its layers accept them.

    ```net fail
    net inner { input image 3x32x32; conv 3x3 8 }
    net bad { input image 1x28x28; inner; global_avgpool }
    ```

    ```net fixed
    net inner { input image 3x32x32; conv 3x3 8 }
    net good { input image 1x28x28; conv 1x1 3; inner; global_avgpool }
    ```
    """

    net: str
    declared: Node
    given: Node
    types: bool

    def message(self) -> str:
        if self.types:
            return f"the net `{self.net}` takes {self.declared.dtype} values, but these are {self.given.dtype}"
        shapes = format_shape(self.declared.shape), format_shape(self.given.shape)
        return f"the net `{self.net}` takes {shapes[0]}, but the current value is {shapes[1]}"

    def labels(self) -> Iterable[Label]:
        yield Label(self.declared.span, "its input")
        yield Label(self.given.span, f"the value is from here, {format_shape(self.given.shape)}")


@problem("W0208", "preprocessing that a net in another net does not expect")
class OtherPreprocessing(Problem):
    """The `mean`, `std` and `order` of an input are not part of the graph: they say how images become values. A net in
    another net takes its values from the other net's input, which decides. Weights that were trained with one
    preprocessing are worse, or useless, with another.

    ```net warn
    net inner { input image 3x32x32 mean 127.5 std 127.5; conv 3x3 8; global_avgpool }
    net odd { input image 3x32x32; inner; dense 10 }
    ```

    ```net fixed
    net inner { input image 3x32x32 mean 127.5 std 127.5; conv 3x3 8; global_avgpool }
    net good { input image 3x32x32 mean 127.5 std 127.5; inner; dense 10 }
    ```
    """

    net: str
    declared: Node
    given: Node

    headline = "the net `{net}` expects images with other `mean`, `std` or `order`"
    caption = "applied to values with the preprocessing of `{given.name}`"

    def labels(self) -> Iterable[Label]:
        yield Label(self.declared.span, "preprocessed as declared here")
        yield Label(self.given.span, "but the images are preprocessed as declared here")

    def suggestions(self) -> Iterable[Suggestion]:
        wanted = {each.name: each for each in self.declared.arguments if each.name in ("order", "mean", "std")}
        given = {each.name: each for each in self.given.arguments}
        edits, end = [], max(each.value_span.end for each in self.given.arguments)
        for name, argument in wanted.items():
            if name in given:
                edits.append(Edit(given[name].value_span, argument.value_span.text))
            else:
                edits.append(Edit(Span(self.span.source, end, end), f" {name} {argument.value_span.text}"))
        if self.given.span.source is self.span.source:
            yield Suggestion("preprocess the images as the net expects them", *edits)
