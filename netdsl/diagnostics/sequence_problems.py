"""Problems of losses and metrics whose target is a sequence of symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.suggest import suggest
from netdsl.diagnostics.problem import Edit, Problem, Suggestion, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.ir.net import Node


class SequenceMisfit(Problem):
    """An argument of a loss of sequences that does not fit its output."""

    name: str
    output: str
    node: Node

    related = "node", "this is {node.shape}"


@problem("E0394", "a blank that the output does not have")
class BlankOutside(SequenceMisfit):
    """The symbols of `ctc` are numbered from 0 to K - 1 for an output [K, T]. The blank is one of them, 0 by default,
    so an alphabet of A characters needs K = A + 1.

    ```net fail
    net reader { input x 64x50; linear 11 }
    train reader { data npz "words.npz"; loss ctc blank 11 }
    ```

    ```net fixed
    net reader { input x 64x50; linear 11 }
    train reader { data npz "words.npz"; loss ctc blank 10 }
    ```
    """

    blank: int
    symbols: int

    headline = "the blank is {blank}, but the symbols of the output `{output}` are 0 to {last}"
    caption = "it must be less than {symbols}"

    @property
    def last(self) -> int:
        return self.symbols - 1

    def suggestions(self) -> Iterable[Suggestion]:
        yield Suggestion(f"if the last symbol is the blank, it is {self.last}", Edit(self.span, str(self.last)))


@problem("E0395", "targets longer than the output")
class LongestOutside(SequenceMisfit):
    """A path of `ctc` reads at most one symbol at each place, so no target can have more symbols than the output has
    places. A layer with a smaller stride leaves more of them.

    ```net fail
    net reader { input x 64x50; linear 11 }
    train reader { data npz "words.npz"; loss ctc longest 60 }
    ```

    ```net fixed
    net reader { input x 64x50; linear 11 }
    train reader { data npz "words.npz"; loss ctc longest 50 }
    ```
    """

    longest: int
    places: int

    headline = "targets of {longest} symbols do not fit the {places} places of the output `{output}`"
    caption = "no path reads more than {places}"

    def suggestions(self) -> Iterable[Suggestion]:
        yield Suggestion("shorten the targets, or the strides of the net", Edit(self.span, str(self.places)))


@problem("E0396", "lengths that are not an input")
class LengthsInput(Problem):
    """`lengths` of a loss is an input of the net with one integer for each example, `input n 1 dtype i64`: the number
    of places of the output that belong to its sequence. Data have an array of that name.

    ```net fail
    net reader { input n 1 dtype i64; input x 64x50; gru 32 lengths n; linear 11 }
    train reader { data npz "words.npz"; loss ctc lengths x }
    ```

    ```net fixed
    net reader { input n 1 dtype i64; input x 64x50; gru 32 lengths n; linear 11 }
    train reader { data npz "words.npz"; loss ctc lengths n }
    ```
    """

    name: str
    net: str
    node: Node | None
    """The input; None if there is none."""
    candidates: tuple[str, ...]

    caption = "it takes an input of shape 1 and type i64"
    related = "node", "this is {node.shape}"

    def message(self) -> str:
        if self.node is None:
            return f"the net `{self.net}` has no input `{self.name}`"
        return self.fill("`lengths` is one integer for each example, but `{name}` is {node.shape} of {node.dtype}")

    def suggestions(self) -> Iterable[Suggestion]:
        for name in suggest(self.name, self.candidates) or self.candidates[:1]:
            yield Suggestion(f"did you mean `{name}`?", Edit(self.span, name))


@problem("E0397", "a metric with another blank than the loss")
class BlanksDiffer(Problem):
    """The metric `edit` merges repeated symbols and removes blanks, so its blank is that of the loss.

    ```net fail
    net reader { input x 64x50; linear 11 }
    train reader { data npz "words.npz"; loss ctc blank 10; metric edit blank 0 }
    ```

    ```net fixed
    net reader { input x 64x50; linear 11 }
    train reader { data npz "words.npz"; loss ctc blank 10; metric edit }
    ```
    """

    given: int
    loss: int

    headline = "the blank of `edit` is {given}, but that of its loss is {loss}"
    caption = "this reads symbol {given} as the blank"

    def suggestions(self) -> Iterable[Suggestion]:
        yield Suggestion(f"write `blank {self.loss}`", Edit(self.span, str(self.loss)))
