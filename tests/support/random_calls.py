"""Random calls of every layer over the ranges of its arguments, with operands that fit."""

from __future__ import annotations

import random
import re

from netdsl.base.shape import Size
from netdsl.declare import arguments as kinds
from netdsl.diagnostics.problem import Problem
from netdsl.layers import find_layer, layer_modules
from netdsl.layers.base import Layer
from tests.support.programs import try_net

USUAL = (1, 1, 2, 2, 3, 3, 4, 5, 6)
EXTREME = (-(2**31), -7, -2, -1, 0, 7, 8, 9, 16, 31, 100, 65_536, 2**31 - 2, 2**31 - 1, 2**31, 2**63, 10**20)
REALS = ("0", "1", "(-1)", "0.5", "(-0.5)", "2", "1e-3", "1/3", "0.999")
EXTREME_REALS = (
    *("1e39", "(-1e39)", "1e308", "1e38", "(-3e38)", "1e-30", "1e-38", "1e-40", "1e-50", "(-1e-300)", "1e-7", "70000"),
    *("10**40", "10**400", "1/10**50", "0.99999999999", "16777217"),
)
INITIALISERS = (
    *("he_normal", "he_uniform", "xavier_normal", "xavier_uniform", "zeros", "ones"),
    *("normal(0.1)", "normal(0)", "trunc_normal(0.1)", "uniform(-1, 1)", "constant(2)", "constant(-1)"),
)
EXTREME_INITIALISERS = (
    *("orthogonal", "sinusoid", "bilinear", "trunc_normal(0)", "trunc_normal(1e39)", "normal(1e39)", "normal(1e38)"),
    *("uniform(1, -1)", "uniform(-3e38, 3e38)", "uniform(0, 1e40)", "constant(1e39)", "constant(1e-50)"),
)
BRANCHES = (
    *("{ }", "{ }", "{ relu }", "{ conv 1 channels }", "{ global_avgpool }", "{ select [0] }", "{ flatten }"),
    *("{ maxpool 2 ceil on }", "{ dense 3 }", "{ reduce mean 0 }", "{ scale 2 }"),
)


TRIES = 20
"""Maximum number of times that the values of a call are changed."""

DRAWS = 3
"""Maximum number of calls of a layer that are drawn; the last one may be refused."""


class Given:
    """A value that a call receives: an input, or the result of a statement after it."""

    def __init__(self, shape: list[str], dtype: str = "f32", through: str = "", typed: bool = False) -> None:
        self.shape = shape
        self.dtype = dtype
        self.through = through
        self.typed = typed

    def shaped(self, shape: list[str]) -> Given:
        return Given(shape, self.dtype, self.through, self.typed)

    def text(self, name: str) -> str:
        type_ = "" if self.dtype == "f32" else f" dtype {self.dtype}"
        made = f"; {name}: {self.through}" if self.through else ""
        return f"input {name}{'_' if made else ''} [{', '.join(self.shape)}]{type_}{made}"


class Calls:
    """Draw programs of one layer call each, whose labels begin with a prefix."""

    def __init__(self, seed: int, prefix: str = "") -> None:
        self.random = random.Random(seed)
        self.prefix = prefix
        self.given: dict[str, Given] = {}
        """The values of the call that is being written, by their labels."""

    def program(self, name: str) -> str:
        """Return a net that calls a layer once, in its last statement."""
        return f"net n {{ {'; '.join(self.statements(name))} }}"

    def statements(self, name: str) -> list[str]:
        """Return inputs, and a call of a layer after them."""
        wild = self.random.random() < 0.3
        layer = find_layer(name)
        assert layer is not None
        if name == "input":
            shape = f"[{', '.join(self.shape(wild))}]"
            return [f"input {self.prefix}x {shape} {self.call(layer, wild).partition(' ')[2]}", "identity"]
        for _ in range(DRAWS):
            call = self.drawn(layer, wild)
            if wild or not (layer.operands or layer.values) or self.fits(call):
                break
        shares = [a.name for a in layer.arguments.values() if isinstance(a.kind, kinds.LayerLabel)]
        if shares and self.random.random() < 0.2:
            x, t = f"{self.prefix}x", f"{self.prefix}t"
            return [*self.written(call)[:-1], f"{t}: {call}", f"from {x}", f"{call} {shares[0]} {t}"]
        return self.written(call)

    def drawn(self, layer: type[Layer], wild: bool) -> str:
        """Return a call, with its values in `given`."""
        self.given = {}
        operands = self.operands(layer)
        call = " ".join([self.call(layer, wild), *operands])
        if not operands or layer.flow_first or "{" in call:
            words = layer.kind == "embedding" or self.random.random() < 0.03
            self.given[f"{self.prefix}x"] = Given(self.shape(wild), "i64" if words else "f32")
        return call

    def written(self, call: str) -> list[str]:
        return [*(value.text(name) for name, value in self.given.items()), call]

    def fits(self, call: str) -> bool:
        """Change the shapes and types of the values until the layer accepts them; return whether it does.

        What does not fit is changed at random, mostly to what the layer's problem says. A change that leads back to a
        problem that was there before is usually undone.
        """
        seen: list[str] = []
        kept = dict(self.given)
        for _ in range(TRIES):
            net, report = try_net(f"net n {{ {'; '.join(self.written(call))} }}")
            if net is not None:
                return True
            key = " ".join(f"{problem.code} {problem.span.text}" for problem in report)
            if key not in seen:
                seen.append(key)
            if seen[-1] == key or self.random.random() < 0.15:
                kept = dict(self.given)
            self.given = dict(kept)
            self.change(list(report))
        return False

    def change(self, problems: list[Problem]) -> None:
        """Change a value, or give all untyped ones its shape."""
        hints = Hints(problems)
        shapes = [shape for shape in hints.shapes if all(shape != each.shape for each in self.given.values())]
        name = self.random.choice(list(self.given))
        value = self.given[name].shaped(self.given[name].shape)
        if hints.types and not value.typed:
            value.dtype = self.random.choice(hints.types)
        elif shapes and self.random.random() < 0.5:
            value.shape = list(self.random.choice(shapes))
        elif self.random.random() < 0.2:
            value.shape = self.shape(False)
        else:
            value.shape = self.neighbor(hints.sizes)
        self.given[name] = value
        if self.random.random() < 0.2:
            self.given = {key: each if each.typed else each.shaped(value.shape) for key, each in self.given.items()}

    def neighbor(self, sizes: list[str]) -> list[str]:
        """Return a shape like that of one of the values."""
        shape = list(self.random.choice(list(self.given.values())).shape)
        at = self.random.choice((0, self.random.randrange(len(shape))))
        others = [*shape, "1", "2", "3", "4", "6", "8"]
        size = self.random.choice(sizes if sizes and self.random.random() < 0.4 else others)
        match self.random.randrange(8):
            case 0 | 1:
                shape[at] = size
            case 5:
                shape = [size]
            case 2:
                shape.insert(at, size)
            case 3:
                shape = [*shape[:at], *shape[at + 1 :]] or [size]
            case 4:
                shape[at], shape[-1] = shape[-1], shape[at]
        return shape[:8]

    def shape(self, wild: bool) -> list[str]:
        rank = self.random.choice((1, 2, 2, 3, 3, 3, 4, 4) if not wild else (1, 2, 3, 4, 5))
        sizes = [str(self.random.choice((1, 2, 3, 4, 6, 8)))]
        sizes += [str(self.random.choice((1, 1, 2, 3, 4, 5, 7, 9))) for _ in range(rank - 1)]
        if self.random.random() < 0.15:
            at = self.random.randrange(1 if rank > 1 else 0, rank)
            sizes[at] = self.random.choice(("?H", "2*?H", "?H + 3"))
        return sizes

    def call(self, layer: type[Layer], wild: bool) -> str:
        parts = [layer.kind]
        if layer.kind == "input":
            chosen = [a for a in layer.arguments.values() if a.keyword and self.random.random() < 0.3]
            return " ".join([layer.kind, *(f"{a.name} {self.value(a.kind, wild)}" for a in chosen)])
        for argument in layer.arguments.values():
            if not argument.keyword:
                if not argument.required and self.random.random() < 0.3:
                    break
                parts.append(self.value(argument.kind, wild))
        keywords = [a for a in layer.arguments.values() if a.keyword and not isinstance(a.kind, kinds.LayerLabel)]
        parts += [f"{a.name} {self.value(a.kind, wild)}" for a in keywords if a.required or self.random.random() < 0.4]
        return " ".join(parts)

    def operands(self, layer: type[Layer]) -> list[str]:
        if layer.variadic and self.random.random() < 0.7:
            return self.random.choices(BRANCHES, k=self.random.choice((1, 2, 2, 3)))
        count = self.random.choice(list(layer.operands)[:4] or [0])
        through = ""
        if layer.seeing is not Layer.seeing:  # what it depends on, so far, are states
            stateful = [name for name in layer_modules() if (cls := find_layer(name)) and cls.stateful]
            kind = find_layer(self.random.choice(stateful))
            assert kind is not None
            through = self.call(kind, False)
        bare = 0.0 if through else 0.2
        return ["{ }" if self.random.random() < bare else self.label("", through) for _ in range(count)]

    def label(self, dtype: str, through: str = "") -> str:
        """Return the label of a new value, of the type that its keyword declares, if any; often of a shape that another
        value has."""
        label = self.prefix + "abcdefghij"[len(self.given)]
        known = [*self.given.values()]
        shape = self.random.choice(known).shape if known and self.random.random() < 0.6 else self.shape(False)
        self.given[label] = Given(shape, dtype or "f32", through, typed=bool(dtype))
        return label

    def value(self, kind: kinds.Kind, wild: bool) -> str:
        """Return a value for an argument of this kind: usually valid, sometimes not."""
        if isinstance(kind, kinds.Flag):
            return self.random.choice(("on", "off"))
        if isinstance(kind, kinds.Operand):
            return self.label(kind.dtype)
        if isinstance(kind, kinds.Initializer):
            return self.random.choice(EXTREME_INITIALISERS if wild else INITIALISERS)
        if kind.words or isinstance(kind, kinds.Choice):
            words = kind.words or getattr(kind, "words", ())
            if isinstance(kind, kinds.Choice) or self.random.random() < 0.4:
                return str(self.random.choice(words))
        if isinstance(kind, kinds.Real):
            if wild:
                return self.random.choice(EXTREME_REALS if self.random.random() < 0.6 else REALS)
            return self.random.choice([real for real in REALS if accepts(kind, real)] or REALS)
        if isinstance(kind, kinds.Integer):
            return self.integer(kind.minimum, wild)
        if isinstance(kind, (kinds.Sequence, kinds.Dims)):
            return self.listed(kind, wild)
        return self.integer(1, wild)

    def listed(self, kind: kinds.Kind, wild: bool) -> str:
        item = kind.item if isinstance(kind, kinds.Sequence) else kinds.Integer()
        if isinstance(kind, kinds.Sizes) and self.random.random() < 0.5:
            return self.integer(getattr(item, "minimum", 1), wild)
        both = isinstance(kind, (kinds.Padding, kinds.Sides)) + 1
        lengths = tuple(both * n for n in (1, 2, 2, 3)) if isinstance(kind, kinds.Sizes) else (1, 2, 3, 4)
        entries = [self.value(item, wild) for _ in range(self.random.choice(lengths))]
        return f"[{', '.join(entries)}]"

    def integer(self, minimum: int, wild: bool) -> str:
        if wild and self.random.random() < 0.5:
            number = self.random.choice(EXTREME)
        else:
            number = self.random.choice((*USUAL, max(minimum, 0)))
            number = -number if minimum < 0 and self.random.random() < 0.3 else number
        return str(number) if number >= 0 else f"({number})"


def accepts(kind: kinds.Real, real: str) -> bool:
    try:
        kind.convert(eval(real))
    except kinds.ValueMisfit:
        return False
    return True


class Hints:
    """What the data of problems suggest: types, shapes, and sizes of axes."""

    def __init__(self, problems: list[Problem]) -> None:
        self.types: list[str] = []
        self.shapes: list[list[str]] = []
        self.sizes: list[str] = []
        for problem in problems:
            for field in problem.fields:
                self.add(getattr(problem, field))

    def add(self, data: object) -> None:
        if data in kinds.INPUT_DTYPES:
            self.types.append(str(data))
        elif isinstance(data, int | Size) and not isinstance(data, bool):
            self.sizes.append(written(data))
            self.shapes.append([written(data)])
        elif isinstance(data, tuple) and data:
            if all(isinstance(each, int | Size) for each in data):
                self.shapes.append([*map(written, data)])
            else:
                for each in data:
                    self.add(each)


def written(size: int | Size) -> str:
    return re.sub(r"[A-Z]", r"?\g<0>", str(size))
