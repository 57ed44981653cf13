"""Each check of `verify`: it passes for a sound model, and fails for one that is not."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from netdsl.app.frontend import load_origin
from netdsl.app.verify import checks, subject
from netdsl.app.verify.child import Child, Exceeded, Failed
from netdsl.app.verify.exact import evaluator
from netdsl.app.verify.from_file import model_subject, net_subject
from netdsl.app.verify.outcome import Outcome, judged
from netdsl.app.verify.subject import VerifyOptions
from netdsl.app.verify.tools import AGAINST, is_installed
from netdsl.app.verify.worker import JOBS, read_arrays, write_arrays
from netdsl.backend.session import Session
from netdsl.base.text import Source
from netdsl.base.user_error import UserError
from netdsl.data.errors import MissingPackage
from netdsl.diagnostics.report import Report
from netdsl.elaborate.library import zoo_nets
from netdsl.ops import activations
from tests.support.inline_jobs import Inline
from tests.support.onnx_models import Arrays, graph, model, n, save, w
from tests.support.paths import NETS
from tests.support.reference import LESS

TINY = "net tiny { input x 2x6x6; conv 3x3 4; relu; maxpool 2x2; dense 6; tanh; dense 3 }"
ZERO = "net zero { input x 4; dense 3 init zeros }"
TRAINED = TINY + '\ntrain tiny { data npz "none.npz"; loss mse; batch 8 }'


@pytest.fixture(autouse=True)
def inline(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(checks, "Child", Inline)


def net(text: str, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    report = Report()
    file = text if text.isidentifier() else Source("test.net", text)
    found, origin = load_origin(file, report, settings=settings or {})
    assert found is not None, [problem.message() for problem in report]
    return net_subject(found, origin, report)


def verified(given: dict[str, Any], only: str, data: Any = (), **options: Any) -> dict[tuple[str, str], Outcome]:
    found = checks.verify("m", "m", VerifyOptions(only=only.split(), **options), data=data, **given)
    assert [*found.data()] == ["schema", "name", "file", "weights", "verdict", "counts", "checks", "versions"]
    return {(each.check, each.subject): each for each in found.outcomes}


def verdicts(found: dict[tuple[str, str], Outcome]) -> dict[str, str]:
    return {subject: outcome.verdict for (_, subject), outcome in found.items()}


def test_a_sound_net_passes_all_checks() -> None:
    data = {"x": np.random.default_rng(1).standard_normal((8, 2, 6, 6), np.float32)}
    found = verified(net(TINY), " ".join(checks.CHECKS), data, against=["reference"])
    assert {*map(tuple, found)} == {
        ("checker", "opset 17"),
        ("checker", "opset 21"),
        ("checker", "opset 26"),
        ("shapes", "declared"),
        ("shapes", "inferred"),
        ("opsets", "17 against 21"),
        ("opsets", "26 against 21"),
        ("optimizer", "onnxruntime"),
        ("batch", "1 against 4"),
        ("runtimes", "reference"),
        ("gradients", "plain"),
        ("gradients", "nchwc"),
        ("f16", "error"),
        ("f16", "first class"),
        ("int8", "error"),
        ("int8", "first class"),
        ("import", "proof"),
        ("import", "outputs"),
    }
    assert {each.verdict for (check, _), each in found.items() if check != "gradients"} == {"ok"}
    assert found["gradients", "plain"].verdict == "ok"
    assert found["gradients", "plain"].note.endswith("; 6 tensors, 18 differences")
    for each in found.values():
        assert each.measured is None or (each.bound is not None and 0 <= each.measured <= each.bound)


def test_what_does_not_apply_is_skipped_with_a_reason(tmp_path: Path) -> None:
    given = model_subject(str(model(tmp_path / "m.onnx", [n("Relu", "x", "y")], {}, 4, batch=2)))
    found = verified(given, "opsets batch gradients f16 int8")
    assert {check: (each.verdict, each.note) for (check, _), each in found.items()} == {
        "opsets": ("skipped", "a model has one opset"),
        "batch": ("skipped", "the model has no axis of examples of any number"),
        "gradients": ("skipped", "a model has no loss"),
        "f16": ("skipped", "a model has its precision; a net can be compiled in another"),
        "int8": ("skipped", "a model has its precision; a net can be compiled in another"),
    }
    found = verified(net("net n { input x 4; dense 3; output a; dense 2; output b }"), "gradients int8")
    assert {*verdicts(found).values()} == {"skipped"}
    assert "2 outputs" in found["gradients", "all"].note
    assert "--data" in found["int8", "error"].note


def test_equal_outputs_prove_nothing() -> None:
    found = verified(net(ZERO), "opsets optimizer batch f16")
    assert {*verdicts(found).values()} == {"skipped"}
    assert {"equal for all inputs" in each.note for each in found.values()} == {True}


def test_outputs_that_differ_for_the_data_alone_are_compared(tmp_path: Path) -> None:
    nodes = [n("Add", "x c", "h"), n("Relu", "h", "y")]
    given = model_subject(str(model(tmp_path / "m.onnx", nodes, {"c": np.array([-100], np.float32)}, 4)))
    data = {"x": 200 * np.random.default_rng(0).random((2, 4), np.float32)}
    assert verdicts(verified(given, "optimizer")) == {"onnxruntime": "skipped"}
    assert verdicts(verified(given, "optimizer", data=data)) == {"onnxruntime": "ok"}


def test_rounding_that_a_net_blows_up_proves_nothing(tmp_path: Path) -> None:
    nodes = [n("Mul", "x many", "a"), n("Sin", "a", "y")]
    path = model(tmp_path / "m.onnx", nodes, {"many": np.array([1e6], np.float32)}, 4)
    found = verified(model_subject(str(path)), "optimizer")
    assert found["optimizer", "onnxruntime"].verdict == "skipped"
    assert "rounding alone" in found["optimizer", "onnxruntime"].note


def changed(path: str, by: float = 0.1) -> None:
    """Change a weight of a model."""
    made = onnx.load(path)
    tensor = max(made.graph.initializer, key=lambda each: len(each.raw_data))
    tensor.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(tensor) + np.float32(by)), tensor.name))
    onnx.save(made, path)


def test_an_opset_that_computes_something_else_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    write = subject.write_model

    def broken(net: Any, path: str, options: Any) -> None:
        write(net, path, options)
        if options.opset == 17:
            changed(path)

    monkeypatch.setattr(subject, "write_model", broken)
    found = verified(net(TINY), "checker opsets")
    assert verdicts(found)["17 against 21"] == "failed"
    assert verdicts(found)["26 against 21"] == verdicts(found)["opset 17"] == "ok"


def test_an_invalid_opset_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    write = subject.write_model

    def broken(net: Any, path: str, options: Any) -> None:
        write(net, path, options)
        if options.opset == 26:
            made = onnx.load(path)
            made.graph.node[0].op_type = "Cnov"
            onnx.save(made, path)

    monkeypatch.setattr(subject, "write_model", broken)
    found = verified(net(TINY), "checker opsets")
    assert verdicts(found) == {
        "opset 17": "ok",
        "opset 21": "ok",
        "opset 26": "failed",
        "17 against 21": "ok",
        "26 against 21": "failed",
    }
    assert "Cnov" in found["checker", "opset 26"].note


def test_outputs_that_are_not_finite_fail(tmp_path: Path) -> None:
    made = graph([n("Log", "x", "y")], {}, {"x": (1, ["N", 4])})
    made.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", 1, ["N", 4]))
    found = verified(model_subject(str(save(tmp_path / "m.onnx", made))), "checker")
    assert found["checker", "its own opset"].note == "the output `y` is not finite for random inputs"


def test_comparisons_of_numbers_that_are_not_finite_fail() -> None:
    """A runtime that computes NaN, where another computes a number, once had the difference 0."""
    root = "net n { input x 4; sqrt; dense 3 }"
    found = verified(net(root), "runtimes optimizer", against=["reference"])
    assert {each.note for each in found.values()} == {"the output `output` is not finite for random inputs"}
    fine = net("net n { input x 4; dense 3 }")
    found = verified(fine, "runtimes f16", {"x": np.full((3, 4), np.nan, np.float32)}, against=["reference"])
    assert {each.note for each in found.values()} == {"the output `output` is not finite for data inputs"}
    assert {each.verdict for each in found.values()} == {"failed"}
    numbers = np.array([0, 1], np.float32)
    for bad in (np.nan, np.inf):
        other = np.array([bad, 1], np.float32)
        assert subject.difference({"y": numbers}, {"y": other}) == np.inf
        assert subject.difference({"y": other}, {"y": numbers}) == np.inf


RUNS = "checker shapes optimizer batch runtimes"
"""Checks that need the outputs of the model."""


def test_a_model_that_does_not_run_fails_whatever_is_checked(tmp_path: Path) -> None:
    nodes = [n("Reshape", "x to", "y")]
    path = model(tmp_path / "m.onnx", nodes, {"to": np.array([7], np.int64)}, 4)
    found = verified(model_subject(str(path)), RUNS, against=["reference"])
    assert {check: each.verdict for (check, _), each in found.items()} == dict.fromkeys(RUNS.split(), "failed")


def test_inputs_without_random_values_are_no_failure(tmp_path: Path) -> None:
    equal = [n("Equal", "x x", "b"), n("Cast", "b", "y", to=TensorProto.FLOAT)]
    save(tmp_path / "texts.onnx", graph(equal, {}, {"x": (TensorProto.STRING, ["n"])}))
    (outcome,) = verified(model_subject(str(tmp_path / "texts.onnx")), "optimizer").values()
    assert (outcome.verdict, "the input `x` is a tensor(string)" in outcome.note) == ("skipped", True)


def test_a_model_that_takes_too_long_is_skipped_whatever_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Inline.call

    def slow(child: Inline, job: str, **given: Any) -> Any:
        if job == "run":
            raise Exceeded("it takes more than 60 s (--time-limit)")
        return call(child, job, **given)

    monkeypatch.setattr(Inline, "call", slow)
    found = verified(net("net a { input x 4; dense 3 }"), RUNS, against=["reference"], opsets=(21,))
    assert {check: each.verdict for (check, _), each in found.items()} == dict.fromkeys(RUNS.split(), "skipped")


def test_a_declared_shape_that_is_not_returned_fails(tmp_path: Path) -> None:
    made = graph([n("Relu", "x", "y")], {}, {"x": (1, ["N", 4])})
    made.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", 1, ["N", 5]))
    found = verified(model_subject(str(save(tmp_path / "m.onnx", made))), "checker shapes")
    assert verdicts(found) == {"its own opset": "failed", "declared": "failed", "inferred": "ok"}
    assert found["shapes", "declared"].note == "the output `y` has the shape [4, 4], and the declared one is ['N', 5]"


def test_an_inferred_shape_that_is_not_returned_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(JOBS, "shapes", lambda **_: {"inferred": {"output": ["N", 4]}, "declared": {}})
    assert verdicts(verified(net(TINY), "shapes")) == {"declared": "skipped", "inferred": "failed"}


def replaced(tool: str, change: Callable[[Arrays], Arrays], monkeypatch: pytest.MonkeyPatch) -> None:
    """Change the outputs of a tool."""
    run = JOBS["run"]

    def broken(**given: str) -> dict[str, Any]:
        answer = run(**given)
        if given["tool"] == tool:
            write_arrays(given["out"], change(read_arrays(given["out"])))
        return answer

    monkeypatch.setitem(JOBS, "run", broken)


WRONG: dict[str, Callable[[Arrays], Arrays]] = {
    "a difference": lambda y: {name: array * np.float32(1.001) for name, array in y.items()},
    "one element": lambda y: {name: array + np.eye(*array.shape, dtype="f4") * 1e-3 for name, array in y.items()},
    "NaN": lambda y: {name: array * np.float32(np.nan) for name, array in y.items()},
    "another shape": lambda y: {name: array[:1] for name, array in y.items()},
    "another name": lambda y: {f"{name}2": array for name, array in y.items()},
    "no output": lambda _: {},
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(("check", "tool"), [("optimizer", "unoptimized"), ("runtimes", "reference")])
def test_a_runtime_that_computes_something_else_fails(
    check: str, tool: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(tool, WRONG[wrong], monkeypatch)
    (outcome,) = verified(net(ZERO.replace(" init zeros", "")), check, against=["reference"]).values()
    assert outcome.verdict == "failed", outcome
    assert outcome.measured is not None
    assert outcome.measured > 1e-4


def test_the_tolerance_is_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced("reference", WRONG["a difference"], monkeypatch)
    (outcome,) = verified(net(TINY), "runtimes", against=["reference"], tolerance=2e-3).values()
    assert (outcome.verdict, outcome.bound) == ("ok", 2e-3)


def test_differences_for_the_data_alone_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that is wrong for large inputs."""
    replaced(
        "reference", lambda y: {k: np.where(np.abs(v) > 50, v * np.float32(2), v) for k, v in y.items()}, monkeypatch
    )
    linear = net("net n { input x 4; dense 3 }")
    data = {"x": np.full((2, 4), 1e4, np.float32) * [[1], [2]]}
    assert verdicts(verified(linear, "runtimes", against=["reference"])) == {"reference": "ok"}
    (outcome,) = verified(linear, "runtimes", data, against=["reference"]).values()
    assert (outcome.verdict, outcome.note) == ("failed", "for data inputs")


def test_examples_that_depend_on_one_another_fail(tmp_path: Path) -> None:
    nodes = [n("ReduceMean", "x axes", "m"), n("Sub", "x m", "y")]
    path = model(tmp_path / "m.onnx", nodes, {"axes": np.array([0])}, 4)
    found = verified(model_subject(str(path)), "batch optimizer")
    assert verdicts(found) == {"1 against 4": "failed", "onnxruntime": "ok"}


def doubled(vjp: Callable[..., Any]) -> Callable[..., Any]:
    from netdsl import ops

    def wrong(*given: Any) -> Any:
        return [None if each is None else ops.mul(each, 1.01) for each in vjp(*given)]

    return wrong


@pytest.mark.parametrize("op", [activations.Tanh, activations.Relu])
def test_a_wrong_gradient_fails(op: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op, "vjp", doubled(op.vjp))
    found = verified(net(TINY), "gradients")
    assert found["gradients", "plain"].verdict == "failed"
    assert found["gradients", "plain"].measured == pytest.approx(0.01, rel=0.8)
    assert {each.verdict for each in found.values()} <= {"failed", "skipped"}


def test_gradients_and_losses_that_are_not_finite_fail() -> None:
    """The slope of a root at 0 is infinite."""
    found = verified(net("net n { input x 4; dense 8; relu; sqrt; dense 3 }"), "gradients")
    assert found["gradients", "plain"].verdict == "failed"
    assert found["gradients", "plain"].note.startswith("the gradient of dense1.weight is not finite for random inputs")
    found = verified(net("net n { input x 4; log; dense 3 }"), "gradients")
    assert found["gradients", "plain"].note == "the loss is not finite for random inputs"


def test_a_gradient_that_is_wrong_in_one_element_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from netdsl.app.verify import gradient_check

    found = gradient_check.step_gradients

    def wrong(*given: Any) -> Any:
        gradients, loss = found(*given)
        if gradients is not None:
            gradients["dense1.weight"][2, 5] += 0.01 * np.abs(gradients["dense1.weight"]).max()
        return gradients, loss

    monkeypatch.setattr(gradient_check, "step_gradients", wrong)
    outcome = verified(net(TINY), "gradients")["gradients", "plain"]
    assert outcome.verdict == "failed"
    assert outcome.note.startswith("in dense1.weight")


def test_a_jump_of_a_gradient_by_rounding_is_noticed_if_one_trial_of_several_shows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from netdsl.app.verify import gradient_check

    found, calls = gradient_check.step_gradients, itertools.count()

    def jumped(*given: Any) -> Any:
        gradients, loss = found(*given)
        if gradients is not None and next(calls) != 3:
            gradients["dense1.weight"][2, 5] += 0.01 * np.abs(gradients["dense1.weight"]).max()
        return gradients, loss

    monkeypatch.setattr(gradient_check, "step_gradients", jumped)
    outcome = verified(net(TINY), "gradients")["gradients", "plain"]
    assert outcome.verdict == "ok"
    assert outcome.bound is not None
    assert outcome.bound > 1e-3


def test_a_loss_that_is_another_one_in_double_precision_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from netdsl.app.verify import gradient_check

    found = gradient_check.step_gradients
    monkeypatch.setattr(gradient_check, "step_gradients", lambda *given: (found(*given)[0], 17.0))
    for outcome in verified(net(TINY), "gradients").values():
        assert outcome.verdict == "failed"
        assert outcome.note.startswith("the loss is 17, and in double precision 1.")


def test_the_loss_is_that_of_the_train_block() -> None:
    found = verified(net(TRAINED), "gradients")
    assert found["gradients", "plain"].verdict == "ok"
    balanced = TRAINED.replace("loss mse", "loss cross_entropy class_weights balanced")
    found = verified(net(balanced), "gradients")
    assert found["gradients", "plain"].note == "`class_weights balanced` depends on the training data"


def test_tensors_that_were_not_compared_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netdsl.app.verify.gradient_check.SHARE", 0.0)
    found = verified(net(TINY), "gradients")
    assert found["gradients", "plain"].note.endswith("; 1 tensor, 1 difference")
    assert found["gradients", "other tensors"][2:6] == ("skipped", None, None, "5 tensors: no time (--time-limit)")


def test_a_bias_that_a_normalization_subtracts_again_is_no_failure() -> None:
    text = "net n { input x 2x6x6; conv 3x3 4 bias on; bn; relu; dense 3 }"
    found = verified(net(text), "gradients")
    assert found["gradients", "plain"].verdict == "ok", found


def test_kinks_that_a_step_crosses_are_no_failure(tmp_path: Path) -> None:
    """y = sum(relu(w x)) has kinks at w = 0, close to each weight of 1e-8."""
    from netdsl.app.verify.differences import compare

    nodes = [n("Mul", "x w", "a"), n("Relu", "a", "b"), n("ReduceSum", "b", "loss", keepdims=0)]
    made = graph(nodes, {}, {"x": (11, [4]), "w": (11, [4])}, "loss")
    made.output[0].type.tensor_type.elem_type = 11
    path = str(save(tmp_path / "m.onnx", made))
    feeds = {"x": np.array([1.0, 2, -3, 4]), "w": np.array([1e-9, -1e-9, 1e-9, 1.0])}
    right = {"w": np.array([1, 0, 0, 4], np.float32)}
    found = compare(path, feeds, [right], [right], samples=2, seed=0, seconds=60)
    assert max(found["tensors"]["w"]["errors"]) < 1e-3
    wrong = {"w": np.array([1, 0.1, 0, 4], np.float32)}
    found = compare(path, feeds, [wrong], [right], samples=2, seed=0, seconds=60)
    assert max(found["tensors"]["w"]["errors"]) > 0.02


def test_half_precision_that_overflows_fails() -> None:
    found = verified(net("net n { input x 4; scale 3000; dense 3; scale 3000; dense 3 }"), "f16")
    assert found["f16", "error"].verdict == "failed"
    assert found["f16", "error"].note == "an output has a number that is not finite"


def test_numbers_outside_half_precision_are_skipped() -> None:
    found = verified(net("net n { input x 4; scale 100000; dense 3 }"), "f16")
    assert found["f16", "error"].verdict == "skipped"
    assert "outside the range of half precision" in found["f16", "error"].note


@pytest.mark.parametrize(("measured", "verdict"), [(0.5, "ok"), (0.51, "failed"), (np.nan, "failed")])
def test_a_figure_at_its_bound_is_ok(measured: float, verdict: str) -> None:
    assert judged("batch", "1 against 4", measured, 0.5).verdict == verdict


def test_bounds_of_precisions() -> None:
    data = {"x": np.random.default_rng(1).standard_normal((8, 2, 6, 6), np.float32)}
    found = verified(net(TINY), "f16 int8", data, f16_tolerance=1e-9, int8_tolerance=1e-9)
    assert found["f16", "error"].verdict == found["int8", "error"].verdict == "failed"


def test_a_class_that_changes_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"x": np.random.default_rng(1).standard_normal((8, 2, 6, 6), np.float32)}
    run, times = JOBS["run"], []

    def turned(**given: str) -> dict[str, Any]:
        answer = run(**given)
        if "rounded" in os.path.basename(given["model"]):
            times.append(given)
            found = read_arrays(given["out"])
            write_arrays(given["out"], {name: -array for name, array in found.items()})
        return answer

    monkeypatch.setitem(JOBS, "run", turned)
    found = verified(net(TINY), "f16", data)
    assert times
    assert found["f16", "first class"].verdict == "failed"
    assert found["f16", "first class"].note == "of 8 examples"


def test_an_import_of_another_net_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    real = JOBS["reimport"]

    def other(model: str, out: str) -> dict[str, Any]:
        changed(model)
        return real(model, out)

    monkeypatch.setitem(JOBS, "reimport", other)
    found = verified(net(TINY), "import")
    assert verdicts(found) == {"proof": "ok", "outputs": "failed"}


def test_an_import_with_other_parameters_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    real = JOBS["reimport"]
    monkeypatch.setitem(JOBS, "reimport", lambda **given: real(**given) | {"parameters": 7})
    found = verified(net(TINY), "import")
    assert found["import", "proof"].verdict == "failed"
    assert found["import", "proof"].note.startswith("the imported net has 7 parameters, and the net ")


def test_an_import_that_is_not_the_model_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    real = JOBS["reimport"]
    monkeypatch.setitem(JOBS, "reimport", lambda **given: real(**given) | {"difference": 0.5})
    assert verdicts(verified(net(TINY), "import")) == {"proof": "failed", "outputs": "ok"}


def test_a_model_that_cannot_be_imported_is_skipped(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [n("Det", "x", "y")], {}, 3, 3)
    (outcome,) = verified(model_subject(str(path)), "import").values()
    assert outcome.verdict == "skipped"
    assert "cannot be imported" in outcome.note


def test_a_runtime_may_refuse_a_model_unless_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnx's reference has no implementation of every form."""
    nodes = [n("MaxPool", "x", "y", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)]
    given = model_subject(str(model(tmp_path / "m.onnx", nodes, {}, 1, 5, 5)))
    monkeypatch.setattr("netdsl.app.verify.model_checks.is_installed", lambda tool: tool == "reference")
    (refused,) = verified(given, "runtimes").values()
    assert refused.verdict == "skipped"
    assert refused.note == "reference does not run the model: MaxPool with ceil_mode or storage_order"
    (failed,) = verified(given, "runtimes", against=["reference"]).values()
    assert failed.verdict == "failed"


def test_a_missing_runtime_that_is_asked_for_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netdsl.app.verify.tools.find_spec", lambda _: None)
    with pytest.raises(MissingPackage, match="tract is not installed") as caught:
        verified(net(TINY), "runtimes", against=["tract"])
    assert caught.value.helps == ("pip install tract",)
    absent = next(tool for tool in AGAINST if tool not in ("reference", "openvino", "tract") and not is_installed(tool))
    with pytest.raises(UserError, match=absent):
        verified(net(TINY), "runtimes", against=[absent])
    assert "tract" not in verdicts(verified(net(TINY), "runtimes"))


STUBS = {
    "wrong": "return {y.name: y.value * 2 for y in self.outputs}",
    "refuses": "raise ValueError('an operator\\nthat it lacks')",
    "crashes": "import os; os._exit(3)",
    "aborts": "import os; os.abort()",
    "hangs": "import time; time.sleep(60)",
    "swells": "import time; self.kept = bytearray(700_000_000); time.sleep(60)",
}
STUB = """
class Core:
    def read_model(self, path): return path
    def compile_model(self, model, device, how):
        {}
"""


@pytest.mark.parametrize(
    ("kind", "wanted", "said"),
    [
        ("refuses", Failed, "an operator"),
        ("crashes", Failed, "the process ended with exit code 3"),
        ("aborts", Failed, "the process ended with signal SIGABRT"),
        ("hangs", Exceeded, "it takes more than 1 s (--time-limit)"),
        ("swells", Exceeded, "it takes more than 0.5 GiB of memory (--memory-limit)"),
    ],
)
def test_a_runtime_that_does_not_survive(
    kind: str, wanted: type[Exception], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the job, and the next one is done."""
    (tmp_path / "openvino.py").write_text(STUB.format(STUBS[kind]))
    monkeypatch.syspath_prepend(tmp_path)
    write_arrays(str(tmp_path / "x.npz"), {"x": np.zeros(1)})
    given = {"tool": "openvino", "model": "m", "feeds": str(tmp_path / "x.npz"), "out": str(tmp_path / "y.npz")}
    with Child(1 if kind == "hangs" else 100, int(0.5 * 2**30)) as child:
        if kind == "swells" and not sys.platform.startswith("linux"):
            pytest.skip("only Linux tells the memory of a process")
        with pytest.raises(wanted) as caught:
            child.call("run", **given)
        assert str(caught.value) == said
        child.seconds = 100
        with pytest.raises(Failed):
            child.call("check", model="none")


def test_examples_run_within_the_bounds_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data, run = {"x": np.random.default_rng(1).standard_normal((8, 2, 6, 6), np.float32)}, JOBS["run"]
    monkeypatch.setattr(Session, "run", None)
    assert verdicts(verified(net(TINY), "optimizer", data)) == {"onnxruntime": "ok"}

    def late(**given: str) -> dict[str, Any]:
        if given["feeds"].endswith("data.npz"):
            raise TimeoutError("late")
        return run(**given)

    monkeypatch.setitem(JOBS, "run", late)
    (outcome,) = verified(net(TINY), "optimizer", data).values()
    assert (outcome.verdict, outcome.note) == ("failed", "onnxruntime does not run the model on the examples: late")
    monkeypatch.setitem(JOBS, "feed", lambda **_: 1 / 0)
    monkeypatch.setattr(Session, "__init__", None)
    (outcome,) = verified(net(TINY), "optimizer", data).values()
    assert (outcome.verdict, outcome.note) == ("failed", "onnxruntime does not run the model: division by zero")


def test_an_odd_name_is_that_of_an_array(tmp_path: Path) -> None:
    arrays = {"a/../b": np.arange(3), "": np.ones((2, 0)), "names": np.zeros((), np.float16)}
    write_arrays(str(tmp_path / "a.npz"), arrays)
    found = read_arrays(str(tmp_path / "a.npz"))
    assert [*found] == [*arrays]
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


@pytest.mark.parametrize("axes", [0, 1])
def test_random_integers_are_below_the_vocabulary(axes: int, tmp_path: Path) -> None:
    nodes = [
        n("Reshape", "x to", "i") if axes else n("Identity", "x", "i"),
        n("Gather", "table i", "e"),
        n("ReduceSum", "e", "y", keepdims=0),
    ]
    arrays = {"table": w(3, 5), "to": np.array([-1, 2, 2])}
    path = model(tmp_path / "m.onnx", nodes, arrays, 4, kind=onnx.TensorProto.INT64)
    answer = JOBS["feed"](model=str(path), batch=50, out=str(tmp_path / "x.npz"))
    assert answer == {"batched": True}
    assert {*np.unique(read_arrays(str(tmp_path / "x.npz"))["x"])} == {0, 1, 2}


def test_sizes_are_tried_until_the_model_runs(tmp_path: Path) -> None:
    nodes = [n("Reshape", "x to", "y")]
    path = model(tmp_path / "m.onnx", nodes, {"to": np.array([0, -1, 97])}, "L")
    JOBS["feed"](model=str(path), batch=3, out=str(tmp_path / "x.npz"))
    assert read_arrays(str(tmp_path / "x.npz"))["x"].shape == (3, 97)


SAME = {
    "Conv": ([("x", (2, 3, 7, 6)), ("w", (4, 3, 3, 2))], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "MaxPool": ([("x", (2, 3, 7, 6))], {"auto_pad": "SAME_LOWER", "kernel_shape": [3, 2], "strides": [2, 2]}),
    "AveragePool": ([("x", (2, 3, 7, 6))], {"auto_pad": "SAME_UPPER", "kernel_shape": [3, 2]}),
}


@pytest.mark.parametrize("op", SAME)
def test_automatic_padding_is_as_in_onnxruntime(op: str, tmp_path: Path) -> None:
    import onnxruntime

    shapes, attributes = SAME[op]
    made = graph(
        [n(op, " ".join(name for name, _ in shapes), "y", **attributes)], {}, {k: (1, [*s]) for k, s in shapes}
    )
    path = save(tmp_path / "m.onnx", made)
    feeds = {name: w(*shape) for name, shape in shapes}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: Any = evaluator(str(path))
    np.testing.assert_allclose(found.run(None, feeds)[0], session.run(None, feeds)[0], rtol=1e-5, atol=1e-5)


HALF = {"neocognitron": 0.05, "nerf": 0.05}
"""Larger errors in half precision: (1 + e) / (1 + h) - 1 loses a digit where e and h are small, and so do sines of
angles of hundreds."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in zoo_nets() if name])
def test_every_small_net_of_the_zoo_is_sound(name: str) -> None:
    from netdsl.backend.compile import weights_size

    given = net(name, LESS.get(name, {}))
    if weights_size(given["net"]) > 40e6:
        pytest.skip("a large net")
    options = VerifyOptions(time_limit=100, f16_tolerance=HALF.get(name, VerifyOptions().f16_tolerance))
    found = checks.verify(name, name, options, **given)
    failed = [each for each in found.outcomes if each.verdict == "failed"]
    assert failed == []
    assert found.counts["ok"] > 2


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(NETS.glob("*.net")), ids=lambda path: path.stem)
def test_nets_of_the_tests_are_sound(path: Path) -> None:
    report = Report()
    found, origin = load_origin(str(path), report)
    assert found is not None
    done = checks.verify(path.stem, str(path), VerifyOptions(time_limit=100), **net_subject(found, origin, report))
    assert [each for each in done.outcomes if each.verdict == "failed"] == []
