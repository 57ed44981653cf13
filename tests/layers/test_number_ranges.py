"""Numbers beyond float32 and float16: refused at the argument that they are given to, wherever that is."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdsl.backend.compile import CompileOptions, compile_to_bytes
from netdsl.base.user_error import UserError
from netdsl.data.augment import AUGMENTATIONS
from netdsl.data.kinds import KINDS
from netdsl.declare.arguments import INITIALISERS, Integer, Numbers, Real, Sequence, ValueMisfit
from netdsl.elaborate.train_numbers import NUMBER_LINES, ValidationPart
from netdsl.layers import find_layer, layer_modules
from netdsl.losses import LOSSES
from netdsl.metrics import METRICS
from netdsl.optimizers import OPTIMIZERS
from netdsl.schedules import SCHEDULES
from tests.support.programs import flow, try_net
from tests.support.recipe_tools import recipe_of as read

FLOAT32 = np.finfo(np.float32)


def declared() -> Iterator[tuple[str, object]]:
    """Yield every argument of everything that can be named in a program, and its kind."""
    layers = {name: find_layer(name) for name in layer_modules()}
    for table in (
        layers,
        LOSSES,
        METRICS,
        OPTIMIZERS,
        SCHEDULES,
        AUGMENTATIONS,
        KINDS,
        NUMBER_LINES,
        {"validate": ValidationPart},
    ):
        for name, cls in table.items():
            for argument in cls.arguments.values():
                yield f"{name}.{argument.name}", argument.kind
    for name, kinds in INITIALISERS.items():
        for argument, kind in kinds.items():
            yield f"{name}.{argument}", kind


NUMBERS = {place: kind for place, kind in declared() if isinstance(getattr(kind, "item", kind), Real)}
INTEGERS = {place: kind for place, kind in declared() if isinstance(getattr(kind, "item", kind), Integer)}


def test_the_registries_are_complete() -> None:
    assert len(NUMBERS) >= 55
    assert len(INTEGERS) >= 40
    assert {"scale.a", "bn.eps", "sgd.lr", "step.factor", "cross_entropy.smoothing", "normal.s", "fgsm.low"} <= set(
        NUMBERS
    )


@pytest.mark.parametrize("place", NUMBERS)
@pytest.mark.parametrize("value", [1e39, -1e39, 10**400, -(10**400), Fraction(10**60, 3), 1e-50, Fraction(1, 10**400)])
def test_every_number_fits_float32(place: str, value: float) -> None:
    kind = NUMBERS[place]
    pair = (value, value) if type(kind) is not Real and not isinstance(kind, (Sequence, Numbers)) else (value,)
    with pytest.raises(ValueMisfit):
        kind.convert(value if isinstance(kind, Real) else pair)


@pytest.mark.parametrize("place", INTEGERS)
@pytest.mark.parametrize("value", [2**31, 2**63, 10**20, -(10**20)])
def test_every_integer_fits(place: str, value: int) -> None:
    kind = INTEGERS[place]
    for each in (value, (value,), (value, value)):
        with pytest.raises(ValueMisfit):
            kind.convert(each)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float32_decides(number: float) -> None:
    with np.errstate(over="ignore", under="ignore"):
        single = np.float32(number)
    fits = bool(np.isfinite(single)) and (number == 0 or abs(single) >= FLOAT32.tiny)
    try:
        assert Real().convert(number) == number
    except ValueMisfit:
        assert not fits
    else:
        assert fits


@given(st.floats(0, 1))
def test_bounds_hold_after_rounding(number: float) -> None:
    try:
        Real(above=0, below=1).convert(number)
    except ValueMisfit:
        assert not FLOAT32.tiny <= np.float32(number) < 1
    else:
        assert 0 < np.float32(number) < 1


@pytest.mark.parametrize(
    ("call", "at"),
    [
        ("scale 1e39", "1e39"),
        ("shift (2.0 ** 400)", "(2.0 ** 400)"),
        ("scale 10 ** 39", "10 ** 39"),
        ("scale 1 / 10 ** 50", "1 / 10 ** 50"),
        ("scale big", "big"),
        ("scale huge(3)", "huge(3)"),
        ("bn eps 1e300", "1e300"),
        ("bn eps 1e-50", "1e-50"),
        ("bn momentum 1e-40", "1e-40"),
        ("layernorm eps 1e39", "1e39"),
        ("groupnorm 1 eps 1e39", "1e39"),
        ("dropout 0.999999999", "0.999999999"),
        ("clip (-1e39) 1", "(-1e39)"),
        ("clip 0 1e39", "1e39"),
        ("pad 1 value 1e39", "1e39"),
        ("leaky_relu 1e39", "1e39"),
        ("elu (-1e39)", "(-1e39)"),
        ("lrn 3 alpha 1e38", "1e38"),
        ("lrn 3 alpha 0", "0"),
        ("lrn 3 k 1e39", "1e39"),
        ("normalize mean [1e39] std [1]", "[1e39]"),
        ("normalize mean [0] std [1e-40]", "[1e-40]"),
        ("dense 3 init normal(1e39)", "1e39"),
        ("dense 3 init normal(1e38)", "1e38"),
        ("dense 3 init normal(-1)", "-1"),
        ("dense 3 init uniform(-3e38, 3e38)", "-3e38"),
        ("dense 3 bias_init constant(10 ** 400)", "10 ** 400"),
        ("prelu init constant(1e-50)", "1e-50"),
        ("conv 3x3 99999999999999999999", "99999999999999999999"),
        ("conv 3x3 4 stride 99999999999999999999", "99999999999999999999"),
        ("upsample [2, 99999999999999999999]", "[2, 99999999999999999999]"),
    ],
)
def test_the_error_is_at_the_argument(call: str, at: str) -> None:
    net, report = try_net(f"let big = 1e39\nfn huge(x) = x * 1e200\nnet n {{ input x 1x8x8; {call} }}")
    assert net is None
    assert [(p.code, p.span.text) for p in report] == [("E0401", at)]


@pytest.mark.parametrize("call", ["init normal(2e37)", "init uniform(-1.7e38, 1.7e38)", "init constant(3.4e38)"])
def test_what_is_drawn_is_finite(call: str) -> None:
    import onnx

    model = onnx.load_from_string(compile_to_bytes(flow(f"input x 1000; dense 1000 {call}")))
    for tensor in model.graph.initializer:
        assert np.isfinite(onnx.numpy_helper.to_array(tensor)).all()


TRAIN = 'net n {{ input x 3x8x8; dense 4 }}\ntrain n {{ data mnist "m"; {0} }}'


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("loss cross_entropy weight 1e39", "E0401"),
        ("loss cross_entropy smoothing 0.9999999999", "E0401"),
        ("loss hinge margin 1e-50", "E0401"),
        ("loss cross_entropy; optimizer sgd lr 1e39", "E0401"),
        ("loss cross_entropy; optimizer sgd lr 1e-50", "E0401"),
        ("loss cross_entropy; optimizer sgd momentum 0.999999999", "E0401"),
        ("loss cross_entropy; optimizer adam eps 1e300", "E0401"),
        ("loss cross_entropy; optimizer sgd decay 1e39", "E0401"),
        ("loss cross_entropy; optimizer sgd clip 1e39", "E0401"),
        ("loss cross_entropy; optimizer sgd clip_value 1e-46", "E0401"),
        ("loss cross_entropy; schedule cosine to 1e39", "E0401"),
        ("loss cross_entropy; schedule step at [1e39]", "E0401"),
        ("loss cross_entropy; schedule step at [1, 2] factor 1e39", "E0401"),
        ("loss cross_entropy; schedule step at [1, 2] factor 1e30", "E0343"),
        ("loss cross_entropy; schedule step at [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] factor 1e38", "E0343"),
        ("loss cross_entropy; augment { erase value 1e39 }", "E0401"),
        ("loss cross_entropy; augment { fgsm 0.1 high 3e38 }", "E0401"),
        ("loss cross_entropy; batch 99999999999999999999", "E0401"),
        ("loss cross_entropy; seed 99999999999999999999", "E0401"),
    ],
)
def test_training(lines: str, code: str) -> None:
    recipe, report = read(TRAIN.format(lines))
    assert recipe is None
    assert [p.code for p in report] == [code]


def test_a_setting_is_an_argument_too() -> None:
    recipe, report = read(TRAIN.format("loss cross_entropy"), settings=["train.lr=1e39"])
    assert recipe is None
    assert [p.code for p in report] == ["E0401"]


# Half precision


def halved(call: str, x: np.ndarray) -> np.ndarray:
    model = compile_to_bytes(flow(f"input x 2x6; {call}"), CompileOptions(dtype="f16"))
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@pytest.mark.parametrize(
    "call",
    [
        *("scale 1e-9", "scale 70000", "shift (-70000)", "clip 70000 80000", "clip (-9e9) (-8e9)", "clip 1e-9 1"),
        *("pad 1 value 70000", "normalize mean [0, 0] std [1e-9, 1]", "normalize mean [0, 70000] std [1, 1]"),
        *("conv 3 2 init constant(1e5)", "conv 3 2 bias_init constant(-70000)", "conv 3 2 init normal(1e5)"),
    ],
)
def test_what_no_half_holds_is_refused(call: str) -> None:
    with pytest.raises(UserError) as caught:
        compile_to_bytes(flow(f"input x 2x6; {call}"), CompileOptions(dtype="f16"))
    assert caught.value.code == "E0681"


X = np.random.default_rng(0).standard_normal((3, 2, 6)) * 1e-3


def standard(x: np.ndarray, axes: tuple[int, ...], eps: float) -> np.ndarray:
    return (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + eps)


@pytest.mark.parametrize(
    ("call", "right"),
    [
        ("bn eps 1e-9", X),
        ("instancenorm eps 1e-12", standard(X, (2,), 1e-12)),
        ("groupnorm 1 eps 1e-9", standard(X, (1, 2), 1e-9)),
        ("layernorm eps 1e-12", standard(X, (1,), 1e-12)),
        ("leaky_relu 70000", np.where(X < 0, 70000 * X, X)),
        ("lrn 3 alpha 1e6", X / (2 + 1e6 * (X**2).sum(axis=1, keepdims=True)) ** 0.75),
        ("clip (-1e9) 1e9", X),
    ],
)
def test_attributes_that_no_half_holds_stay_in_single_precision(call: str, right: np.ndarray) -> None:
    np.testing.assert_allclose(halved(call, X.astype("f4")), right, rtol=5e-3, atol=2e-3 * np.abs(right).max())


def test_a_constant_input_is_no_nan_in_half_precision() -> None:
    found = halved("instancenorm eps 1e-9", np.full((3, 2, 6), 0.25, "f4"))
    np.testing.assert_array_equal(found, np.zeros((3, 2, 6)))
