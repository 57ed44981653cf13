"""Problems of expressions: operations, conditions, counts and calls that are not possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.problem import Problem, problem

if TYPE_CHECKING:
    from netdsl.base.text import Span


@problem("E0408", "an operation on the wrong kinds of values")
class BadOperation(Problem):
    """Arithmetic is defined for numbers, indexing for lists, and conditions for `on` and `off`.

    ```net fail
    net bad { input x 784; dense [1, 2]*1.5 }
    ```

    ```net fixed
    net good { let widths = [1, 2]; input x 784; dense widths[0]*15 }
    ```
    """

    what: str

    headline = "{what}"


@problem("E0409", "division by zero")
class DivisionByZero(Problem):
    """The divisor is 0.

    ```net fail
    net bad { input x 784; dense 10//0 }
    ```

    ```net fixed
    net good { input x 784; dense 10//2 }
    ```
    """

    caption = "this is 0"


@problem("E0410", "a number or list that is too large")
class TooBig(Problem):
    """Expressions are computed exactly, within limits that no network needs to exceed.

    ```net fail
    net bad { input x 784; dense 10**10**10 }
    ```

    ```net fixed
    net good { input x 784; dense 10**2 }
    ```
    """

    what: str

    headline = "{what} is too large"


@problem("E0411", "an index outside the list")
class OutsideList(Problem):
    """Indices count from 0, and -1 is the last entry.

    ```net fail
    net bad { let widths = [64, 128]; input x 784; dense widths[2] }
    ```

    ```net fixed
    net good { let widths = [64, 128]; input x 784; dense widths[1] }
    ```
    """

    index: int
    length: int
    bound: bool = False
    """Whether it is a bound of a slice, which can be the length."""

    headline = "index {index} is outside a list of length {length}"

    def label(self) -> str:
        if self.bound:
            return f"the bounds of a slice are at most {self.length}"
        return f"the last index is {self.length - 1}" if self.length else "the list is empty"


@problem("E0412", "a match without a matching arm")
class NoMatch(Problem):
    """A `match` takes the first arm that equals its subject; `_` matches everything.

    ```net fail
    net bad { let n = match 3 { 1 => 10; 2 => 20 }; input x 784; dense n }
    ```

    ```net fixed
    net good { let n = match 3 { 1 => 10; 2 => 20; _ => 30 }; input x 784; dense n }
    ```
    """

    value: str
    arms: tuple[str, ...]

    headline = "no arm of this match equals {value}"
    caption = "the arms are {arms}"


@problem("E0413", "a condition that is neither `on` nor `off`")
class BadCondition(Problem):
    """A condition is a comparison, `on` or `off`. A number is not a condition.

    ```net fail
    net bad { input x 784; if 3 { relu }; dense 10 }
    ```

    ```net fixed
    net good { input x 784; if channels > 3 { relu }; dense 10 }
    ```
    """

    value: str

    headline = "a condition must be `on` or `off`, not {value}"
    caption = "not a condition"
    hint = "compare it with something, as in `n > 0`"


@problem("E0414", "entries that do not match the names of a `for`")
class BadUnpacking(Problem):
    """`for a, b in LIST` needs entries of two values each. With one name, an entry can be anything.

    ```net fail
    net bad { input x 784; for a, b in [1, 2] { dense a }; dense 10 }
    ```

    ```net fixed
    net good { input x 784; for a in [1, 2] { dense a }; dense 10 }
    ```
    """

    names: int
    value: str

    headline = "each entry must have {names} values, one for each name, but one entry is {value}"
    caption = "{names} names"


@problem("E0415", "an impossible repetition")
class BadCount(Problem):
    """`repeat` takes a non-negative integer, `for` takes a list.

    ```net fail
    net bad { input x 784; repeat 1.5 { relu }; dense 10 }
    ```

    ```net fixed
    net good { input x 784; repeat 2 { relu }; dense 10 }
    ```
    """

    what: str

    headline = "{what}"


@problem("E0416", "a decision that depends on a run-time size")
class NotDecidable(Problem):
    """A size that is known only at run time cannot decide which layers are built.

    ```net fail
    net bad { input x 3x?; if shape[1] > 10 { relu }; conv 3 10 }
    ```

    ```net fixed
    net good { input x 3x20; if shape[1] > 10 { relu }; conv 3 10 }
    ```
    """

    size: str

    headline = "this depends on the size `{size}`, which is known only at run time"
    caption = "must be known at compile time"


@problem("E0417", "an invalid function call")
class BadCall(Problem):
    """A function is called by its name, with the arguments that it declares.

    ```net fail
    fn double(x) = 2*x
    net bad { input x 784; dense double(1, 2) }
    ```

    ```net fixed
    fn double(x) = 2*x
    net good { input x 784; dense double(2) }
    ```
    """

    what: str
    declared: Span | None = None

    headline = "{what}"
    related = "declared", "declared here"
