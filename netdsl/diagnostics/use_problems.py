"""Problems of `use`: files that are missing, out of bounds, or in a circle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.diagnostics.problem import Help, Problem, meant, problem

if TYPE_CHECKING:
    from collections.abc import Iterable


@problem("E0501", "a file that cannot be used")
class CannotUse(Problem):
    """The path of a `use` is relative to the file that has it, and the file must be there and readable.

    ```net fail
    use "nowhere.net"
    net bad { input x 784; dense 10 }
    ```

    ```net mended
    use "zoo/resnet.net"
    net good { input x 3x224x224; basic 64; dense 10 }
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

    ```net mended
    use "zoo/resnet.net"
    net good { input x 3x224x224; basic 64; dense 10 }
    ```
    """

    path: str

    def message(self) -> str:
        return f'"{self.path}" leaves the root' if self._relative else f'"{self.path}" is not a path below the root'

    def label(self) -> str:
        return "outside of the root, the folder of the file that was asked for"

    def helps(self) -> Iterable[Help]:
        if self._relative:
            yield Help("name the common folder with `--root DIR`")
        else:
            yield Help("bring the file into the root, and write its path relative to this file")

    @property
    def _relative(self) -> bool:
        return bool(self.path) and not self.path.startswith(("/", "\\")) and ":" not in self.path


@problem("E0503", "files that use one another in a circle")
class UseCycle(Problem):
    """A file cannot be read before itself.

    ```net fail
    use "main.net"
    net bad { input x 784; dense 10 }
    ```

    ```net mended
    block b { relu }
    net good { input x 784; b; dense 10 }
    ```
    """

    cycle: tuple[str, ...]

    def message(self) -> str:
        if len(self.cycle) == 2:
            return "this file uses itself"
        return f"these files use one another: {' → '.join(self.cycle)}"

    def label(self) -> str:
        return "this closes the circle"


@problem("E0504", "a name that the used file does not define")
class NotInFile(Problem):
    """`use NAME from "file.net"` takes a net, block, function or value that the file itself defines.

    ```net fail
    use bottelneck from "zoo/resnet.net"
    net bad { input x 784; dense 10 }
    ```

    ```net mended
    use bottleneck from "zoo/resnet.net"
    net good { input x 3x224x224; bottleneck 64; dense 10 }
    ```
    """

    name: str
    path: str
    candidates: tuple[str, ...]

    def message(self) -> str:
        return f'"{self.path}" does not define `{self.name}`'

    def label(self) -> str:
        return "not defined there"

    def helps(self) -> Iterable[Help]:
        yield from meant(self.span, self.name, self.candidates)
