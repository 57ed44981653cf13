"""Problems of the lines of a training: what is unknown, missing, given twice, or at odds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.name_problems import Unknown
from netdsl.diagnostics.problem import Edit, Help, Label, Problem, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.text import Span


@problem("E0216", "unknown line of a training")
class UnknownLine(Unknown):
    """A `train` block, and the braces of its lines, have lines of known kinds, which `docs/language.md` lists.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; epoch 3 }
    ```

    ```net mended
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; epochs 3 }
    ```
    """

    where: str = "train"

    def message(self) -> str:
        return f"`{self.where}` has no line `{self.name}`"

    def label(self) -> str:
        return "no line begins so"

    def notes(self) -> Iterable[str]:
        if self.candidates:
            yield f"there {'are' if len(self.candidates) > 1 else 'is'} {', '.join(self.candidates)}"


@problem("E0217", "a line given twice")
class LineTwice(Problem):
    """A setting has one value. Of `loss` there is a line for each output that has one, and of `metric` any number.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; batch 32; batch 64 }
    ```

    ```net mended
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; batch 64 }
    ```
    """

    what: str
    earlier: Span

    def message(self) -> str:
        return f"{self.what} is given twice"

    def label(self) -> str:
        return "again here"

    def labels(self) -> Iterable[Label]:
        yield Label(self.earlier, "first here")


@problem("E0218", "a line that is missing")
class MissingLine(Problem):
    """A training needs `data` and a `loss`; all other settings have defaults.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; epochs 3 }
    ```

    ```net mended
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; epochs 3 }
    ```
    """

    name: str
    example: str

    def message(self) -> str:
        return f"the training of `{self.span.text}` has no `{self.name}`"

    def label(self) -> str:
        return f"no line `{self.name}`"

    def helps(self) -> Iterable[Help]:
        yield Help(f"add a line, such as `{self.example}`")


@problem("E0219", "a name that no loss, optimizer or the like has")
class UnknownChoice(Unknown):
    """Losses, optimizers, schedules, metrics, kinds of data and augmentations are chosen by their names.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entrpy }
    ```

    ```net mended
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy }
    ```
    """

    what: str

    def message(self) -> str:
        return f"there is no {self.what} `{self.name}`"

    def helps(self) -> Iterable[Help]:
        from netdsl.diagnostics.foreign import CHOICES

        ours = CHOICES.get(self.name.casefold().replace("_", ""))
        if ours in self.candidates:
            yield Help(f"netdsl calls it `{ours}`", Edit(self.span, ours))
        else:
            yield from super().helps()

    def label(self) -> str:
        return f"no {self.what} has this name"

    def notes(self) -> Iterable[str]:
        yield f"there are {', '.join(self.candidates)}"


@problem("E0223", "two lines that exclude each other")
class Excluding(Problem):
    """A training ends after a number of `epochs` or a number of `steps`; it cannot have both.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; epochs 3; steps 1000 }
    ```

    ```net mended
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; steps 1000 }
    ```
    """

    here: str
    there: str
    earlier: Span

    def message(self) -> str:
        return f"`{self.here}` and `{self.there}` cannot both be given"

    def label(self) -> str:
        return "and here the other"

    def labels(self) -> Iterable[Label]:
        yield Label(self.earlier, "here is the one")


@problem("E0224", "braces behind a line that takes none")
class NoBraces(Problem):
    """In a `train` block, `optimizer` and `augment` take lines in braces, and nothing else does.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy { smoothing 0.1 } }
    ```

    ```net mended
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy smoothing 0.1 }
    ```
    """

    key: str

    def message(self) -> str:
        return f"`{self.key}` takes no lines in braces"

    def label(self) -> str:
        return "these braces mean nothing"

    def helps(self) -> Iterable[Help]:
        each = ", and each output has a line of its own" if self.key == "loss" else ""
        yield Help(f"its arguments stand on its line{each}")
