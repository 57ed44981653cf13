"""Problems of expressions: values that do not go together, conditions, counts and calls that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.problem import Help, Label, Problem, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.base.text import Span

if TYPE_CHECKING:
    pass


@problem("E0408", "an operation on values that do not go together")
class BadOperation(Problem):
    """Arithmetic is for numbers, indices for lists, conditions for what is true or false.

    ```net fail
    net bad { input x 784; dense [1, 2] * 1.5 }
    ```

    ```net mended
    net good { let widths = [1, 2]; input x 784; dense widths[0] * 15 }
    ```
    """

    what: str

    def message(self) -> str:
        return self.what


@problem("E0409", "division by zero")
class DivisionByZero(Problem):
    """The divisor came out as 0.

    ```net fail
    net bad { input x 784; dense 10 // 0 }
    ```

    ```net mended
    net good { input x 784; dense 10 // 2 }
    ```
    """

    def label(self) -> str:
        return "this is 0"


@problem("E0410", "a number or list that is too large")
class TooBig(Problem):
    """Expressions are computed exactly, within bounds that no network needs to cross.

    ```net fail
    net bad { input x 784; dense 10 ** 10 ** 10 }
    ```

    ```net mended
    net good { input x 784; dense 10 ** 2 }
    ```
    """

    what: str

    def message(self) -> str:
        return f"{self.what} is too large"


@problem("E0411", "an index outside the list")
class OutsideList(Problem):
    """Entries are counted from 0; -1 is the last.

    ```net fail
    net bad { let widths = [64, 128]; input x 784; dense widths[2] }
    ```

    ```net mended
    net good { let widths = [64, 128]; input x 784; dense widths[1] }
    ```
    """

    index: int
    length: int

    def message(self) -> str:
        return f"there is no entry {self.index} in a list of {self.length}"

    def label(self) -> str:
        return f"the last entry is {self.length - 1}" if self.length else "the list is empty"


@problem("E0412", "no arm of the match fits")
class NoMatch(Problem):
    """A `match` takes the first arm whose value equals its subject; `_` fits everything.

    ```net fail
    net bad { let n = match 3 { 1 => 10; 2 => 20 }; input x 784; dense n }
    ```

    ```net mended
    net good { let n = match 3 { 1 => 10; 2 => 20; _ => 30 }; input x 784; dense n }
    ```
    """

    value: str
    arms: tuple[str, ...]

    def message(self) -> str:
        return f"no arm of this match is {self.value}"

    def label(self) -> str:
        return f"the arms are {', '.join(self.arms)}"


@problem("E0413", "a condition that is neither true nor false")
class BadCondition(Problem):
    """A condition is a comparison, or `on` or `off`; a number is not one.

    ```net fail
    net bad { input x 784; if 3 { relu }; dense 10 }
    ```

    ```net mended
    net good { input x 784; if channels > 3 { relu }; dense 10 }
    ```
    """

    value: str

    def message(self) -> str:
        return f"a condition must be true or false, not {self.value}"

    def label(self) -> str:
        return "not a condition"

    def helps(self) -> Iterable[Help]:
        yield Help("compare it with something, as in `n > 0`")


@problem("E0414", "the names of a `for` do not match its entries")
class BadUnpacking(Problem):
    """`for a, b in LIST` takes entries of two values each; with one name an entry may be anything.

    ```net fail
    net bad { input x 784; for a, b in [1, 2] { dense a }; dense 10 }
    ```

    ```net mended
    net good { input x 784; for a in [1, 2] { dense a }; dense 10 }
    ```
    """

    names: int
    value: str

    def message(self) -> str:
        return (
            f"each entry of this list must hold {self.names} values, one for each name, and one entry is {self.value}"
        )

    def label(self) -> str:
        return f"{self.names} names"


@problem("E0415", "this cannot be repeated so")
class BadCount(Problem):
    """`repeat` takes a whole number of at least 0, `for` a list.

    ```net fail
    net bad { input x 784; repeat 1.5 { relu }; dense 10 }
    ```

    ```net mended
    net good { input x 784; repeat 2 { relu }; dense 10 }
    ```
    """

    what: str

    def message(self) -> str:
        return self.what


@problem("E0416", "a size that is not known")
class NotDecidable(Problem):
    """A size that is known only at run time cannot decide what is built.

    ```net fail
    net bad { input x 3x?; if shape[1] > 10 { relu }; conv 3 10 }
    ```

    ```net mended
    net good { input x 3x20; if shape[1] > 10 { relu }; conv 3 10 }
    ```
    """

    size: str

    def message(self) -> str:
        return f"this depends on the size `{self.size}`, which is known only at run time"

    def label(self) -> str:
        return "this must be decided at compile time"


@problem("E0417", "a function called wrongly")
class BadCall(Problem):
    """A function takes the arguments that it declares, and is called by its name.

    ```net fail
    fn double(x) = 2 * x
    net bad { input x 784; dense double(1, 2) }
    ```

    ```net mended
    fn double(x) = 2 * x
    net good { input x 784; dense double(2) }
    ```
    """

    what: str
    declared: Span | None = None

    def message(self) -> str:
        return self.what

    def labels(self) -> Iterable[Label]:
        if self.declared:
            yield Label(self.declared, "declared here")
