"""Describe an option of the command line."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes as long as half of Python's start
if TYPE_CHECKING:
    from collections.abc import Callable


class Option:
    """An option, or an argument without dashes.

    `spelled` is how the help shows it: `-o, --output OUT.onnx` takes a value, `--force` is a switch, and `FILE` is an
    argument. `commands` lists who takes it; "" means all. A default is written as on the command line and appended to
    the help.
    """

    __slots__ = (
        "choices",
        "commands",
        "completes",
        "const",
        "default",
        "dest",
        "exclusive",
        "former",
        "group",
        "help",
        "metavar",
        "names",
        "nargs",
        "repeated",
        "type",
    )

    def __init__(
        self,
        commands: str,
        spelled: str,
        help: str,
        *,
        group: str = "",
        type: Callable[[str], object] | None = None,
        choices: tuple[str, ...] = (),
        default: str | None = None,
        nargs: int | str | None = None,
        repeated: bool = False,
        dest: str = "",
        completes: str = "",
        exclusive: str = "",
        former: str = "",
        const: str | None = None,
    ) -> None:
        """`repeated` options can be given several times, and add to a list. Of the options with the same `exclusive`,
        a command takes one. `former` is an old name that is accepted and not shown. `const` is
        the value where it is left out."""
        words = spelled.split(" ") if spelled.startswith("-") else [spelled]
        self.commands = commands.split()
        self.names = [word.rstrip(",") for word in words if word.startswith("-")]
        self.metavar = words[len(self.names) :]
        self.dest = dest or (self.names or self.metavar)[-1].lstrip("-").replace("-", "_").lower()
        self.help = help if default is None else f"{help} (default: {default})"
        self.group = group
        self.type = type
        self.choices = choices
        self.default = default
        self.nargs = nargs
        self.repeated = repeated
        self.completes = completes
        self.exclusive = exclusive
        self.former = former
        self.const = const

    @property
    def is_switch(self) -> bool:
        return not self.metavar
