"""Warnings about names: what is defined in vain, and what hides something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.problem import Help, Label, Problem, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.text import Span


class Unused(Problem):
    """A name that nothing uses; one that begins with `_` need not be used."""

    name: str

    def label(self) -> str:
        return "defined, and never used"


@problem("W0202", "a block or function that nothing uses")
class UnusedDefinition(Unused):
    """In a file that has nets, a block or function that no net of it leads to is a remainder, or a call is missing. A
    file of blocks alone is there for others, and gets no such warning; nor does a name that begins with `_`.

    ```net warn
    block stem { conv 7x7 64 stride 2; relu }
    net odd { input x 3x224x224; global_avgpool; dense 10 }
    ```

    ```net mended
    block stem { conv 7x7 64 stride 2; relu }
    net even { input x 3x224x224; stem; global_avgpool; dense 10 }
    ```
    """

    what: str

    def message(self) -> str:
        return f"the {self.what} `{self.name}` is never used"


@problem("W0203", "a parameter that nothing uses")
class UnusedParameter(Unused):
    """A parameter that its net, block or function never reads promises a choice that there is not. One that must be
    there, since several blocks are called alike, may begin with `_`.

    ```net warn
    net odd(classes = 10) { input x 784; dense 10 }
    ```

    ```net mended
    net even(classes = 10) { input x 784; dense classes }
    ```
    """

    def message(self) -> str:
        return f"the parameter `{self.name}` is never used"

    def label(self) -> str:
        return "declared, and never read"


@problem("W0204", "a label that nothing uses")
class UnusedLabel(Unused):
    """A label is there to be referred to, by `from`, `reuse`, a merge or an argument, or to be part of the names of
    weights. One that does neither may be misspelt where it should be used. Labels in a `seq` change how its layers are
    numbered, and are not meant.

    ```net warn
    net odd { input x 784; hidden: tanh; dense 10 }
    ```

    ```net mended
    net even { input x 784; hidden: tanh; dense 784; add hidden; dense 10 }
    ```
    """

    def message(self) -> str:
        return f"the label `{self.name}` is never used, and names no weights"

    def label(self) -> str:
        return "nothing refers to this"


@problem("W0205", "a value that nothing uses")
class UnusedValue(Unused):
    """What `let` names and nothing reads is a remainder, or something else is read in its place.

    ```net warn
    net odd { let width = 64; input x 784; dense 100; relu; dense 10 }
    ```

    ```net mended
    net even { let width = 64; input x 784; dense width; relu; dense 10 }
    ```
    """

    def message(self) -> str:
        return f"the value `{self.name}` is never used"


@problem("W0206", "a name that hides another")
class Hides(Problem):
    """An inner variable hides one of the same name outside of its braces, a definition hides what a file that is used
    as a whole has under its name, and a block hides a built-in layer. That is allowed, and easily read wrong. A
    variable whose name begins with `_` may hide.

    ```net warn
    let width = 64
    block hidden { dense width; relu }
    net odd(width = 10) { input x 784; hidden; dense width }
    ```

    ```net mended
    let width = 64
    block hidden { dense width; relu }
    net even(classes = 10) { input x 784; hidden; dense classes }
    ```
    """

    name: str
    hidden: Span | None = None
    what: str = ""
    """What is hidden if it is built in: `layer` or `function`."""

    def message(self) -> str:
        if self.what:
            return f"`{self.name}` hides the built-in {self.what} of that name"
        if self.hidden is not None and self.hidden.source is not self.span.source:
            return f"`{self.name}` hides what {self.hidden.source.name} calls so"
        return f"`{self.name}` hides an outer `{self.name}`"

    def label(self) -> str:
        return f"here `{self.name}` means this"

    def labels(self) -> Iterable[Label]:
        if self.hidden is not None:
            yield Label(self.hidden, "and not this any more")


@problem("W0207", "an arm that is never reached")
class UnreachableArm(Problem):
    """`match` takes the first arm that is equal, and `_` is equal to everything. An arm below `_`, or below another arm
    with the same pattern, has no effect.

    ```net warn
    fn width(depth) = match depth { 18 => 64; _ => 128; 50 => 256 }
    net odd { input x 784; dense width(50) }
    ```

    ```net mended
    fn width(depth) = match depth { 18 => 64; 50 => 256; _ => 128 }
    net even { input x 784; dense width(50) }
    ```
    """

    above: Span
    rest: bool
    """Whether the arm above is `_`."""

    def message(self) -> str:
        return f"this arm stands below {'`_`' if self.rest else 'an arm with the same pattern'} and is never reached"

    def label(self) -> str:
        return "never reached"

    def labels(self) -> Iterable[Label]:
        yield Label(self.above, "everything else takes this arm" if self.rest else "this arm is taken instead")

    def helps(self) -> Iterable[Help]:
        yield Help("put `_` last" if self.rest else "remove one of the two arms")
