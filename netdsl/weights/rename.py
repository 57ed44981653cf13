"""Rename weights to a net's names, by rules of regular expressions and replacements.

A rename file has one rule per line, `PATTERN -> TO`. A `#` at the start of a line or after whitespace begins a comment.
`resnet.rename` next to `resnet.net` is used automatically. Patterns are regular expressions of Python, and match
anywhere in a name. In TO, `$1` is the first group, `${name}` a named group, `$0` the whole match, and `$$` a dollar
sign. If TO is `nothing` or `-`, weights with matching names are dropped; if it ends in ` transposed`, they are
transposed.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from netdsl.base.files import read_text
from netdsl.base.paths import data
from netdsl.base.shape import format_shape
from netdsl.weights.check import is_ignored
from netdsl.weights.errors import BadRename
from netdsl.weights.file import WeightView

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from netdsl.weights.file import WeightFile

RENAME_SUFFIX = ".rename"
ZOO_FOLDER = "zoo/"
_ARROW = " -> "
COMMENT = re.compile(r"(^|\s)#.*")
DROPS = ("nothing", "-")
SHORT = {"--drop": "nothing", "--transpose": "$0 transposed"}
"""Options for rules, with the replacement that they stand for."""

TRANSPOSED = re.compile(r"\s+transposed\Z")
REFERENCE = re.compile(r"\$(?:(\d+)|\{(\w+)\}|(\$)|(.?))")


class Rule:
    """A pattern and its replacement, or if `drops`, a pattern of names to drop. If it `transposes`, so are tensors with
    matching names. `place` is for messages."""

    __slots__ = ("drops", "pattern", "place", "to", "transposes")

    def __init__(self, pattern: str, to: str, place: str) -> None:
        self.place = place
        self.drops = to in DROPS
        found = TRANSPOSED.search(f" {to}")
        self.transposes = found is not None
        if found is not None:
            to = f" {to}"[: found.start()].strip()
            if not to:
                raise BadRename(f"{place}: the new name is missing before `transposed`; `$0 transposed` keeps the name")
            if to in DROPS:
                raise BadRename(f"{place}: a dropped weight cannot be transposed")
        try:
            self.pattern = re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise BadRename(f"{place}: `{pattern}` is not a regular expression: {error}") from None
        self.to = [self._piece(piece) for piece in self._pieces(to)]

    def _pieces(self, to: str) -> list[str | re.Match[str]]:
        pieces: list[str | re.Match[str]] = []
        at = 0
        for found in REFERENCE.finditer(to):
            pieces += [to[at : found.start()], found]
            at = found.end()
        return [*pieces, to[at:]]

    def _piece(self, piece: str | re.Match[str]) -> str | int:
        """Return a literal string, or the number of a group."""
        if isinstance(piece, str):
            return piece
        number, name, dollar, _ = piece.groups()
        if dollar:
            return "$"
        word = number or name or ""
        if word.isdecimal() and len(word) < 4 and int(word) <= self.pattern.groups:
            return int(word)
        if word in self.pattern.groupindex:
            return self.pattern.groupindex[word]
        told = f"the pattern has {self.pattern.groups} groups" if word else "a dollar is written `$$`"
        raise BadRename(f"{self.place}: what is `{piece[0]}`? {told}")

    def apply(self, name: str) -> str | None:
        """Return the new name; None if the weight is dropped."""
        if self.drops:
            return None if self.pattern.search(name) else name

        def replaced(found: re.Match[str]) -> str:
            return "".join(piece if isinstance(piece, str) else found[piece] or "" for piece in self.to)

        return self.pattern.sub(replaced, name)


def option_rules(pairs: Iterable[Sequence[str]]) -> list[Rule]:
    """Return the rules of `--rename PATTERN TO`, `--drop PATTERN` and `--transpose PATTERN`, the last two with SHORT
    instead of TO. Raises BadRename."""
    places = ((p, to, f"{to} '{p}'" if to in SHORT else f"--rename '{p}' '{to}'") for p, to in pairs)
    return [Rule(pattern, SHORT.get(to, to), place) for pattern, to, place in places]


def read_rules(path: str) -> list[Rule]:
    """Read the rules of a file. Raises BadRename, or UserError if it cannot be read."""
    rules = []
    for number, text in enumerate(read_text(path).removeprefix("\ufeff").splitlines(), 1):
        line = COMMENT.sub("", text).strip()
        if not line:
            continue
        pattern, arrow, to = f"{line} ".partition(_ARROW)
        place = f"{path}:{number}"
        if not arrow or _ARROW in f" {to}" or not pattern.strip():
            raise BadRename(f"{place}: `{line}` is not of the form PATTERN -> TO")
        rules.append(Rule(pattern.strip(), to.strip(), place))
    return rules


def beside(spec: str) -> str | None:
    """Return the rename file next to a `.net` file, or None. `spec` is the file's name in messages."""
    if not spec.endswith(".net"):
        return None
    name = spec.removesuffix(".net") + RENAME_SUFFIX
    if spec.startswith(ZOO_FOLDER) and not os.path.lexists(spec):
        name = os.path.join(data("specs"), name.removeprefix(ZOO_FOLDER))
    return name if os.path.isfile(name) else None


def apply_rules(file: WeightFile, rules: Sequence[Rule], *, turn_known: bool = True) -> WeightView:
    """Return the file's weights under their new names: each rule applies to the result of the previous one.

    Only matrices in the file's own layout can be transposed. In Keras files and graphs, the layout is known, and
    weights are in netdsl's already: `turn_known=False` leaves them as they are. Raises BadRename for other tensors that
    a rule would transpose.
    """
    names: dict[str, str] = {}
    doubled: dict[str, list[str]] = {}
    transposed: dict[str, Rule] = {}
    for key in file.entries:
        name: str | None = key
        for rule in rules:
            if name is None:
                break
            known = file.keras is not None or file.entries[key].use is not None
            if rule.transposes and rule.pattern.search(name) and (turn_known or not known):
                _check_transposable(file, key, rule, known, transposed.get(key))
                transposed[key] = rule
            name = rule.apply(name)
        if name is None:
            continue
        if name in names and not is_ignored(name):
            doubled.setdefault(name, [names[name]]).append(key)
        names.setdefault(name, key)
    return WeightView(file, names, doubled=doubled, transposed=[n for n, key in names.items() if key in transposed])


def _check_transposable(file: WeightFile, key: str, rule: Rule, known: bool, before: Rule | None) -> None:
    """Raise BadRename unless a rule can transpose this tensor, whose layout may be known, and which the rule `before`
    may have transposed already."""
    entry = file.entries[key]
    if len(entry.shape) != 2:
        size = f"is {format_shape(entry.shape)}" if entry.shape else "is a single number"
        raise BadRename(
            f"{rule.place} transposes `{key}` of {file.path}, which {size}",
            "only matrices can be transposed: make the pattern match only them, such as `weight$`",
        )
    if before is not None or key in file.transposed:
        first = "an option" if before is None else before.place
        raise BadRename(
            f"`{key}` of {file.path} is transposed twice: by {first} and by {rule.place}",
            "leave it out of one of the two",
        )
    if known:
        why = "Keras's order" if file.keras is not None else "the graph"
        raise BadRename(
            f"{rule.place} transposes `{key}` of {file.path}, whose layout is known from {why}", "leave this rule out"
        )


def check_used(rules: Iterable[Rule], file: WeightFile) -> None:
    """Raise BadRename if a rule changes no name, and transposes nothing."""
    names = set(file.entries)
    for rule in rules:
        after = {new for name in names if (new := rule.apply(name)) is not None}
        if after == names and not (rule.transposes and any(map(rule.pattern.search, names))):
            known = ", ".join(list(file.entries)[:5]) + ", …" * (len(file.entries) > 5)
            what = "matches no" if rule.transposes else "changes no"
            raise BadRename(f"{rule.place} {what} name of {file.path}, which has {known}")
        names = after
