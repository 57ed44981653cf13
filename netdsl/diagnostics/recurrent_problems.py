"""Problems of recurrent layers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.base.shape import Shape, elements, format_shape
from netdsl.base.text import Span
from netdsl.diagnostics.problem import Edit, Label, Problem, Suggestion, problem
from netdsl.diagnostics.shape_problems import ShapeProblem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.ir.net import Node


@problem("E0390", "a recurrent layer on other than one axis")
class NotASequence(ShapeProblem):
    """A recurrent layer runs along the last axis of a value [C, L], and reads the C channels of one place at each step.
    A map [C, H, W] becomes a sequence of its columns with the channels of all rows, or of its pixels, by a `reshape`
    that says which.

    ```net fail
    net bad { input image 512x4x24; lstm 256 }
    ```

    ```net fixed
    net good { input image 512x4x24; reshape [channels*shape[1], shape[2]]; lstm 256 }
    ```
    """

    @property
    def _shape(self) -> Shape:
        return self.inputs[0].shape

    def message(self) -> str:
        return f"`{self.layer}` runs along one axis of [C, L], and this is {format_shape(self._shape)}"

    def label(self) -> str:
        return f"this takes a sequence, but the value has {len(self._shape)} ax{'e' if len(self._shape) > 1 else 'i'}s"

    def candidate_fixes(self) -> Iterable[Suggestion]:
        shape = self._shape
        if len(shape) == 1:
            sizes, what = f"[1, {shape[0]}]", "one number at each place"
        elif 1 in shape[1:]:
            sizes, what = f"[{shape[0]}, ?]", "the channels at each place"
        else:
            axes = [f"shape[{axis}]" for axis in range(1, len(shape))]
            sizes, what = f"[{' * '.join(['channels', *axes[:-1]])}, {axes[-1]}]", "all of a column at each place"
        label = re.search(r"[\w{}]+\s*:\s*$", self.span.source.text[: self.span.start])
        start = label.start() if label else self.span.start
        place = Span(self.span.source, start, start)
        yield Suggestion(f"`reshape {sizes}` has {what}", Edit(place, f"reshape {sizes}; "))


@problem("E0391", "an initial state of another size")
class StateMismatch(ShapeProblem):
    """The state of a recurrent layer is a flat value: h of each layer and direction and, for an `lstm`, then c of each.
    `initial` takes one of the same size: `state` of a layer with the same arguments, or the result of a `dense`.

    ```net fail
    net bad {
      input a 8x20
      first: lstm 32
      state first; s: identity
      input b 8x20
      lstm 64 initial s
    }
    ```

    ```net fixed
    net good {
      input a 8x20
      first: lstm 32
      state first; s: dense 128
      input b 8x20
      lstm 64 initial s
    }
    ```
    """

    call: str
    size: int

    @property
    def _given(self) -> Node:
        return self.inputs[1]

    def message(self) -> str:
        return f"`initial` is {format_shape(self._given.shape)}, and the state of `{self.call}` is {self.size}"

    def label(self) -> str:
        return f"this layer starts from {self.size} values"

    def labels(self) -> Iterable[Label]:
        from netdsl.diagnostics.origins import origin

        if len(self._given.shape) == 1:
            found = origin(self._given, 0)
            yield Label(found.span, str(found))
        else:
            yield Label(self._given.span, f"this is {format_shape(self._given.shape)}")

    def notes(self) -> Iterable[str]:
        if self._given.shape == (self.size // 2,) and "bidirectional" in self.call:
            yield "the initial state is that of one direction, and a bidirectional layer has two"

    def candidate_fixes(self) -> Iterable[Suggestion]:
        if self._given.layer.kind == "identity":
            yield Suggestion("put a `dense` between the two", Edit(self._given.span, f"dense {self.size}"))

    def suggestions(self) -> Iterable[Suggestion]:
        shape = self._given.shape
        if len(shape) > 1 and all(isinstance(n, int) for n in shape) and elements(shape) == self.size:
            yield Suggestion("`flatten` it first")
        elif self._given.layer.kind != "identity":
            yield Suggestion(f"give the result of a `dense {self.size}` of it a label, and start from that")


@problem("E0392", "the state of a layer that has none")
class NoState(Problem):
    """Recurrent layers (`rnn`, `gru` and `lstm`) have a state after the last place, which `state LABEL` returns. The
    label is that of the layer itself, not of a value computed from it.

    ```net fail
    net bad { input x 8x20; y: lstm 32; z: relu; state z }
    ```

    ```net fixed
    net good { input x 8x20; y: lstm 32; state y }
    ```
    """

    layer: str
    inputs: tuple[Node, ...]

    def message(self) -> str:
        node = self.inputs[0]
        return f"`{node.name}` is {_article(node.layer.kind)} `{node.layer.kind}`, which has no state"

    caption = "this needs a recurrent layer"

    def labels(self) -> Iterable[Label]:
        yield Label(self.inputs[0].span, "this has no state")

    def suggestions(self) -> Iterable[Suggestion]:
        node = self.inputs[0]
        while len(node.inputs) > 0:
            node = node.inputs[0]
            if node.layer.kind in ("rnn", "gru", "lstm"):
                yield Suggestion(f"`{node.name}`, from which it is computed, is recurrent: `state {node.name}`")
                return


def _article(word: str) -> str:
    return "an" if word[0] in "aeioul" else "a"


@problem("E0393", "lengths that are not one number for each example")
class LengthsMismatch(ShapeProblem):
    """`lengths` takes the number of places of each example that belong to its sequence: an input of one integer,
    `input lengths 1 dtype i64`. A mask with a number for each place is not accepted.

    ```net fail
    net bad {
      input n 20 dtype i64
      input x 8x20
      gru 32 lengths n
    }
    ```

    ```net fixed
    net good {
      input n 1 dtype i64
      input x 8x20
      gru 32 lengths n
    }
    ```
    """

    given: Shape

    headline = "`lengths` is one number for each example, but this is {given}"

    def label(self) -> str:
        count = elements(self.given) if all(isinstance(size, int) for size in self.given) else "several"
        return f"this has {count} numbers"


@problem("W0330", "dropout between layers of which there is one")
class VainDropout(Problem):
    """`dropout` of a recurrent layer drops outputs between its layers, as in PyTorch, so it has no effect with
    `layers 1`. A separate `dropout` before or after the layer does what Keras' `dropout` does.

    ```net warn
    net odd { input x 8x20; lstm 32 dropout 0.2; linear 10 }
    ```

    ```net fixed
    net even { input x 8x20; lstm 32; dropout 0.2; linear 10 }
    ```
    """

    node: Node

    headline = "`dropout` has no effect: it acts between layers, and this `{node.layer.kind}` has one"

    def suggestions(self) -> Iterable[Suggestion]:
        from netdsl.diagnostics.solve import remove

        argument = next((each for each in self.node.arguments if each.name == "dropout"), None)
        if argument is not None:
            yield Suggestion("remove it, or write a separate `dropout`", remove(argument))
