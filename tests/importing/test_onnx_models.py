"""Whole ONNX models: inputs and outputs, conditions, functions, external data, paths; and those that are refused."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import netdsl
from netdsl.app.import_model import proof_text
from netdsl.base.user_error import UserError
from netdsl.importing.errors import BadImport, ImportRefused, Unproved
from netdsl.importing.flat import Trial
from netdsl.importing.onnx_reference import read
from netdsl.importing.proof import prove
from netdsl.importing.recompile import ModelFailed, recompiled
from netdsl.importing.rewrite import Rewriter
from netdsl.importing.structure import arrange
from netdsl.weights.file import open_weights
from tests.importing.imported import imported
from tests.importing.test_onnx import check
from tests.support.onnx_models import RANDOM, graph, ints, model, n, save, w

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def x(*shape: int) -> dict[str, np.ndarray[Any, Any]]:
    return {"x": RANDOM.normal(0, 1, shape).astype("f4")}


def test_several_inputs_and_outputs_keep_their_names(tmp_path: Path) -> None:
    nodes = [
        n("Gather", "table words", "a", axis=0),
        n("ReduceMean", "a one", "b", keepdims=0),
        n("MatMul", "image/x w", "c"),
        n("Add", "b c", "sum"),
        n("Relu", "sum", "out.1"),
    ]
    arrays = {"table": w(9, 4), "one": ints(1), "w": w(5, 4)}
    inputs = {"words": (INT64, ["N", 7]), "image/x": (FLOAT, ["N", 5])}
    path = save(tmp_path / "two.onnx", graph(nodes, arrays, inputs, "sum out.1"))
    feeds = {"words": RANDOM.integers(0, 9, (3, 7)), "image/x": RANDOM.normal(0, 1, (3, 5)).astype("f4")}
    found = check(path, feeds, ["sum", "out_1"])
    assert [*found.net.inputs] == ["words", "image_x"]
    assert [*found.net.outputs] == ["sum", "out_1"]


def test_sizes_that_are_known_at_run_time_stay_so(tmp_path: Path) -> None:
    nodes = [
        n("Conv", "x w", "a", pads=[1, 1, 1, 1]),
        n("Shape", "a", "s", start=0, end=2),
        n("Concat", "s rest", "t", axis=0),
        n("Reshape", "a t", "b"),
        n("ReduceMax", "b last", "y"),
    ]
    arrays = {"w": w(4, 3, 3, 3), "rest": ints(-1), "last": ints(-1)}
    path = model(tmp_path / "free.onnx", nodes, arrays, 3, 6, "width")
    found = check(path, x(2, 3, 6, 11))
    assert "input x [3, 6, ?width]" in found.text


def test_a_condition_that_is_constant_selects_its_branch(tmp_path: Path) -> None:
    def branch(kind: str) -> onnx.GraphProto:
        return helper.make_graph([n(kind, "a", "r")], kind, [], [helper.make_tensor_value_info("r", FLOAT, None)])

    nodes = [
        n("Relu", "x", "a"),
        n("Shape", "a", "s"),
        n("Size", "s", "rank"),
        n("Equal", "rank four", "is"),
        n("If", "is", "y", then_branch=branch("Tanh"), else_branch=branch("Sigmoid")),
    ]
    found = check(model(tmp_path / "m.onnx", nodes, {"four": np.array(4)}, 3, 4, 4), x(2, 3, 4, 4))
    assert "relu; tanh" in found.text


def test_functions_of_the_model_are_expanded(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [n("Twice", "x", "y", domain="mine")], {}, 4, mine=1)
    made = onnx.load(path)
    body = [n("Relu", "a", "b"), n("Add", "b b", "c")]
    made.functions.append(helper.make_function("mine", "Twice", ["a"], ["c"], body, [helper.make_opsetid("", 21)]))
    onnx.save(made, path)
    assert "add { }" in check(path, x(2, 4)).text


def test_weights_in_another_file_are_read_from_it(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [n("MatMul", "x w", "y")], {"w": w(30, 20)}, 30)
    feeds = x(2, 30)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="m.data", size_threshold=0)
    check(path, feeds)
    (tmp_path / "m.data").unlink()
    with pytest.raises(UserError, match=r"m\.data"):
        netdsl.import_model(path)


def test_paths_are_those_of_modules(tmp_path: Path) -> None:
    """Of the weight, of PyTorch's scopes, or of the node, if it has several parts; only where a label is needed."""
    nodes = [
        n("MatMul", "x features.0.weight", "a"),
        n("Relu", "a", "b", name="/features/features.1/Relu"),
        n("MatMul", "b onnx::MatMul_3", "c", name="/head/fc/MatMul"),
        n("Add", "c b", "d", name="plain"),
        n("Add", "d a", "y"),
    ]
    arrays = {"features.0.weight": w(4, 4), "onnx::MatMul_3": w(4, 4)}
    found = check(model(tmp_path / "m.onnx", nodes, arrays, 4), x(2, 4))
    text = [line.strip() for line in found.text.splitlines()[3:-1]]
    assert text == [
        "features_0: dense 4 bias off",
        "features_1: relu",
        "dense 4 bias off",
        "add features_1 { }",
        "add features_0 { }",
    ]


def test_weights_that_are_equal_are_told_apart_by_random_ones(tmp_path: Path) -> None:
    """The graph of a model is what counts: two branches stay two."""
    nodes = [n("MatMul", "x u", "a"), n("MatMul", "x v", "b"), n("Concat", "a b", "y", axis=1)]
    same = np.ones((4, 4), "f4")
    found = netdsl.import_model(model(tmp_path / "m.onnx", nodes, {"u": same, "v": same}, 4))
    assert found["inputs"] == 4
    assert "also with random weights" in str(found)
    assert len(found.weights) == 2


REFUSED = {
    "an unknown operator": ([n("Foo", "x", "y", domain="mine")], {}, "mine.Foo (node y)"),
    "a condition": (
        [
            n("ReduceMax", "x axes", "m", keepdims=0),
            n("Cast", "m", "c", to=TensorProto.BOOL),
            n(
                "If",
                "c",
                "y",
                then_branch=helper.make_graph([], "t", [], []),
                else_branch=helper.make_graph([], "e", [], []),
            ),
        ],
        {"axes": ints(1)},
        "Cast (node c): it changes the type of elements",
    ),
    "weights that are computed": (
        [n("Conv", "x x", "y")],
        {},
        "Conv (node y): its weights are computed from the inputs",
    ),
    "a reshape of the batch": ([n("Reshape", "x s", "y")], {"s": ints(-1, 2)}, "mixes the batch with other axes"),
    "a value from nowhere": ([n("Add", "x z", "y")], {}, "its input `z` is computed nowhere before it"),
    "an integer": ([n("ArgMax", "x", "a", axis=2), n("Erf", "a", "y")], {}, "Erf (node y)"),
    "shapes that do not fit": ([n("Conv", "x w", "y")], {"w": w(4, 5, 3, 3)}, "weights of a `conv`"),
    "constants that nothing computes": (
        [n("Elu", "c", "d"), n("Add", "x d", "y")],
        {"c": w(6, 8, 8)},
        "Elu (node d): netdsl does not compute it for constants",
    ),
    "another type, like another value's": ([n("CastLike", "x c", "y")], {"c": ints(1)}, "CastLike (node y)"),
    "the error function": ([n("Mul", "x c", "a"), n("Erf", "a", "y")], {"c": np.array(0.5**0.5, "f4")}, "output y"),
    "a mask of dropout": (
        [n("Dropout", "x", "d m"), n("Cast", "m", "c", to=TensorProto.FLOAT), n("Mul", "d c", "y")],
        {},
        "its input `m` is a result of Dropout that netdsl has no layer for",
    ),
    "an output that is a mask": ([n("Dropout", "x", "d y")], {}, "it is a result of Dropout"),
    "slopes of the last axis": ([n("PRelu", "x s", "y")], {"s": w(8)}, "its slopes differ between positions"),
    "a scale between two sizes": (
        [n("Resize", "x - s", "y", mode="linear")],
        {"s": np.array([1, 1, 2, 1.3], "f4")},
        "it scales 8 elements by 1.3, which is not the quotient of two sizes",
    ),
    "scaled channels": (
        [n("Resize", "x - s", "y", mode="linear")],
        {"s": np.array([1, 2, 2, 2], "f4")},
        "it scales the batch or the channels",
    ),
    "a softplus that is linear too early": (
        [n("Softplus", "x", "a"), n("Greater", "x c", "b"), n("Where", "b x a", "y")],
        {"c": np.array(5, "f4")},
        "its condition is computed from the inputs",
    ),
    "an If without branches": ([n("If", "c", "y")], {"c": np.array(True)}, "If (node y): its inputs or attributes"),
    "a Shape from a word": ([n("Shape", "x", "s", start="a"), n("Reshape", "x s", "y")], {}, "Shape (node s)"),
    "a Shape of nothing": ([n("Shape", "-", "s"), n("Reshape", "x s", "y")], {}, "Shape (node s)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_netdsl_has_no_layers_for_is_refused(case: str, tmp_path: Path) -> None:
    nodes, arrays, text = REFUSED[case]
    with pytest.raises(ImportRefused) as caught:
        netdsl.import_model(model(tmp_path / "m.onnx", nodes, arrays, 6, 8, 8, mine=1))
    assert text in str(caught.value)


def test_an_output_of_several_is_not_lost(tmp_path: Path) -> None:
    nodes = [n("Relu", "x", "y"), n("Elu", "c", "d"), n("Add", "x d", "z")]
    with pytest.raises(ImportRefused, match=r"Elu \(node d\)"):
        netdsl.import_model(model(tmp_path / "m.onnx", nodes, {"c": w(6)}, 6, outputs="y z"))


def test_sizes_that_are_to_be_fixed_are_named_with_those_that_are_known(tmp_path: Path) -> None:
    nodes = [n("Conv", "x w", "y", auto_pad="SAME_LOWER", strides=[2, 2])]
    path = model(tmp_path / "m.onnx", nodes, {"w": w(4, 3, 3, 3)}, 3, "high", "wide")
    with pytest.raises(ImportRefused) as caught:
        imported(path)
    assert caught.value.helps == ("`--input x=3x64x64` fixes the sizes of an input",)
    with pytest.raises(ImportRefused) as caught:
        netdsl.import_model(path)
    assert caught.value.helps == ('`shapes={"x": [3, 64, 64]}` fixes the sizes of an input',)
    netdsl.import_model(path, shapes={"x": [3, 64, 64]})


def test_an_output_that_is_an_input_is_left_out_and_told(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [n("Relu", "x", "y")], {}, 6, outputs="x y")
    found = netdsl.import_model(path)
    assert len(found.net.outputs) == 1
    assert "an output (output x): it is an input" in str(found)
    alone = netdsl.import_model(model(tmp_path / "n.onnx", [n("Relu", "x", "y")], {}, 6, outputs="x"))
    assert not alone["left_out"]


def test_vectors_of_any_length_are_divided_by_it(tmp_path: Path) -> None:
    """ONNX's operator has no epsilon, which random inputs do not show."""
    path = model(tmp_path / "m.onnx", [n("LpNormalization", "x", "y", axis=1)], {}, 3, 4)
    tiny = 10.0 ** np.arange(-12, 0, 3, dtype="f4") * RANDOM.normal(0, 1, (2, 3, 4)).astype("f4")
    tiny[0, :, 0] = 0
    found = check(path, {"x": tiny})
    assert "l2norm eps 1e-30" in found.text


def test_all_refusals_are_listed_with_their_numbers(tmp_path: Path) -> None:
    nodes = [
        n("Foo", "x", "a", domain="mine", name="first"),
        n("Foo", "x", "b", domain="mine"),
        n("Relu", "a", "c"),
        n("Bar", "x", "d", domain="mine", name="bar"),
        n("Sum", "b c d", "y"),
    ]
    with pytest.raises(ImportRefused) as caught:
        netdsl.import_model(model(tmp_path / "m.onnx", nodes, {}, 6, mine=1))
    assert str(caught.value).splitlines() == [
        f"error[E0670]: {tmp_path / 'm.onnx'} cannot be imported: netdsl has no layers for 3 parts of it",
        "  mine.Foo x2 (first node first): netdsl has no layer for it",
        "  mine.Bar (node bar): netdsl has no layer for it",
        "  = help: `netdsl layers` lists the layers that a net can have",
    ]


def test_parts_without_an_effect_are_no_reason_to_refuse(tmp_path: Path) -> None:
    nodes = [n("Foo", "x", "a", domain="mine"), n("Relu", "x", "y")]
    assert "relu" in netdsl.import_model(model(tmp_path / "m.onnx", nodes, {}, 6, mine=1), allow_unproved=True).text


def test_scores_of_which_nothing_can_be_told_prove_nothing(tmp_path: Path) -> None:
    nodes = [n("Mul", "x zero", "a"), n("Relu", "a", "y")]
    path = model(tmp_path / "m.onnx", nodes, {"zero": np.zeros((6, 1, 1), "f4")}, 6, 4, 4)
    assert netdsl.import_model(path)["proved"]  # by random numbers in place of the zeros
    path = model(tmp_path / "m.onnx", [n("Mul", "x zero", "y")], {"zero": np.array(0, "f4")}, 6, 4, 4)
    with pytest.raises(Unproved, match="are equal for all inputs"):
        netdsl.import_model(path)
    assert netdsl.import_model(path, allow_unproved=True).text.startswith("# Imported by netdsl, unproved, from m.onnx")


def test_inputs_that_nothing_reads_are_left_out(tmp_path: Path) -> None:
    made = graph([n("Relu", "x", "y")], {}, {"x": (1, ["N", 6]), "unread": (1, ["N", 3])})
    found = netdsl.import_model(save(tmp_path / "m.onnx", made))
    assert found["proved"]
    assert "unread" not in found.text
    assert found["left_out"] == ["inputs that no output depends on (`unread`)"]


def test_outputs_that_the_inputs_do_not_change_prove_nothing(tmp_path: Path) -> None:
    nodes = [n("Gemm", "x a b", "h"), n("Relu", "h", "r"), n("Gemm", "r c d", "y")]
    arrays = {"a": w(6, 7), "b": w(7) - 1000, "c": w(7, 5), "d": w(5)}
    with pytest.raises(Unproved, match="the values of the model's output y are equal for all inputs"):
        netdsl.import_model(model(tmp_path / "m.onnx", nodes, arrays, 6))


UNDEFINED = [n("Log", "x", "l"), n("IsNaN", "l", "q"), n("Where", "q zero l", "y")]


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        (UNDEFINED, "y"),
        ([*UNDEFINED, n("Exp", "x", "z")], "y z"),
        ([*UNDEFINED, n("Exp", "x", "z")], "z y"),
    ],
)
def test_each_output_is_compared_behind_nodes_without_layers(
    nodes: list[onnx.NodeProto], outputs: str, tmp_path: Path
) -> None:
    path = model(tmp_path / "m.onnx", nodes, {"zero": np.array(0, "f4")}, 6, outputs=outputs)
    with pytest.raises(Unproved, match=r"differs from the model|whose values are others"):
        netdsl.import_model(path)


def test_a_reference_without_the_outputs_is_none(tmp_path: Path) -> None:
    flat = read(str(model(tmp_path / "m.onnx", [n("Relu", "x", "y")], {}, 6)))
    arrange(flat)
    flat.reference = lambda _: Trial(flat, lambda _feeds, layers: [None] * len(layers))
    with pytest.raises(AssertionError, match="does not compute"):
        prove(flat, recompiled(Rewriter(flat).text(), "m.net"), 1)


@pytest.mark.parametrize(
    ("size", "error", "holds"), [(0.0, 0.0, True), (0.0, 2e-6, False), (30.0, 0, True), (30.0, 1e-3, False)]
)
def test_differences_are_judged_by_the_rounding_of_the_net(
    size: float, error: float, holds: bool, tmp_path: Path
) -> None:
    """Two large products, of which little is left, are rounded more than 1e-6 of their difference."""
    small, large = np.random.default_rng(0).normal(0, 0.5, (2, 60, 20)).astype("f4") * np.float32([[[1]], [[size]]])
    arrays = {"a": np.hstack([np.eye(60, dtype="f4")] * 2), "b": np.vstack([large, small - large])}
    flat = read(str(model(tmp_path / "m.onnx", [n("MatMul", "x a", "t"), n("MatMul", "t b", "y")], arrays, 60)))
    arrange(flat)

    def run(feeds: Any, layers: Any) -> list[np.ndarray[Any, Any]]:
        exact = feeds["x"].astype("f8") @ arrays["a"].astype("f8") @ arrays["b"].astype("f8")
        return [exact * (1 + error)] * len(layers)

    flat.reference = lambda _: Trial(flat, run)
    proof = prove(flat, recompiled(Rewriter(flat).text(), "m.net"), 2)
    assert proof.holds == holds
    assert (proof.relative > 1e-6) == (proof.limit > 1e-6 or not holds)
    assert ("its own rounding is" in proof_text(proof)) == (proof.relative > 1e-6)


HALF = {
    "casts": (
        [n("Cast", "x", "h", to=TensorProto.FLOAT16), n("Cast", "h", "y", to=TensorProto.FLOAT)],
        TensorProto.FLOAT,
    ),
    "weights": ([n("MatMul", "x w16", "a"), n("Add", "a b16", "y")], TensorProto.FLOAT16),
    "computed constants": (
        [n("Mul", "w16 b16", "v"), n("MatMul", "x v", "a"), n("Mul", "b16 b16", "c"), n("Add", "a c", "y")],
        TensorProto.FLOAT16,
    ),
    "rounded constants": (
        [
            n("Cast", "w", "v", to=TensorProto.FLOAT16),
            n("Cast", "x", "h", to=TensorProto.FLOAT16),
            n("MatMul", "h v", "a"),
            n("Cast", "a", "y", to=TensorProto.FLOAT),
        ],
        TensorProto.FLOAT,
    ),
    "bfloat16": (
        [
            n("Cast", "x", "h", to=TensorProto.BFLOAT16),
            n("MatMul", "h wb", "a"),
            n("Cast", "a", "y", to=TensorProto.FLOAT),
        ],
        TensorProto.FLOAT,
    ),
}


@pytest.mark.parametrize("case", HALF)
def test_half_precision_is_compared_in_float32(case: str, tmp_path: Path) -> None:
    nodes, kind = HALF[case]
    arrays = {"w16": w(6, 5).astype("f2"), "b16": w(5).astype("f2"), "w": w(6, 5)}
    path = model(tmp_path / "m.onnx", nodes, arrays, 6, kind=kind)
    made = onnx.load(path)
    made.graph.initializer.append(helper.make_tensor("wb", TensorProto.BFLOAT16, [6, 5], w(30)))
    path.write_bytes(made.SerializeToString())
    found = netdsl.import_model(path)
    assert found["proved"]
    assert found["difference"] <= 1e-6 * found["magnitude"]
    assert found["notes"] == [
        "the model computes in half precision, and the net in float32: its weights are widened exactly"
    ]


# --- hostile files ---


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """Any cut and any byte changed end in an error of ours, or in a model that is another one."""
    path = model(tmp_path / "m.onnx", [n("Gemm", "x w b", "y")], {"w": w(40, 9), "b": w(9)}, 40)
    whole = path.read_bytes()
    generator = np.random.default_rng(3)
    for _ in range(80):
        data = bytearray(whole)
        if generator.integers(3) == 0:
            data = data[: generator.integers(len(data))]
        else:
            for at in generator.integers(0, len(data), 3):
                data[at] = generator.integers(256)
        path.write_bytes(data)
        with suppress(UserError):
            netdsl.import_model(path, check=1)


def test_external_data_stays_in_the_folder_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(4000))
    folder = tmp_path / "models"
    folder.mkdir()
    path = model(folder / "m.onnx", [n("MatMul", "x w", "y")], {"w": w(30, 20)}, 30)
    made = onnx.load(path)
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    path.write_bytes(made.SerializeToString())
    with pytest.raises(UserError, match="not in its folder"):
        netdsl.import_model(path)


def test_shapes_that_lie_are_refused(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [n("MatMul", "x w", "y")], {"w": w(30, 20)}, 30)
    made = onnx.load(path)
    made.graph.initializer[0].dims[0] = 10**9
    path.write_bytes(made.SerializeToString())
    with pytest.raises(BadImport, match="`w` of shape"):
        netdsl.import_model(path)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([n("ConstantOfShape", "huge", "c")], "is too large"),
        ([n("Expand", "one huge", "c")], "is too large"),
        ([n("Tile", "one huge", "c")], "is too large"),
        ([n("Range", "zero million step", "r"), n("Tile", "r thousand", "c")], "is too large"),
        ([n("Tile", "row large", "t"), n("OneHot", "t million_ pair", "c")], "too large"),
        ([n("Tile", "row large", "t"), n("Reshape", "t column", "u"), n("Pow", "u row", "c")], "too large"),
        (
            [n("Tile", "row wide", "t0"), *(n("Add", f"t{at} row", f"t{at + 1}") for at in range(9))],
            "its constants take more than",
        ),
        (
            [n("Tile", "row large", "t0"), *(n("Softmax", f"t{at}", f"t{at + 1}") for at in range(99))],
            "too many of its constants",
        ),
    ],
)
def test_constants_that_unpack_are_bounded(
    nodes: list[onnx.NodeProto], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each constant, and all of them together."""
    monkeypatch.setattr("netdsl.importing.onnx_reader.MAX_COMPUTED", 2**26)
    last = nodes[-1].output[0]
    arrays = {"huge": ints(10**6, 10**6), "one": np.ones((1, 1), "f4"), "row": np.ones((1, 1024), "f4")}
    arrays |= {"large": ints(300, 1), "wide": ints(2**12, 1), "pair": np.array([0, 1], "f4")}
    arrays |= {
        "thousand": ints(1000),
        "column": ints(-1, 1),
        "zero": np.array(0),
        "step": np.array(1),
        "million": np.array(10**6),
        "million_": ints(10**6),
    }
    with pytest.raises((ImportRefused, BadImport), match=message):
        netdsl.import_model(model(tmp_path / "m.onnx", [*nodes, n("MatMul", f"x {last}", "y")], arrays, 10**6))


def test_weights_that_unpack_are_not_compared(tmp_path: Path) -> None:
    nodes = [
        n("ConstantOfShape", "s", "w"),
        n("ConstantOfShape", "s", "v"),
        n("MatMul", "x w", "a"),
        n("MatMul", "a v", "y"),
    ]
    path = model(tmp_path / "m.onnx", nodes, {"s": ints(2**14, 2**14)}, 2**14)
    with pytest.raises(Unproved, match=r"2\.0 GiB of memory, many times its files"):
        netdsl.import_model(path)


def test_sums_of_much_work_are_not_compared(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [n("Sum", "x " * 1800, "y")], {}, 3, 2048, 2048)
    with pytest.raises(Unproved, match="726 billion multiply-adds, too many for its files"):
        netdsl.import_model(path)


@pytest.mark.parametrize("callees", [["f0", "f1"], ["Relu"]])
def test_functions_that_expand_are_bounded(callees: list[str], tmp_path: Path) -> None:
    """A cycle, and functions that each call the one before them twice."""
    made = onnx.load(model(tmp_path / "m.onnx", [n("f40", "x", "y", domain="mine")], {}, 4, mine=1))
    for at in range(41):
        name = f"f{at - 1}" if at else callees[-1]
        body = [n(name, "a", "b", domain="mine"), n(name, "b", "c", domain="mine")]
        ids = [helper.make_opsetid("mine", 1)]
        made.functions.append(helper.make_function("mine", f"f{at}", ["a"], ["c"], body, ids))
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(BadImport, match="its functions have no end, or expand to more than 200,000 nodes"):
        netdsl.import_model(tmp_path / "m.onnx")


def test_nesting_is_bounded(tmp_path: Path) -> None:
    result = [helper.make_tensor_value_info("r", FLOAT, None)]
    last = inner = helper.make_graph([n("Relu", "x", "r")], "g", [], result)
    for _ in range(10):
        inner = helper.make_graph([n("If", "yes", "r", then_branch=inner, else_branch=last)], "g", [], result)
    nodes = [n("If", "yes", "y", then_branch=inner, else_branch=last)]
    with pytest.raises(ImportRefused, match="nested more than"):
        netdsl.import_model(model(tmp_path / "m.onnx", nodes, {"yes": np.array(True)}, 4))


def test_sizes_are_multiples_where_branches_need_it(tmp_path: Path) -> None:
    """A map that is halved and doubled again has its size only if that is even."""
    nodes = [
        n("Conv", "x w", "a", strides=[2, 2], pads=[1, 1, 1, 1]),
        n("Resize", "a - s", "b", mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        n("Add", "b x", "y"),
    ]
    arrays = {"w": w(3, 3, 3, 3), "s": np.array([1, 1, 2, 2], "f4")}
    found = check(model(tmp_path / "m.onnx", nodes, arrays, 3, "H", "W"), x(2, 3, 64, 32))
    assert "input x [3, 32*?H, 32*?W]" in found.text
    assert found["left_out"] == ["sizes that are no multiples of 32: its branches or paddings would have unequal sizes"]


@pytest.mark.parametrize(
    ("most", "sizes", "about"),
    [(1000, [(64, 64), (97, 64)], "64 and 97"), (70, [(64, 64), (32, 64)], "64 and 32"), (20, [(16, 64)], "16")],
)
def test_sizes_that_are_known_at_run_time_are_compared_twice(
    most: int, sizes: list[tuple[int, int]], about: str, tmp_path: Path
) -> None:
    """At two sizes for which the model runs, which are others for neighbors."""
    nodes = [n("Relu", "x", "y")]
    flat = read(str(model(tmp_path / "m.onnx", nodes, {}, 1, "H", "W")))
    arrange(flat)
    seen: list[tuple[int, ...]] = []

    def run(feeds: Any, layers: Any) -> list[np.ndarray[Any, Any]]:
        if feeds["x"].shape[2] > most:
            raise ModelFailed("it has only a few positions")
        seen.append(feeds["x"].shape[2:])
        return [np.maximum(feeds["x"], 0)] * len(layers)

    flat.reference = lambda _: Trial(flat, run)
    proof = prove(flat, recompiled(Rewriter(flat).text(), "m.net"), 1)
    assert proof.holds
    assert seen == sizes
    assert f"of sizes about {about}" in proof_text(proof)


@pytest.mark.parametrize("axis", [-4, 4, 65536])
@pytest.mark.parametrize("op", ["Concat", "Softmax", "Split", "ArgMax"])
def test_axes_outside_of_a_value_are_refused(op: str, axis: int, tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [n(op, "x x" if op == "Concat" else "x", "y", axis=axis)], {}, 5, 7)
    with pytest.raises(ImportRefused, match="an axis is outside of its input"):
        netdsl.import_model(path)


def test_reflections_of_a_signal_are_padding(tmp_path: Path) -> None:
    nodes = [n("Pad", "x p", "a", mode="reflect"), n("Unsqueeze", "a one", "b"), n("Conv", "b w", "y")]
    arrays = {"p": ints(0, 2, 0, 3), "one": ints(1), "w": w(4, 1, 3)}
    found = check(model(tmp_path / "m.onnx", nodes, arrays, 20), x(2, 20))
    assert "reshape 1x20\n  pad [2, 3] mode reflect\n  conv 3 4 pad 0 bias off\n" in found.text


def test_a_single_score_is_worth_something(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [n("MatMul", "x w", "a"), n("Sign", "a", "y")], {"w": w(4, 1)}, 4, batch=1)
    assert netdsl.import_model(path, check=1)["proved"]


def test_a_classifier_of_scikit_learn(tmp_path: Path) -> None:
    """As skl2onnx writes it: the scores become the net, their names metadata, and the label of the best is left out."""
    nodes = [
        n("Scaler", "x", "a", domain="ai.onnx.ml", offset=[1.0, 2.0, 3.0], scale=[2.0, 0.5, 1.0]),
        n("Cast", "a", "b", to=FLOAT),
        n("MatMul", "b w", "c"),
        n("Add", "c bias", "d"),
        n("Softmax", "d", "p", axis=-1),
        n("ZipMap", "p", "y", domain="ai.onnx.ml", classlabels_strings=["cat", "dog"]),
        n("ArgMax", "p", "best", axis=1),
        n("ArrayFeatureExtractor", "names best", "label", domain="ai.onnx.ml"),
    ]
    arrays = {"w": w(3, 2), "bias": w(1, 2), "names": ints(0, 1)}
    path = model(tmp_path / "m.onnx", nodes, arrays, 3, outputs="y label", ai_onnx_ml=1)
    found = netdsl.import_model(path, tmp_path / "m.net")
    assert "normalize mean [1, 2, 3] std [0.5, 2, 1]\n  dense 2; softmax\n" in found.text.replace(
        "  normalize", "normalize"
    )
    assert found["left_out"] == ["the class with the highest score (node best)", "an output (output label)"]
    assert open_weights(str(tmp_path / "m.safetensors")).metadata["netdsl.classes.y"] == '["cat", "dog"]'


def test_a_bias_of_a_single_score_is_a_weight(tmp_path: Path) -> None:
    nodes = [n("MatMul", "x w", "a"), n("Add", "a b", "y")]
    found = check(model(tmp_path / "m.onnx", nodes, {"w": w(4, 1), "b": w(1)}, 4), x(2, 4))
    assert "  dense 1\n" in found.text


def test_damaged_graphs_are_refused() -> None:
    """Nodes with other inputs, attributes or operators, and shapes with other sizes, end in an error of ours."""
    generator = np.random.default_rng(5)
    nodes = [
        n("Conv", "x w b", "a", pads=[1, 1, 1, 1], strides=[2, 2]),
        n("BatchNormalization", "a b b b v", "c"),
        n("MaxPool", "c", "d", kernel_shape=[2, 2]),
        n("Reshape", "d shape", "e"),
        n("Transpose", "e", "f", perm=[0, 2, 1]),
        n("MatMul", "f m", "g"),
        n("Softmax", "g", "y", axis=-1),
    ]
    arrays = {"w": w(4, 3, 3, 3), "b": w(4), "v": np.ones(4, "f4"), "shape": ints(-1, 4, 4), "m": w(4, 5)}
    whole = graph(nodes, arrays, {"x": (FLOAT, ["N", 3, 8, 8])}).SerializeToString()
    numbers = [-1, 0, 1, 2, 7, 2**31, -(2**63)]
    for at in range(400):
        made = onnx.GraphProto.FromString(whole)
        node = made.node[generator.integers(len(made.node))]
        attribute = node.attribute[0] if node.attribute else None
        match at % 6:
            case 0:
                node.input[generator.integers(len(node.input))] = made.node[generator.integers(len(made.node))].output[
                    0
                ]
            case 1:
                del node.input[generator.integers(len(node.input))]
            case 2 if attribute is not None and attribute.ints:
                attribute.ints[generator.integers(len(attribute.ints))] = numbers[generator.integers(len(numbers))]
            case 3 if attribute is not None:
                del node.attribute[0]
            case 4:
                node.op_type = made.node[generator.integers(len(made.node))].op_type
            case _:
                dims = made.initializer[generator.integers(len(made.initializer))].dims
                dims[0] = numbers[generator.integers(len(numbers))]
        with TemporaryDirectory() as folder, suppress(UserError):
            read(str(save(Path(folder) / "m.onnx", made)))


def test_inputs_and_constants_without_readers_do_not_matter(tmp_path: Path) -> None:
    """Models of old versions of IR list their constants among the inputs."""
    arrays = {"w": w(3, 3, 1, 1), "unused": w(2)}
    found = check(model(tmp_path / "m.onnx", [n("Conv", "x w", "y")], arrays, 3, 4, 4, opset=8), x(2, 3, 4, 4))
    assert [*found.net.inputs] == ["x"]
