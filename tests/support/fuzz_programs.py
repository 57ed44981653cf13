"""Random programs: mutants of real ones, and nonsense that the layers' declarations say is nearly right.

All of it is drawn from one `random.Random`, so that a number stands for a program.
"""

from __future__ import annotations

import re
from random import Random

from netdsl.declare.arguments import (
    Choice,
    Dims,
    Flag,
    Initializer,
    Integer,
    Kind,
    Padding,
    Real,
    Sequence,
    Sides,
    Sizes,
)
from netdsl.declare.declared import Argument
from netdsl.elaborate.functions import BUILTINS
from netdsl.layers import find_layer, layer_modules
from tests.support.paths import ROOT
from tests.support.random_calls import Calls

CORPUS = sorted(
    text
    for folder in ("specs", "tests/difficult", "tests/golden/diagnostics", "tests/golden/syntax")
    for text in {path.read_text("utf-8") for path in (ROOT / folder).rglob("*.net")}
)
"""What is mutated: the shipped specs, difficult programs, and wrong ones."""

TOKENS = re.compile(r"[A-Za-z_]\w*|\d[\w.]*|\"[^\"\n]*\"|#[^\n]*|\n[ \t]*|[ \t]+|==|\*\*|=>|//|.", re.DOTALL)
HOSTILE = [
    *'{}()[];:,=+-*/%?.#"\n\t x0',
    *("\u2212", "\u201c", "\u00a0", "\u202e", "\x1b", "\r", "\x0b", "\u0441", "\U0001f600"),
    *("{{", "}}", "((((", "]]", "1e999", "9" * 40, "3x3", "0x0", "?x?", "3x?", "1_0", "08", "**", "=>", '"'),
    *("0", "1", "-1", "2", "3", "7", "64", "0.5", "2**40", "1000000", "[]", "[1, 2]", "[[1], [2]]", "on", "off"),
    *(
        "net a {",
        "block b {",
        "fn f(x) = ",
        "let v = ",
        "default conv ",
        "use ",
        "train ",
        "about {",
        "seq",
        "training",
    ),
    *(
        "input x 3x8x8",
        "input y 4",
        "output o",
        "from x",
        "reuse a",
        "a: ",
        "layer{i}: ",
        "expect 1",
        "expect params 1",
    ),
    *(
        "skip {",
        "} project {",
        "concat",
        "add",
        "mul",
        "concat axis 1",
        "repeat 2",
        "repeat 3 as j",
        "for i in range(3)",
    ),
    *(
        "if on {",
        "} else {",
        "match",
        "freeze {",
        "channels",
        "shape",
        "range(3)",
        "len(shape)",
        "sum([1, 2])",
        "sqrt(-1)",
    ),
]
"""Pieces that are put where they may not belong."""

FUNCTIONS = (*BUILTINS, "f0", "f1", "normal")
OPERATORS = tuple("+ - * / // % ** == != < <= > >= and or".split())  # noqa: SIM905
INPUTS = [
    *(("3x16x16", 2), ("8x9x7", 2), ("1x28x28", 2), ("3x?x?", 2), ("[4, 8*?H, 8*?H]", 2)),
    *(("4x32", 1), ("[6, ?L]", 1), ("2x6x6x6", 3), ("16", 2)),
]
"""Inputs, and the number of their spatial axes."""
MERGES = ("add", "mul", "sub", "div", "max", "min", "concat")
CUTS = ("", "k 2", "until l1", "until l1.c", "until l1.relu1")
SPREADS = ("", "", " spread on", " spread off")
CONDITIONS = ("on", "n > 1", "channels == 3", "len(shape) > 1")


def mutant(random: Random) -> str:
    """A program of the corpus, changed in a few places; now and then two are spliced."""
    text = random.choice(CORPUS)
    if random.random() < 0.2:
        other = random.choice(CORPUS)
        text = text[: random.randrange(len(text) + 1)] + other[random.randrange(len(other) + 1) :]
    change = random.choice([_characters, _tokens, _tokens, _tokens, _lines])
    return change(text, random, random.choice([1, 1, 2, 3, 8]))


def _characters(text: str, random: Random, count: int) -> str:
    for _ in range(count):
        at = random.randrange(len(text) + 1)
        end = at + random.choice([0, 0, 1, 1, 2, 10])
        new = random.choice(["", random.choice(HOSTILE), chr(random.randrange(1, 128))])
        text = text[:at] + new + text[end:]
    return text


def _tokens(text: str, random: Random, count: int) -> str:
    tokens = TOKENS.findall(text) or [""]
    for _ in range(count):
        at = random.randrange(len(tokens))
        match random.randrange(6):
            case 0:
                tokens[at] = ""
            case 1:
                tokens.insert(at, tokens[at])
            case 2:
                other = random.randrange(len(tokens))
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case 3:
                tokens[at] = random.choice(tokens)
            case 4:
                tokens.insert(at, f" {random.choice(HOSTILE)} ")
            case 5:
                numbers = [n for n, token in enumerate(tokens) if token[:1].isdigit()]
                if numbers:
                    tokens[random.choice(numbers)] = number(random)
    return "".join(tokens)


def _lines(text: str, random: Random, count: int) -> str:
    lines = text.split("\n")
    for _ in range(count):
        at, other = random.randrange(len(lines)), random.randrange(len(lines))
        match random.randrange(4):
            case 0:
                lines[at] = ""
            case 1:
                lines.insert(at, lines[other])
            case 2:
                lines[at], lines[other] = lines[other], lines[at]
            case 3:
                lines[min(at, other) : max(at, other)] = []
                lines = lines or [""]
    return "\n".join(lines)


def number(random: Random) -> str:
    """Mostly small ones, which fit somewhere."""
    return random.choice(
        ["0", "1", "1", "2", "2", "3", "4", "5", "8", "0.5", "1e-3", "16", "3x3", "-1", "2/3", "1000000000"]
    )


def settings(random: Random, text: str) -> list[str]:
    """Values for some of the parameters that a text seems to have, for `--set`."""
    names = re.findall(r"(\w+)\s*(?:in\b[^=\n]*)?=[^=]", text)
    if not names or random.random() < 0.8:
        return []
    return [f"{name}={expression(random, 1)}" for name in dict.fromkeys(random.choice(names) for _ in range(2))]


def program(random: Random) -> str:
    """A program from the declarations: many are right, all look as if they could be."""
    return _Writer(random).file()


def expression(random: Random, depth: int = 2) -> str:
    """An expression of any type."""
    if depth <= 0 or random.random() < 0.4:
        words = [
            "i",
            "j",
            "w",
            "n",
            "k",
            "channels",
            "shape",
            "on",
            "off",
            '"text"',
            "?",
            "?H",
            "x",
            "b0",
            "relu",
            "x.y",
        ]
        return random.choice([number(random), random.choice(words)])
    deeper = [expression(random, depth - 1) for _ in range(3)]
    name = random.choice(FUNCTIONS)
    return random.choice(
        [
            f"({deeper[0]} {random.choice(OPERATORS)} {deeper[1]})",
            f"({deeper[0]} if {deeper[1]} else {deeper[2]})",
            f"[{', '.join(deeper[: random.randrange(4)])}]",
            f"{name}({', '.join(deeper[: random.randrange(1, 3)])})",
            f"[{deeper[0]}, {deeper[1]}][{deeper[2]}]",
            f"[{deeper[0]} for {random.choice('ijk')} in {deeper[1]} if {deeper[2]}]",
            f"[{random.choice(['w', deeper[0]])} for w, k in [[1, 2], {deeper[1]}] for i in range(3)]",
            f"{deeper[0]}[{random.choice(['', deeper[1]])}:{random.choice(['', deeper[2]])}]",
            f"(-{deeper[0]})",
            f"(not {deeper[0]})",
            f"match {deeper[0]} {{ {deeper[1]} => 1; _ => {deeper[2]} }}",
        ]
    )


WITH_OPERANDS = [name for name in layer_modules() if (cls := find_layer(name)) and (cls.operands or cls.values)]
"""Layers that read several values, which seldom fit by chance."""


class _Writer:
    """Writes one file. `labels` are those that were defined, whether or not they can be seen."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.labels = ["x"]
        self.wild = random.choice([0.0, 0.0, 0.02, 0.1])
        """How often it writes what cannot be right but by chance."""
        self.blocks: list[str] = []
        self.has_part = False
        self.rank = 2
        wild = ("input", "embedding", "reshape", "permute", "crop", "slice")
        self.calm = [name for name in layer_modules() if name not in wild]

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def file(self) -> str:
        parts = [f"fn f0(a) = a + 1\nfn f1(a, b) = {expression(self.random) if self.chance(self.wild) else 'a * b'}"]
        if self.chance(0.3):
            parts.append(f"default conv {self.random.choice(['bias off', 'pad 0', 'stride 1', 'init normal(0.1)'])}")
        for number_ in range(self.random.randrange(3)):
            self.labels, kept = [], self.labels
            seq = self.random.choice(["", " seq"])
            again = f"; if k > {self.random.choice('0012')} {{ b{number_} w (k - 1) }}" if self.chance(0.1) else ""
            parts.append(f"block b{number_}(w, k = 3){seq} {self.body(2)[:-1]}{again} }}")
            self.labels = kept
            self.blocks.append(f"b{number_}")
        size, self.rank = self.random.choice(INPUTS)
        self.has_part = self.chance(0.3)
        if self.has_part:
            self.labels, kept = [], self.labels
            body = self.body(2) if self.chance(self.wild) else "{ relu; c: identity }"
            parts.append(f"net part(k = 3) {{\n  input y {size}\n  l1: {body}\n  {self.call()}\n}}")
            self.labels = kept
        domain = self.random.choice(["", " in [1, 2, 4]"])
        statements = self.statements(self.random.randrange(1, 9), 3)
        if self.chance(0.3):
            name = self.random.choice(WITH_OPERANDS)
            statements += "\n" + "\n".join(Calls(self.random.randrange(2**32), "q_").statements(name))
        parts.append(f"net a(n{domain} = 2) {{\n  input x {size}\n{statements}\n}}")
        return "\n\n".join(parts) + "\n"

    def body(self, depth: int) -> str:
        return "{ " + self.statements(self.random.randrange(4), depth - 1).replace("\n", "; ") + " }"

    def statements(self, count: int, depth: int) -> str:
        return "\n".join(self.statement(depth) for _ in range(count))

    def statement(self, depth: int) -> str:
        if depth <= 0 or self.chance(0.5):
            return self.call()
        random, body = self.random, self.body
        label = random.choice(self.labels or ["x"])
        count = random.choice(["0", "1", "2", "3", "n", expression(random) if self.chance(self.wild) else "2"])
        same = "{ conv 3x3 channels; relu }" if self.chance(0.7) else body(depth)
        return random.choice(
            [
                lambda: self.labelled(depth),
                lambda: f"repeat {count} as j {body(depth)}",
                lambda: f"for i in range({count}) {body(depth)}",
                lambda: f"for i, w in [[1, 2], [2, 4]] {body(depth)}",
                lambda: f"skip {same}{random.choice(['', f' project {body(depth)}'])}",
                lambda: f"skip if {expression(random) if self.chance(self.wild) else 'n > 1'} {body(depth)}",
                lambda: f"{random.choice(MERGES)}{random.choice(SPREADS)} {same} {label if self.labels else '{ }'}",
                lambda: f"concat {body(depth)} {body(depth)}",
                lambda: f"add for i in range({count}) {same}",
                lambda: f"if {random.choice(CONDITIONS)} {body(depth)} else {body(depth)}",
                lambda: f"from {label}",
                lambda: f"reuse {label}" if label != "x" or self.chance(self.wild) else "relu",
                lambda: f"let v{random.randrange(9)} = {expression(random) if self.chance(self.wild) else 'channels'}",
                lambda: f"output o{random.randrange(9)} {random.choice(['', 'training '])}{body(depth)}",
                lambda: f"output o{{len(shape)}}_{random.randrange(99)} {body(depth)}",
                lambda: f"for i in range({count}) {{ output t{{i}}; input z{random.randrange(9)}{{i}} 4 }}",
                lambda: f"expect {random.choice(['[channels]', 'shape', 'params 0', 'macs 0', expression(random)])}",
                lambda: (
                    f"default {random.choice(self.calm)} {expression(random)}" if self.chance(self.wild) else "identity"
                ),
                lambda: f"freeze {body(depth)}",
                lambda: f"s{random.randrange(9)}: seq {{ {self.call()}; seq {body(depth)} }}",
                lambda: f"seq {body(depth)}" if self.chance(self.wild) else "relu",
                lambda: f'about {{ year {number(random)}; paper "p" {{ a b }} }}',
                lambda: f"{random.choice(self.blocks)} {number(random)} k {number(random)}" if self.blocks else "relu",
                lambda: f"from x; p{random.randrange(99)}: part {random.choice(CUTS)}" if self.sees_part() else "relu",
            ]
        )()

    def sees_part(self) -> bool:
        """Whether a statement can apply the net `part` to the input of the net."""
        return self.has_part and ("x" in self.labels or self.chance(self.wild))

    def labelled(self, depth: int) -> str:
        label = f"l{len(self.labels)}"
        holed = self.chance(0.1)
        inner = self.random.choice([lambda: self.body(depth), lambda: f"seq {self.body(depth)}", self.call])()
        self.labels.append(label)
        return f"{label}{'{n}' if holed else ''}: {inner}"

    def call(self) -> str:
        names = list(layer_modules()) if self.chance(0.2) else self.calm
        kind = self.random.choice([*names, "conv", "conv", "relu", "bn", "dense"])
        cls = find_layer(kind)
        assert cls is not None
        if cls.variadic or kind == "input" or (cls.operands and 0 not in cls.operands):
            return "relu"
        words = [kind]
        for argument in sorted(cls.arguments.values(), key=lambda argument: argument.keyword):
            if argument.required or self.chance(0.25):
                value = self.value(argument.kind)
                words.append(f"{argument.name} {value}" if argument.keyword else value)
            elif not argument.keyword:
                words = words if not self.later_places(cls.arguments, argument) else [*words, self.value(argument.kind)]
        return " ".join(words)

    @staticmethod
    def later_places(arguments: dict[str, Argument], argument: Argument) -> bool:
        """Whether something that must be given by place comes after this one."""
        places = [other for other in arguments.values() if not other.keyword]
        return any(other.required for other in places[places.index(argument) + 1 :])

    def value(self, kind: Kind) -> str:
        """A value that an argument of this kind takes, unless it is to be wild."""
        random = self.random
        if self.chance(self.wild):
            return expression(random)
        if kind.words and self.chance(0.5):
            return random.choice(kind.words)
        match kind:
            case Padding() | Sides():
                return random.choice(["0", "1", "2", str([random.randrange(2) for _ in range(2 * self.rank)])])
            case Sizes():
                return random.choice(["1", "2", "3", str([random.randint(1, 3) for _ in range(self.rank)])])
            case Sequence():
                return f"[{', '.join(self.value(kind.item) for _ in range(random.randrange(1, 4)))}]"
            case Dims():
                return random.choice(["4", "2x2", "3x16x16", "8x2", "[channels, -1]", "shape"])
            case Integer():
                low, high = max(kind.minimum, -3), min(kind.maximum, 9)
                found = random.randint(low, max(low, high))
                return random.choice([f"({found | 1 if kind.odd else found})", str(abs(found) | 1), "channels"])
            case Real():
                return random.choice(["0", "0.5", "1", "2", "1e-3", "1/3"])
            case Flag():
                return random.choice(["on", "off"])
            case Initializer():
                return random.choice(["zeros", "normal(0.1)", "uniform(-1, 1)", "constant(0.5)"])
            case Choice():
                return random.choice(kind.words)
        return expression(random, 1)
