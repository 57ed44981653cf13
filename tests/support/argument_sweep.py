"""Random calls of every layer over the ranges of its arguments: valid, at the bounds, and beyond them.

`python -m tests.support.argument_sweep --count 20000 --seed 1` runs more of them than the tests do.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from tests.support.paths import TESTS

sys.path[:0] = [str(TESTS)]

from netdsl.backend.compile import CompileOptions, compile_to_bytes  # noqa: E402
from netdsl.backend.emit import OPSETS, check, emit  # noqa: E402
from netdsl.backend.quantize import quantize  # noqa: E402
from netdsl.backend.serialize import to_bytes  # noqa: E402
from netdsl.base.shape import Size  # noqa: E402
from netdsl.base.user_error import UserError  # noqa: E402
from netdsl.declare import arguments as kinds  # noqa: E402
from netdsl.declare.declared import Argument  # noqa: E402
from netdsl.ir.net import Net  # noqa: E402
from netdsl.layers import find_layer, layer_modules  # noqa: E402
from netdsl.layers.base import Layer  # noqa: E402
from netdsl.lower import lower  # noqa: E402
from netdsl.train.export import NeedsNewerOpset, step_to_bytes  # noqa: E402
from tests.support.exact import evaluator  # noqa: E402
from tests.support.programs import try_net  # noqa: E402
from tests.support.recipe_tools import recipe_of  # noqa: E402

ELEMENTS = 200_000
"""Maximum number of elements of a value or weight in a model that is loaded and run."""

USUAL = (1, 1, 2, 2, 3, 3, 4, 5, 6)
EXTREME = (-(2**31), -7, -2, -1, 0, 7, 8, 9, 16, 31, 100, 65_536, 2**31 - 2, 2**31 - 1, 2**31, 2**63, 10**20)
REALS = ("0", "1", "(-1)", "0.5", "(-0.5)", "2", "1e-3", "1/3", "0.999")
EXTREME_REALS = (
    *("1e39", "(-1e39)", "1e308", "1e38", "(-3e38)", "1e-30", "1e-38", "1e-40", "1e-50", "(-1e-300)", "1e-7", "70000"),
    *("10**40", "10**400", "1/10**50", "0.99999999999", "16777217"),
)
INITIALISERS = (
    *("he_normal", "he_uniform", "xavier_normal", "xavier_uniform", "zeros", "ones", "orthogonal", "normal(0.1)"),
    *("trunc_normal(0.1)", "trunc_normal(0)", "trunc_normal(1e39)", "sinusoid", "bilinear"),
    *("normal(0)", "normal(1e39)", "normal(1e38)", "uniform(-1, 1)", "uniform(1, -1)", "uniform(0, 0)"),
    *("uniform(-3e38, 3e38)", "uniform(0, 1e40)", "constant(2)", "constant(1e39)", "constant(1e-50)", "constant(-1)"),
)
UNDEFINED = ("sqrt", "log", "div")
"""Layers that are not finite everywhere."""

STEEP = ("sign", "step", "exp", "norm", "bn", "softmax", "div", "lrn", "square", "argmax", "indices")
"""Layers that make much of a small difference, or of values that vary little."""

BRANCHES = (
    *("{ }", "{ }", "{ relu }", "{ conv 1 channels }", "{ global_avgpool }", "{ select [0] }", "{ flatten }"),
    *("{ maxpool 2 ceil on }", "{ dense 3 }", "{ reduce mean 0 }", "{ scale 2 }"),
)


class Calls:
    """Draw programs of one layer call each."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def program(self, name: str) -> str:
        """Return a net that calls a layer once."""
        wild = self.random.random() < 0.3
        layer = find_layer(name)
        assert layer is not None
        if name == "input":
            return f"net n {{ input x {self.shape(wild)} {self.call(layer, wild).partition(' ')[2]}; identity }}"
        words = name == "embedding" or self.random.random() < 0.03
        shape = self.shape(wild) + (" dtype i64" if words else "")
        return f"net n {{ input x {shape}; {self.call(layer, wild)} }}"

    def shape(self, wild: bool) -> str:
        rank = self.random.choice((1, 2, 2, 3, 3, 3, 4, 4) if not wild else (1, 2, 3, 4, 5))
        sizes = [str(self.random.choice((1, 2, 3, 4, 6, 8)))]
        sizes += [str(self.random.choice((1, 1, 2, 3, 4, 5, 7, 9))) for _ in range(rank - 1)]
        if self.random.random() < 0.15:
            at = self.random.randrange(1 if rank > 1 else 0, rank)
            sizes[at] = self.random.choice(("?H", "2*?H", "?H + 3"))
        return f"[{', '.join(sizes)}]"

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
        keywords = [a for a in layer.arguments.values() if a.keyword]
        parts += [f"{a.name} {self.given(a, wild)}" for a in keywords if a.required or self.random.random() < 0.4]
        if layer.variadic:
            parts += self.random.choices(BRANCHES, k=self.random.choice((1, 2, 2, 3)))
        return " ".join(parts)

    def given(self, argument: Argument, wild: bool) -> str:
        return self.value(argument.kind, wild)

    def value(self, kind: kinds.Kind, wild: bool) -> str:
        """Return a value for an argument of this kind: usually valid, sometimes not."""
        if isinstance(kind, kinds.Flag):
            return self.random.choice(("on", "off"))
        if isinstance(kind, kinds.Operand):
            return "x"
        if isinstance(kind, kinds.Initializer):
            return self.random.choice(INITIALISERS)
        if kind.words or isinstance(kind, kinds.Choice):
            words = kind.words or getattr(kind, "words", ())
            if isinstance(kind, kinds.Choice) or self.random.random() < 0.4:
                return str(self.random.choice(words))
        if isinstance(kind, kinds.Real):
            return self.random.choice(EXTREME_REALS if wild and self.random.random() < 0.6 else REALS)
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


def programs(seed: int, count: int) -> Iterator[tuple[str, int]]:
    """Yield programs, and an opset for each; every layer comes equally often."""
    calls = Calls(seed)
    names = sorted(layer_modules())
    for i in range(count):
        yield calls.program(names[i % len(names)]), calls.random.choice(OPSETS)


def checked(text: str) -> Net | None:
    """Return the net of a program, or None where it is refused, which must be with a message."""
    net, report = try_net(text)
    if net is None:
        problems = list(report)
        assert problems, "refused without a problem"
        assert all(p.message() for p in problems)
    return net


def plain(text: str, opset: int) -> str:
    """Compile, load and run a program, and compare with its declared shape and onnx's reference.

    Returns how far it came: `refused`, `large` or `ran`. Raises AssertionError, and whatever netdsl or onnxruntime do.
    """
    net = checked(text)
    if net is None:
        return "refused"
    if largest(net) > ELEMENTS or slow(text):
        return "large"
    made = model(net, opset)
    session = runs(made)
    ran = "large"
    for sizes in ({"N": 2, "H": 5}, {"N": 1, "H": 4}):
        feeds = {x.name: example(x.layer.dtype, (sizes["N"], *at(x.shape, sizes)), net) for x in net.inputs}
        expected = (sizes["N"], *at(net.outputs["output"].node.shape, sizes))
        if min(expected) < 1:  # a size that is known only at run time may be too small for its layer
            continue
        (found,) = session.run(None, feeds)
        assert found.shape == expected, f"shape {found.shape}, declared {expected}"
        if not extreme(text) and not any(word in text for word in UNDEFINED):
            assert np.isfinite(found).all(), "not finite"
            compare(made, feeds, found)
        ran = "ran"
    return ran


def other_forms(text: str, opset: int) -> str:
    """Compile a program in half precision, with functions and in int8; load, run and compare each with f32."""
    net = checked(text)
    if net is None:
        return "refused"
    if largest(net) > ELEMENTS // 10 or slow(text):
        return "large"
    sizes = {"N": 4, "H": 5}
    if min(at(net.outputs["output"].node.shape, sizes)) < 1:
        return "large"
    feeds = {x.name: example(x.layer.dtype, (4, *at(x.shape, sizes)), net) for x in net.inputs}
    made = compile_to_bytes(net, CompileOptions(opset=opset))
    (right,) = runs(made).run(None, feeds)
    (found,) = runs(compile_to_bytes(net, CompileOptions(opset=opset, functions=True))).run(None, feeds)
    np.testing.assert_array_equal(found, right)
    exact = extreme(text) or any(word in text for word in UNDEFINED) or not np.isfinite(right).all()
    for form in (
        lambda: compile_to_bytes(net, CompileOptions(opset=opset, dtype="f16")),
        lambda: quantised(made, feeds),
    ):
        try:
            converted = form()
        except UserError as error:
            if error.code not in ("E0681", "E0682"):
                raise
            continue
        (found,) = runs(converted).run(None, feeds)
        assert found.shape == right.shape
        if not exact and not any(word in text for word in STEEP):
            assert np.isfinite(found).all(), "not finite"
            assert np.abs(found - right).max() <= 0.25 * max(1e-3, np.abs(right).max()), "far off"
    return "ran"


def quantised(made: bytes, feeds: dict[str, np.ndarray]) -> bytes:
    return quantize(made, [feeds]).SerializeToString()


def trained(text: str, opset: int) -> str:
    """Compile a training step of a program, with a weight before its layer, load it and take the step twice.

    Returns how far it came, as `plain`. The loss must fall by |gradient|^2 along the gradient, to first order.
    """
    before, _, call = text.partition("; ")
    text = f'{before}; prelu; {call}\ntrain n {{ data npz "x.npz"; loss mse; batch 2; optimizer sgd lr 1 }}'
    recipe, problems = recipe_of(text)
    if recipe is None:
        assert problems, "refused without a problem"
        return "refused"
    if largest(recipe.net) > ELEMENTS // 10 or slow(text):
        return "large"
    try:
        made = step_to_bytes(recipe, opset=opset)
    except NeedsNewerOpset:
        return "refused"
    session = runs(made)
    state = {x.name: x for x in session.get_inputs()}
    rng = np.random.default_rng(1)
    feeds = {"rate": np.array(1, "f4")}
    for node in recipe.net.inputs:
        feeds[node.name] = example(node.layer.dtype, (2, *node.shape), recipe.net)
    feeds["target"] = rng.standard_normal((2, *recipe.net.outputs["output"].node.shape)).astype("f4")
    feeds = {name: value for name, value in feeds.items() if name in state}
    names = [y.name for y in session.get_outputs()]
    found = dict(zip(names, session.run(None, feeds), strict=True))
    if extreme(text) or any(word in text for word in (*UNDEFINED, "dropout", "square")):
        return "ran"
    assert np.isfinite(found["loss"]), "the loss is not finite"
    weights = weights_of(made)
    gradient = {
        name: weights[name].astype("f8") - found[f"{name}.next"]
        for name in weights
        if f"{name}.next" in found and weights[name].ndim and "running" not in name
    }
    assert all(np.isfinite(g).all() for g in gradient.values()), "a gradient is not finite"
    slope = sum(float((g**2).sum()) for g in gradient.values())
    size = 1e-3 / max(slope**0.5, 1e-6)
    losses = []
    for sign in (1, -1):
        moved = {n: (weights[n] + sign * size * g).astype("f4") for n, g in gradient.items()}
        losses.append(float(dict(zip(names, session.run(None, {**feeds, **moved}), strict=True))["loss"]))
    rise = (losses[0] - losses[1]) / (2 * size)
    assert abs(rise - slope) <= 0.2 * slope + 2e-3 * max(1, abs(losses[0])) / size * 1e-3, f"slope {rise}, not {slope}"
    return "ran"


def weights_of(made: bytes) -> dict[str, np.ndarray]:
    return {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load_from_string(made).graph.initializer}


def runs(made: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])


def compare(made: bytes, feeds: dict[str, np.ndarray], found: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        (right,) = evaluator(made).run(None, feeds)
    np.testing.assert_allclose(found, right, rtol=2e-3, atol=2e-4)


def extreme(text: str) -> bool:
    """Whether a number is so large or so small that a result may be infinite, or differ by rounding."""
    return any(f" {real}" in text or f"[{real}" in text for real in EXTREME_REALS) or any(
        number in text for number in ("e38", "e39", "e40", "2147483", "922337", "100000000", "65536")
    )


def slow(text: str) -> bool:
    """Whether onnxruntime's average takes a step for each of millions of padding cells."""
    return "avgpool" in text and any(number in text for number in ("2147483", "65536"))


def largest(net: Net) -> int:
    counts = [np.prod([float(d) for d in at(node.shape, {"H": 5})]) for node in net.nodes]
    counts += [np.prod([float(d) for d in p.shape]) for p in net.parameters.values()]
    return int(max(counts))


def model(net: Net, opset: int) -> bytes:
    """Return the checked model with small random weights."""
    rng = np.random.default_rng(0)
    emitted = emit(lower(net), opset=opset)
    check(emitted)
    values = []
    for p in emitted.parameters:
        low, high = (0.5, 2.0) if p.name.endswith("running_var") else (-1.0, 1.0)
        values.append((p.name, rng.uniform(low, high, p.shape).astype("f4")))
    return to_bytes(emitted, values)


def at(shape: tuple[int | Size, ...], sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(size.substitute(sizes) if isinstance(size, Size) else size for size in shape)


def example(dtype: str, shape: tuple[int, ...], net: Net) -> np.ndarray:
    rng = np.random.default_rng(len(shape))
    if dtype == "i64":
        return rng.integers(0, min((p.shape[0] for p in net.parameters.values()), default=5), shape)
    if dtype == "u8":
        return rng.integers(0, 256, shape).astype("u1")
    return rng.standard_normal(shape).astype("f2" if dtype == "f16" else "f4")


HOW = {"plain": plain, "trained": trained, "other_forms": other_forms}


def main() -> int:
    onnxruntime.set_default_logger_severity(4)
    parser = argparse.ArgumentParser(description="Hold random calls of every layer against onnxruntime.")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--how", choices=HOW, default="plain", help="what is compiled")
    parser.add_argument("--last", help="file for the program that is running, to find what ends the process")
    options = parser.parse_args()
    found: Counter[str] = Counter()
    failures: dict[str, str] = {}
    for text, opset in programs(options.seed, options.count):
        if options.last:
            Path(options.last).write_text(f"{opset}: {text}\n")
        try:
            found[HOW[options.how](text, opset)] += 1
        except Exception as error:
            found["failed"] += 1
            first = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"
            failures.setdefault(first[:60] + text.split(";")[1].split()[0], f"{opset}: {text}\n    {first}")
    print(dict(found))
    for each in failures.values():
        print(each)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
