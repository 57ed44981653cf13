"""Problems of names and structure: what is not defined, what is defined twice, what stands in the wrong place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.base.text import Span
from netdsl.diagnostics.problem import Edit, Help, Label, Problem, comment_before, gap_before, meant, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.shape import Shape
    from netdsl.base.text import Frame

DIGITS = "0123456789"


class Unknown(Problem):
    """A name that nothing has; the best of `candidates` is offered."""

    name: str
    candidates: tuple[str, ...] = ()

    def label(self) -> str:
        return "nothing has this name here"

    def helps(self) -> Iterable[Help]:
        from netdsl.base.suggest import suggest

        if self.span.text == self.name:
            yield from meant(self.span, self.name, self.candidates)
            return
        for word in suggest(self.name, self.candidates)[:1]:
            if word.rstrip(DIGITS) != self.name.rstrip(DIGITS):  # a label that braces spelled out
                yield Help(f"did you mean `{word}`?")


@problem("E0201", "unknown name")
class UnknownName(Unknown):
    """A bare word in an expression must be a variable, a label, a block or a layer that is defined before this place.

    ```net fail
    net bad { let n = 2*clases; input x 784; dense n }
    ```

    ```net mended
    net good(classes = 10) { let n = 2*classes; input x 784; dense n }
    ```
    """

    def message(self) -> str:
        return f"unknown name `{self.name}`"

    def helps(self) -> Iterable[Help]:
        switch = {"true": "on", "yes": "on", "false": "off", "no": "off"}.get(self.name.lower())
        if switch:
            yield Help(f"write `{switch}`", Edit(self.span, switch), safe=True)
        else:
            yield from comment_before(self.span)
            yield from super().helps()


@problem("E0202", "unknown layer")
class UnknownLayer(Unknown):
    """A statement begins with a layer of the language, a block of the file, or a variable that holds one.

    ```net fail
    net bad { input x 784; denze 10 }
    ```

    ```net mended
    net good { input x 784; dense 10 }
    ```
    """

    def message(self) -> str:
        return f"there is no layer or block `{self.name}`"

    def label(self) -> str:
        return "no layer, block or statement has this name"

    def helps(self) -> Iterable[Help]:
        from netdsl.diagnostics.foreign import layer_helps

        yield from layer_helps(self.span, self.name, self.candidates) or super().helps()


@problem("E0203", "unknown label")
class UnknownLabel(Unknown):
    """A reference finds a label of its own scope or of one around it, from its definition on. From outside a scope the
    path leads to it (`backbone.layer2`); a block does not see its caller's labels, but may be passed one.

    ```net fail
    net bad { input x 784; hidden: dense 100; add { relu } hiden }
    ```

    ```net mended
    net good { input x 784; hidden: dense 100; add { relu } hidden }
    ```
    """

    hidden: Span | None = None
    callers: bool = False
    """Whether the hidden label stands outside of the block that looks for it."""
    path: str = ""
    """The way to the hidden label, where there is one."""

    def message(self) -> str:
        return f"the label `{self.name}` is not visible here" if self.hidden else f"unknown label `{self.name}`"

    def label(self) -> str:
        return "it belongs to another scope" if self.hidden else "no value before this place has this label"

    def labels(self) -> Iterable[Label]:
        if self.hidden:
            where = "outside of this block" if self.callers else "in a scope of its own"
            yield Label(self.hidden, f"it is defined here, {where}")

    def helps(self) -> Iterable[Help]:
        if self.path:
            yield Help(f"from outside its scope it is called `{self.path}`", Edit(self.span, self.path))
        elif self.callers:
            yield Help("pass it to the block as an argument")
        elif not self.hidden:
            yield from super().helps()


@problem("E0204", "defined twice")
class DefinedTwice(Problem):
    """A name stands for one thing in its braces: variables are assigned once, labels and definitions are unique.

    ```net fail
    net bad { let n = 1; let n = 2; input x 784; dense n }
    ```

    ```net mended
    net good { let n = 2; input x 784; dense n }
    ```
    """

    name: str
    earlier: Span

    def message(self) -> str:
        return f"each round of the loop defines `{self.name}`" if self._loop else f"`{self.name}` is defined twice"

    def label(self) -> str:
        return "the same label in every round" if self._loop else "again here"

    def labels(self) -> Iterable[Label]:
        if not self._loop:
            yield Label(self.earlier, "first here")

    def helps(self) -> Iterable[Help]:
        loop = self._loop
        if loop is None:
            return
        if loop.variable:
            label = f"{self.name}{{{loop.variable}}}"
            yield Help(f"number the label: `{label}`", Edit(self.span, label))
            return
        label = f"{self.name}{{i}}"
        brace = loop.span.source.text.index("{", loop.span.start)
        yield Help(
            f"number the rounds and the label: `{label}`",
            Edit(gap_before(Span(loop.span.source, brace, brace)), " as i "),
            Edit(self.span, label),
        )

    @property
    def _loop(self) -> Frame | None:
        """The round that defines the label again, if a loop does."""
        frame = self.frame if self.span == self.earlier else None
        while frame is not None and not frame.variable and frame.value is None:
            frame = frame.parent
        return frame


@problem("E0205", "two weights of one name")
class WeightTwice(Problem):
    """A weight's name is its key in a file of weights, so no two may share it; `reuse` shares a weight on purpose, and
    then its shape must be the same.

    ```net fail
    net bad { input x 784; dense1: dense 10; dense 10 }
    ```

    ```net mended
    net good { input x 784; hidden: dense 10; dense 10 }
    ```
    """

    name: str
    earlier: Span
    shape: Shape
    other: Shape
    shared: bool

    def message(self) -> str:
        if self.shared:
            return f"the shared weight `{self.name}` would need another shape here"
        return f"two weights are called `{self.name}`"

    def label(self) -> str:
        from netdsl.base.shape import text

        needs = f"this {'needs' if self.shared else 'makes another one of'} {text(self.shape)}"
        return needs if self.earlier != self.span else f"{needs}, and first made it of {text(self.other)}"

    def labels(self) -> Iterable[Label]:
        from netdsl.base.shape import text

        if self.earlier != self.span:
            yield Label(self.earlier, f"this made it, of {text(self.other)}")

    def helps(self) -> Iterable[Help]:
        if not self.shared:
            yield Help("label one of the two otherwise; layers without a label are counted, `conv1`, `conv2`")


@problem("E0206", "a definition that contains itself")
class Recursive(Problem):
    """The language is total: a block cannot call itself, nor a value depend on itself, directly or through others.

    ```net fail
    block b { relu; b }
    net bad { input x 784; b; dense 10 }
    ```

    ```net mended
    block b { relu; dense 100 }
    net good { input x 784; b; b; dense 10 }
    ```
    """

    what: str
    cycle: tuple[str, ...]

    def message(self) -> str:
        return f"{self.what} `{self.cycle[0]}` is recursive: {' → '.join(self.cycle)}"

    def label(self) -> str:
        called = self.what in ("the block", "the function")
        return "this closes the cycle" if called else "this is part of the cycle"


@problem("E0212", "this cannot be applied")
class NotCallable(Problem):
    """A variable at the head of a statement must hold a block or a layer.

    ```net fail
    net bad { let n = 3; input x 784; n 4 }
    ```

    ```net mended
    net good { let f = tanh; input x 784; f; dense 10 }
    ```
    """

    name: str
    value: str
    is_label: bool = False

    def message(self) -> str:
        return f"`{self.name}` is {self.value}, and cannot be applied"

    def label(self) -> str:
        return "neither a block nor a layer"

    def helps(self) -> Iterable[Help]:
        text = self.span.source.text[: self.span.start]
        merge = re.search(r"\b(?:concat|add|sub|mul|div|max|min)\b[^\n;]*(?P<gap>\n[ \t]*)\Z", text)
        if self.is_label and merge:
            gap = Span(self.span.source, merge.start("gap"), self.span.start)
            yield Help("as an operand, write it on the line before", Edit(gap, " "))
        if self.is_label:
            yield Help(f"`from {self.name}` goes back to its value, `reuse {self.name}` applies it again")
