"""Warnings about names: definitions that are never used, and names that hide others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.problem import Label, Problem, Suggestion, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.text import Span


class Unused(Problem):
    """An unused name. Names that begin with `_` can be unused."""

    name: str

    caption = "defined, but never used"


@problem("W0202", "an unused block or function")
class UnusedDefinition(Unused):
    """In a file with nets, a block or function that none of them uses is a leftover, or a call is missing. Files
    without nets are libraries and get no such warning; neither do names that begin with `_`.

    ```net warn
    block stem { conv 7x7 64 stride 2; relu }
    net odd { input x 3x224x224; global_avgpool; dense 10 }
    ```

    ```net fixed
    block stem { conv 7x7 64 stride 2; relu }
    net even { input x 3x224x224; stem; global_avgpool; dense 10 }
    ```
    """

    what: str

    headline = "the {what} `{name}` is never used"


@problem("W0203", "an unused parameter")
class UnusedParameter(Unused):
    """A parameter that its net, block or function never reads suggests a choice that does not exist. If it is needed
    so that several blocks can be called alike, let its name begin with `_`.

    ```net warn
    net odd(classes = 10) { input x 784; dense 10 }
    ```

    ```net fixed
    net even(classes = 10) { input x 784; dense classes }
    ```
    """

    headline = "the parameter `{name}` is never used"
    caption = "declared, but never read"


@problem("W0204", "an unused label")
class UnusedLabel(Unused):
    """A label serves as a reference for `from`, `reuse`, a merge or an argument, or as a part of the names of weights.
    If it does neither, its name may be misspelled where it should be used. Labels inside `seq` only change how its
    layers are numbered and get no such warning.

    ```net warn
    net odd { input x 784; hidden: tanh; dense 10 }
    ```

    ```net fixed
    net even { input x 784; hidden: tanh; dense 784; add hidden; dense 10 }
    ```
    """

    headline = "the label `{name}` is never used, and names no weights"
    caption = "nothing refers to this"


@problem("W0205", "an unused value")
class UnusedValue(Unused):
    """A variable that is defined by `let` and never read is a leftover, or another one is read by mistake.

    ```net warn
    net odd { let width = 64; input x 784; dense 100; relu; dense 10 }
    ```

    ```net fixed
    net even { let width = 64; input x 784; dense width; relu; dense 10 }
    ```
    """

    headline = "the value `{name}` is never used"


@problem("W0206", "a name that hides another")
class Hides(Problem):
    """A variable hides one of the same name outside its braces, a definition hides a name from a file that is used as a
    whole, or a block hides a built-in layer. That is allowed but easy to misread. A variable whose name begins with `_`
    can hide others without a warning.

    ```net warn
    let width = 64
    block hidden { dense width; relu }
    net odd(width = 10) { input x 784; hidden; dense width }
    ```

    ```net fixed
    let width = 64
    block hidden { dense width; relu }
    net even(classes = 10) { input x 784; hidden; dense classes }
    ```
    """

    name: str
    hidden: Span | None = None
    what: str = ""
    """The kind of what is hidden if it is built in: `layer` or `function`."""

    caption = "here `{name}` refers to this"
    related = "hidden", "and no longer to this"

    def message(self) -> str:
        if self.what:
            return f"`{self.name}` hides the built-in {self.what} of that name"
        if self.hidden is not None and self.hidden.source is not self.span.source:
            return f"`{self.name}` hides the `{self.name}` of {self.hidden.source.name}"
        return f"`{self.name}` hides an outer `{self.name}`"


@problem("W0207", "an unreachable arm")
class UnreachableArm(Problem):
    """`match` takes the first arm that equals its subject, and `_` matches everything. An arm below `_`, or below
    another arm with the same pattern, has no effect.

    ```net warn
    fn width(depth) = match depth { 18 => 64; _ => 128; 50 => 256 }
    net odd { input x 784; dense width(50) }
    ```

    ```net fixed
    fn width(depth) = match depth { 18 => 64; 50 => 256; _ => 128 }
    net even { input x 784; dense width(50) }
    ```
    """

    above: Span
    rest: bool
    """Whether the arm above is `_`."""

    caption = "never reached"

    def message(self) -> str:
        return f"unreachable arm below {'`_`' if self.rest else 'an arm with the same pattern'}"

    def labels(self) -> Iterable[Label]:
        yield Label(self.above, "this matches everything" if self.rest else "this arm is taken instead")

    def suggestions(self) -> Iterable[Suggestion]:
        yield Suggestion("move `_` to the end" if self.rest else "remove one of the two arms")
