"""Problems of names: undefined, defined twice, or used as something that they are not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.base.text import Span
from netdsl.diagnostics.edits import after, before, comment_before, did_you_mean, gap_before
from netdsl.diagnostics.problem import Edit, Label, Problem, Suggestion, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.shape import Shape
    from netdsl.base.text import Frame

DIGITS = "0123456789"
MOST_LOOPS = 4
"""Maximum number of loops whose rounds a suggestion numbers."""


class Unknown(Problem):
    """An undefined name, with a suggestion of the best of `candidates`."""

    name: str
    candidates: tuple[str, ...] = ()

    caption = "not defined here"

    def suggestions(self) -> Iterable[Suggestion]:
        from netdsl.base.suggest import suggest

        if self.span.text == self.name:
            yield from did_you_mean(self.span, self.name, self.candidates)
            return
        for word in suggest(self.name, self.candidates)[:1]:
            if word.rstrip(DIGITS) != self.name.rstrip(DIGITS):  # a label that braces spelled out
                yield Suggestion(f"did you mean `{word}`?")


class UnknownOfFew(Unknown):
    """An unknown name where the candidates are few enough to list."""

    def notes(self) -> Iterable[str]:
        if self.candidates:
            yield self.fill("available: {candidates}")


class Twice(Problem):
    """Something that can be given only once."""

    earlier: Span

    caption = "again here"
    related = "earlier", "first here"


class TwiceOrEachRound(Twice):
    """A name that is defined again, perhaps by the next round of a loop. `noun` is what it names."""

    name: str

    noun = "name"

    def label(self) -> str:
        return f"the same {self.noun} in every round" if self._loop else super().label()

    def labels(self) -> Iterable[Label]:
        return () if self._loop else super().labels()

    def suggestions(self) -> Iterable[Suggestion]:
        if self._loop is None:
            return
        rounds = []
        for frame in self.frame or ():
            if frame.name:
                break
            if frame.variable or frame.value is not None:
                rounds.append(frame)
        found = dict(self._numbered(rounds[:count]) for count in (1, len(rounds)) if count <= MOST_LOOPS)
        for name, edits in found.items():
            what = f"the rounds and the {self.noun}" if len(edits) > 1 else f"the {self.noun}"
            if name != self.span.text:
                yield Suggestion(f"number {what}: `{name}`", *edits)

    def _numbered(self, rounds: list[Frame]) -> tuple[str, tuple[Edit, ...]]:
        """Return the name with the numbers of some loops, the innermost first, and the edits to write it."""
        edits, name = [], self.span.text
        taken = {frame.variable for frame in rounds}
        for frame in reversed(rounds):
            variable = frame.variable
            if not variable:
                variable = next(letter for letter in "ijklmnopq" if letter not in taken)
                taken.add(variable)
                brace = frame.span.source.text.index("{", frame.span.start)
                edits.append(Edit(gap_before(Span(frame.span.source, brace, brace)), f" as {variable} "))
            if f"{{{variable}}}" not in name:
                name += f"{{{variable}}}"
        return name, (*edits, Edit(self.span, name))

    @property
    def _loop(self) -> Frame | None:
        """The round that defines the name again, if a loop does."""
        frame = self.frame if self.span == self.earlier else None
        while frame is not None and not frame.variable and frame.value is None:
            frame = frame.parent
        return frame


@problem("E0201", "unknown name")
class UnknownName(Unknown):
    """A bare word in an expression must be a variable, a label, a block or a layer that is defined before this place.

    ```net fail
    net bad { let n = 2*clases; input x 784; dense n }
    ```

    ```net fixed
    net good(classes = 10) { let n = 2*classes; input x 784; dense n }
    ```
    """

    headline = "unknown name `{name}`"

    def suggestions(self) -> Iterable[Suggestion]:
        switch = {"true": "on", "yes": "on", "false": "off", "no": "off"}.get(self.name.lower())
        if switch:
            yield Suggestion(f"write `{switch}`", Edit(self.span, switch), safe=True)
        else:
            yield from comment_before(self.span)
            yield from super().suggestions()


@problem("E0202", "unknown layer")
class UnknownLayer(Unknown):
    """A statement begins with a layer of the language, a block of the file, or a variable that holds one of these.

    ```net fail
    net bad { input x 784; denze 10 }
    ```

    ```net fixed
    net good { input x 784; dense 10 }
    ```
    """

    headline = "unknown layer or block `{name}`"
    caption = "no layer, block or statement has this name"

    def suggestions(self) -> Iterable[Suggestion]:
        from netdsl.diagnostics.foreign import suggest_layer

        yield from suggest_layer(self.span, self.name, self.candidates) or super().suggestions()


@problem("E0203", "unknown label")
class UnknownLabel(Unknown):
    """A label is visible in its own scope and the scopes inside it, after its definition. From outside its scope it is
    referred to by its path, such as `backbone.layer2`. A block does not see the labels of its caller, but can receive
    one as an argument.

    ```net fail
    net bad { input x 784; hidden: dense 100; add { relu } hiden }
    ```

    ```net fixed
    net good { input x 784; hidden: dense 100; add { relu } hidden }
    ```
    """

    hidden: Span | None = None
    callers: bool = False
    """Whether the hidden label is outside the block that refers to it."""
    path: str = ""
    """The path to the hidden label, if there is one."""

    def message(self) -> str:
        return f"the label `{self.name}` is not visible here" if self.hidden else f"unknown label `{self.name}`"

    def label(self) -> str:
        return "it belongs to another scope" if self.hidden else "no earlier value has this label"

    def labels(self) -> Iterable[Label]:
        if self.hidden:
            yield Label(self.hidden, f"defined here, {'outside this block' if self.callers else 'in its own scope'}")

    def suggestions(self) -> Iterable[Suggestion]:
        if self.path:
            yield Suggestion(f"from outside its scope, write `{self.path}`", Edit(self.span, self.path))
        elif self.callers:
            yield Suggestion("pass it to the block as an argument")
        elif not self.hidden:
            yield from super().suggestions()


@problem("E0204", "a name defined twice")
class DefinedTwice(TwiceOrEachRound):
    """In one scope, a variable is assigned once, and labels and definitions have unique names.

    ```net fail
    net bad { let n = 1; let n = 2; input x 784; dense n }
    ```

    ```net fixed
    net good { let n = 2; input x 784; dense n }
    ```
    """

    noun = "label"

    def message(self) -> str:
        return f"every round of the loop defines `{self.name}`" if self._loop else f"`{self.name}` is defined twice"


@problem("E0205", "two weights with the same name")
class WeightTwice(Problem):
    """A weight's name is its key in a weight file, so names must be unique. `reuse` shares a weight intentionally, and
    then its shape must be the same.

    ```net fail
    net bad { input x 784; dense1: dense 10; dense 10 }
    ```

    ```net fixed
    net good { input x 784; hidden: dense 10; dense 10 }
    ```
    """

    name: str
    earlier: Span
    shape: Shape
    other: Shape
    shared: bool
    earlier_frame: Frame | None = None

    def message(self) -> str:
        if self.shared:
            return f"the shared weight `{self.name}` would need another shape here"
        return f"two weights are named `{self.name}`"

    def label(self) -> str:
        caption = "this needs {shape}" if self.shared else "this creates another one, {shape}"
        return self.fill(caption if self.earlier != self.span else caption + "; the first is {other}")

    def labels(self) -> Iterable[Label]:
        if self.earlier != self.span:
            yield Label(self.earlier, self.fill("first created here, {other}"))

    def suggestions(self) -> Iterable[Suggestion]:
        if self.shared:
            return
        calls = self._alike
        for frame, number in calls:
            label = f"{frame.name}_{number}"
            place = Span(frame.span.source, frame.span.start, frame.span.start)
            yield Suggestion(f"label the call: `{label}: {frame.name}`", Edit(place, f"{label}: "))
        if not calls:
            yield Suggestion("change one of the labels; unlabeled layers are numbered: `conv1`, `conv2`")

    def notes(self) -> Iterable[str]:
        if calls := self._alike:
            (here, one), (there, other) = calls
            yield f"call {other} of `{there.name}` and call {one} of `{here.name}` are both named `{here.name}{one}`"

    @property
    def _alike(self) -> list[tuple[Frame, str]]:
        """The calls of two blocks whose numbered names are the same, such as `u` 21 times and `u2`, and their
        numbers."""
        for here in self.frame or ():
            for there in self.earlier_frame or ():
                if not here.name or not there.name or here.name == there.name:
                    continue
                for part in self.name.split("."):
                    numbers = [part.removeprefix(frame.name) for frame in (here, there)]
                    if all(number.isdecimal() for number in numbers):
                        return [(here, numbers[0]), (there, numbers[1])]
        return []


@problem("E0206", "a recursive definition")
class Recursive(Problem):
    """A function cannot call itself, and a value cannot depend on itself, directly or through others. A block can call
    itself if an integer parameter is smaller in each call. So elaboration always terminates.

    ```net fail
    block b { relu; b }
    net bad { input x 784; b; dense 10 }
    ```

    ```net fixed
    block b { relu; dense 100 }
    net good { input x 784; b; b; dense 10 }
    ```
    """

    what: str
    cycle: tuple[str, ...]

    def message(self) -> str:
        return f"{self.what} `{self.cycle[0]}` is recursive: {' → '.join(self.cycle)}"

    def label(self) -> str:
        calls = self.what in ("the block", "the function")
        return "this closes the cycle" if calls else "this is part of the cycle"

    def suggestions(self) -> Iterable[Suggestion]:
        if self.what == "the block":
            yield Suggestion("a block can call itself only with a smaller integer, as in `if n > 0 { b (n - 1) }`")


@problem("E0242", "a recursion without an end")
class EndlessRecursion(Problem):
    """A block that calls itself passes a smaller integer, which is at least 0. A condition ends the recursion.

    ```net fail
    block b(n) { dense 10; b (n - 1) }
    net bad { input x 784; b 2 }
    ```

    ```net fixed
    block b(n) { dense 10; if n > 0 { b (n - 1) } }
    net good { input x 784; b 2 }
    ```
    """

    block: str
    name: str
    value: int

    headline = "the recursion of `{block}` does not end: `{name}` falls to {value}"
    caption = "called again here"

    def suggestions(self) -> Iterable[Suggestion]:
        yield Suggestion(
            "end it with a condition", before(self.span, f"if {self.name} > 0 {{ "), after(self.span, " }")
        )


@problem("E0241", "a `seq` without a name")
class NamelessSequence(Problem):
    """A `seq` inside another is numbered by it. Elsewhere, a label names its weights.

    ```net fail
    net bad { input x 784; seq { dense 100; relu } }
    ```

    ```net fixed
    net good { input x 784; body: seq { dense 100; relu } }
    ```
    """

    headline = "this `seq` has no label"
    caption = "only a `seq` inside another is numbered"

    def suggestions(self) -> Iterable[Suggestion]:
        yield Suggestion("name it", Edit(Span(self.span.source, self.span.start, self.span.start), "body: "))


@problem("E0212", "not callable")
class NotCallable(Problem):
    """A variable at the beginning of a statement must hold a block or a layer.

    ```net fail
    net bad { let n = 3; input x 784; n 4 }
    ```

    ```net fixed
    net good { let f = tanh; input x 784; f; dense 10 }
    ```
    """

    name: str
    value: str
    is_label: bool = False

    headline = "`{name}` is {value} and cannot be applied"
    caption = "neither a block nor a layer"

    def suggestions(self) -> Iterable[Suggestion]:
        text = self.span.source.text[: self.span.start]
        merge = re.search(r"\b(?:concat|add|sub|mul|div|max|min)\b[^\n;]*(?P<gap>\n[ \t]*)\Z", text)
        if self.is_label and merge:
            gap = Span(self.span.source, merge.start("gap"), self.span.start)
            yield Suggestion("to make it an operand, write it on the line before", Edit(gap, " "))
        if self.is_label:
            yield Suggestion(f"`from {self.name}` continues from its value, `reuse {self.name}` applies it again")
