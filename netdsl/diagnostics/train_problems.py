"""Problems of the lines of a `train` block: unknown, missing, repeated, or contradictory ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.name_problems import Twice, UnknownOfFew
from netdsl.diagnostics.problem import Edit, Problem, Suggestion, problem

if TYPE_CHECKING:
    from collections.abc import Iterable


@problem("E0216", "unknown line in a training recipe")
class UnknownLine(UnknownOfFew):
    """A `train` block, and the braces of its lines, allow the kinds of lines that `docs/language.md` lists.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; epoch 3 }
    ```

    ```net fixed
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; epochs 3 }
    ```
    """

    where: str = "train"

    headline = "`{where}` has no line `{name}`"
    caption = "unknown line"

    def suggestions(self) -> Iterable[Suggestion]:
        from netdsl.diagnostics.foreign import training_line

        found = list(super().suggestions())
        line = training_line(self.name)
        if not found and line and self.where == "train":
            found.append(
                Suggestion(f"write `{line if line.split()[0] in self.candidates else f'optimizer sgd {line}'}`")
            )
        return found


@problem("E0217", "a line given twice")
class LineTwice(Twice):
    """A setting has one value. Only `loss`, one line for each output, and `metric` can be repeated.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; batch 32; batch 64 }
    ```

    ```net fixed
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; batch 64 }
    ```
    """

    what: str

    headline = "{what} is given twice"


@problem("E0218", "a missing line in a training recipe")
class MissingLine(Problem):
    """Training requires `data` and `loss`; all other settings have defaults.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; epochs 3 }
    ```

    ```net fixed
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; epochs 3 }
    ```
    """

    name: str
    example: str

    headline = "the training of `{span.text}` has no `{name}`"
    caption = "no line `{name}`"
    hint = "add a line, such as `{example}`"


@problem("E0219", "unknown loss, optimizer, schedule, metric, data or augmentation")
class UnknownChoice(UnknownOfFew):
    """Losses, optimizers, schedules, metrics, kinds of data and augmentations are chosen by name.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entrpy }
    ```

    ```net fixed
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy }
    ```
    """

    what: str

    headline = "unknown {what} `{name}`"
    caption = "no {what} has this name"

    def suggestions(self) -> Iterable[Suggestion]:
        from netdsl.diagnostics.foreign import CHOICES

        ours = CHOICES.get(self.name.casefold().replace("_", ""))
        if ours in self.candidates:
            yield Suggestion(f"netdsl calls it `{ours}`", Edit(self.span, ours))
        else:
            yield from super().suggestions()


@problem("E0223", "two lines that exclude each other")
class Excluding(Twice):
    """Training ends after a number of `epochs` or a number of `steps`, not both.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; epochs 3; steps 1000 }
    ```

    ```net fixed
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; steps 1000 }
    ```
    """

    here: str
    there: str

    headline = "`{here}` and `{there}` exclude each other"
    caption = "the other is here"
    related = "earlier", "one is here"


@problem("E0224", "braces after a line that takes none")
class NoBraces(Problem):
    """In a `train` block, only `optimizer` and `augment` take lines in braces.

    ```net fail
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy { smoothing 0.1 } }
    ```

    ```net fixed
    net n { input x 784; scale 1/255; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy smoothing 0.1 }
    ```
    """

    key: str

    headline = "`{key}` takes no lines in braces"
    caption = "unexpected braces"

    def suggestions(self) -> Iterable[Suggestion]:
        each = ", with one line per output" if self.key == "loss" else ""
        yield Suggestion(f"write its arguments on the line itself{each}")


@problem("E0228", "normalization as an augmentation")
class Normalizing(Problem):
    """Augmentations change the images of the training only. Normalization belongs to the net, since `run`, `eval` and
    compiled models must normalize images in the same way: declare `mean` and `std` on the input, for image files, or
    use the layer `normalize`, for all data.

    ```net fail
    net n { input x 1x28x28; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; augment { flip; normalize mean 33 std 79 } }
    ```

    ```net fixed
    net n { input x 1x28x28 mean 33 std 79; dense 10 }
    train n { data mnist "mnist"; loss cross_entropy; augment { flip } }
    ```
    """

    headline = "images cannot be normalized in the training alone, since `run` would not normalize them"
    caption = "`normalize` is not an augmentation"
    hint = "declare `mean` and `std` on the input, or use the layer `normalize`"
