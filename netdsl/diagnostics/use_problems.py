"""Problems of `use`: files that are missing, out of bounds, or in a circle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.problem import Edit, Help, Problem, problem

if TYPE_CHECKING:
    from collections.abc import Iterable


@problem("E0501", "a file that cannot be used")
class CannotUse(Problem):
    """The path of a `use` is relative to the file that has it, and the file must be there and readable.

    ```net fail
    use "nowhere.net"
    net bad { input x 784; dense 10 }
    ```
    """

    path: str
    reason: str

    def message(self) -> str:
        return f'cannot use "{self.path}": {self.reason}'


@problem("E0502", "a path that leaves the root")
class OutsideRoot(Problem):
    """Files are used from the folder of the file that was asked for, or below `--root`, and from nowhere else.

    ```net fail
    use "../../etc/passwd"
    net bad { input x 784; dense 10 }
    ```
    """

    path: str

    def message(self) -> str:
        return f'"{self.path}" leaves the root'

    def helps(self) -> Iterable[Help]:
        yield Help("name the common folder with `--root DIR`")


@problem("E0503", "files that use one another in a circle")
class UseCycle(Problem):
    """A file cannot be read before itself.

    ```net fail
    use "main.net"
    net bad { input x 784; dense 10 }
    ```
    """

    cycle: tuple[str, ...]

    def message(self) -> str:
        return f"these files use one another: {' → '.join(self.cycle)}"


@problem("E0504", "a name that the used file does not define")
class NotInFile(Problem):
    """`use NAME from "file.net"` takes a net, block, function or value that the file itself defines.

    ```net fail
    use bottelneck from "zoo/resnet.net"
    net bad { input x 784; dense 10 }
    ```
    """

    name: str
    path: str
    candidates: tuple[str, ...]

    def message(self) -> str:
        return f'"{self.path}" does not define `{self.name}`'

    def helps(self) -> Iterable[Help]:
        from netdsl.diagnostics.suggest import suggest

        for word in suggest(self.name, self.candidates)[:1]:
            yield Help(f"did you mean `{word}`?", Edit(self.span, word))
