"""Problems of `use`: files that are missing, outside the root, or in a cycle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.name_problems import Unknown
from netdsl.diagnostics.problem import Problem, Suggestion, problem

if TYPE_CHECKING:
    from collections.abc import Iterable


@problem("E0501", "a file that cannot be used")
class CannotUse(Problem):
    """The path of a `use` is relative to the file that contains it, and the file must exist and be readable.

    ```net fail
    use "nowhere.net"
    net bad { input x 784; dense 10 }
    ```

    ```net fixed
    use "zoo/resnet.net"
    net good { input x 3x224x224; basic 64; dense 10 }
    ```
    """

    path: str
    reason: str

    headline = 'cannot use "{path}": {reason}'


@problem("E0502", "a path outside the root")
class OutsideRoot(Problem):
    """A `use` can only read files below the root: the folder of the file that is checked, or `--root`.

    ```net fail
    use "../../etc/passwd"
    net bad { input x 784; dense 10 }
    ```

    ```net fixed
    use "zoo/resnet.net"
    net good { input x 3x224x224; basic 64; dense 10 }
    ```
    """

    path: str

    caption = "outside the root, the folder of the file that is checked"

    def message(self) -> str:
        return self.fill('"{path}" is outside the root' if self._relative else '"{path}" is not a relative path')

    def suggestions(self) -> Iterable[Suggestion]:
        if self._relative:
            yield Suggestion("set a common folder with `--root DIR`")
        else:
            yield Suggestion("move the file into the root, and write its path relative to this file")

    @property
    def _relative(self) -> bool:
        return bool(self.path) and not self.path.startswith(("/", "\\")) and ":" not in self.path


@problem("E0503", "files that use each other in a cycle")
class UseCycle(Problem):
    """A file cannot use itself, directly or through other files.

    ```net fail
    use "main.net"
    net bad { input x 784; dense 10 }
    ```

    ```net fixed
    block b { relu }
    net good { input x 784; b; dense 10 }
    ```
    """

    cycle: tuple[str, ...]

    caption = "this closes the cycle"

    def message(self) -> str:
        if len(self.cycle) == 2:
            return "this file uses itself"
        return f"these files use each other in a cycle: {' → '.join(self.cycle)}"


@problem("E0504", "a name that the used file does not define")
class NotInFile(Unknown):
    """`use NAME from "file.net"` imports a net, block, function or value that the file itself defines.

    ```net fail
    use bottelneck from "zoo/resnet.net"
    net bad { input x 784; dense 10 }
    ```

    ```net fixed
    use bottleneck from "zoo/resnet.net"
    net good { input x 3x224x224; bottleneck 64; dense 10 }
    ```
    """

    path: str

    headline = '"{path}" does not define `{name}`'
    caption = "not defined there"
