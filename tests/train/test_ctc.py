"""`loss ctc` and `metric edit`: against PyTorch, sums over all paths, and a textbook edit distance; and their data."""

from __future__ import annotations

from itertools import groupby, product
from pathlib import Path

import numpy as np
import pytest
from onnxruntime import InferenceSession

import netdsl
from netdsl import ops
from netdsl.backend.emit import emit
from netdsl.backend.serialize import to_bytes
from netdsl.base.user_error import UserError
from netdsl.ir.graph import Graph
from netdsl.losses.sequence import Ctc
from netdsl.metrics import METRICS, edit_distances, greedy
from netdsl.passes.gradient import gradients
from netdsl.passes.rewrite import expand_macros, prune
from netdsl.train.export import protocol, step_model, step_to_bytes
from netdsl.train.step import portable, training_step
from tests.support.recipe_tools import recipe_of, right


def graph_of(shape, symbols, blank=0, lengths=False):
    """The loss of a batch [N, K, T], and its gradient."""
    graph = Graph("loss")
    y = graph.input("y", shape)
    target = graph.input("t", (shape[0], symbols), "i64")
    if lengths:
        graph.input("n", (shape[0], 1), "i64")
    loss = Ctc(blank=blank, lengths="n" if lengths else None).body(y, target)
    graph.output("loss", loss)
    graph.output("dy", ops.identity(gradients(loss, [y])[0]))
    return prune(expand_macros(graph))


def feeds_of(y, t, lengths, dtype="f4"):
    feeds = {"y": np.asarray(y, dtype), "t": np.asarray(t, "i8")}
    return feeds if lengths is None else {**feeds, "n": np.reshape(lengths, (-1, 1)).astype("i8")}


def run(y, t, blank=0, lengths=None, opset=21):
    """Loss and gradient, in float32 on onnxruntime."""
    graph = graph_of(np.shape(y), np.shape(t)[1], blank, lengths is not None)
    session = InferenceSession(to_bytes(emit(graph, opset=opset), ()))
    return session.run(["loss", "dy"], feeds_of(y, t, lengths))


def waves(n, k, t):
    return 3 * np.sin(np.arange(float(n * k * t))).reshape(n, k, t)


# By PyTorch 2.13 in float64: torch.nn.functional.ctc_loss(log_softmax(y, 1).permute(2, 0, 1), …, reduction="mean",
# zero_infinity=True), and the sum of its gradient by y times cos(0), cos(1), …
PYTORCH = {
    "different symbols": (waves(2, 4, 6), [[1, 2, 3], [3, 1, -1]], 0, None, 1.7472942140873404, 0.03375987056460393),
    "repeated symbols": (waves(2, 3, 7), [[1, 1, 2], [2, 2, 2]], 0, None, 1.8139623068350423, -0.046837535764681165),
    "last symbol blank": (waves(2, 3, 5), [[0, 1, -1], [1, 1, -1]], 2, None, 0.9705825325353716, 0.05449978795138669),
    "empty": (waves(3, 3, 5), [[1, -1], [-1, -1], [2, 1]], 0, None, 5.579195397014844, 0.21746105350681685),
    "too long": (
        waves(3, 3, 3),
        [[1, 1, 2], [1, 2, -1], [1, -1, -1]],
        0,
        None,
        1.4268346653763964,
        0.11903213202071936,
    ),
    "more columns than places": (
        waves(4, 4, 2),
        [[1, -1, -1, -1, -1], [3, 2, -1, -1, -1], [3, 3, -1, -1, -1], [1, 2, 3, 2, 1]],
        0,
        None,
        0.38668651971540147,
        -0.11650069432699585,
    ),
    "lengths": (
        waves(3, 4, 6),
        [[1, 2, 3], [3, 1, -1], [2, 2, -1]],
        0,
        [4, 6, 2],
        1.1723684141209156,
        -0.029416198763286716,
    ),
    "one place": (waves(2, 4, 1), [[1], [3]], 0, None, 0.48318354278840864, -0.27768270436000225),
    "no place": (waves(2, 4, 3), [[1], [-1]], 0, [0, 0], 0.0, 0.0),
}


@pytest.mark.parametrize("name", PYTORCH)
@pytest.mark.parametrize("opset", [17, 21, 26])
def test_loss_and_gradient_are_pytorchs(name, opset):
    y, t, blank, lengths, expected, projected = PYTORCH[name]
    loss, dy = run(y, t, blank, lengths, opset)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert np.sum(dy.ravel() * np.cos(np.arange(dy.size))) == pytest.approx(projected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", PYTORCH)
def test_gradients_are_the_limits_of_differences(name):
    y, t, blank, lengths, *_ = PYTORCH[name]
    graph = graph_of(y.shape, len(t[0]), blank, lengths is not None)
    evaluator = InferenceSession(to_bytes(emit(graph, float_type="f64"), ()))  # onnx's reference has no reverse Scan
    rng = np.random.default_rng(len(name))
    y = rng.standard_normal(y.shape)
    feeds = feeds_of(y, t, lengths, "f8")
    (dy,) = evaluator.run(["dy"], feeds)
    direction = rng.standard_normal(y.shape)
    ahead, behind = (evaluator.run(["loss"], {**feeds, "y": y + h * direction})[0] for h in (1e-6, -1e-6))
    assert (ahead - behind) / 2e-6 == pytest.approx(np.sum(dy * direction), rel=1e-6, abs=1e-8)


def read(path, blank):
    return [symbol for symbol, _ in groupby(path) if symbol != blank]


def summed(y, t, blank, lengths):
    """The loss by its definition: a sum over all paths."""
    losses = []
    for scores, target, places in zip(y, t, lengths, strict=True):
        wanted = [symbol for symbol in target if symbol >= 0]
        p = np.exp(scores) / np.exp(scores).sum(0)
        paths = product(range(len(p)), repeat=places)
        total = sum(np.prod([p[s, at] for at, s in enumerate(path)]) for path in paths if read(path, blank) == wanted)
        losses.append(-np.log(total) / max(1, len(wanted)) if total else 0.0)
    return np.mean(losses)


@pytest.mark.parametrize("blank", [0, 1, 2])
def test_loss_is_the_sum_over_all_paths(blank):
    rng = np.random.default_rng(blank)
    symbols = [symbol for symbol in range(3) if symbol != blank]
    t = np.full((12, 4), -1)
    for row in t:
        size = rng.integers(0, 5)
        row[:size] = rng.choice(symbols, size)
    y, lengths = 2 * rng.standard_normal((12, 3, 5)), rng.integers(0, 6, 12)
    assert run(y, t, blank)[0] == pytest.approx(summed(y, t, blank, [5] * 12), rel=1e-5)
    assert run(y, t, blank, lengths)[0] == pytest.approx(summed(y, t, blank, lengths), rel=1e-5)


def test_places_behind_the_end_change_nothing():
    y, t = waves(2, 4, 6), [[1, 2], [3, 3]]
    loss, dy = run(y, t, lengths=[4, 5])
    assert not dy[0, :, 4:].any()
    assert not dy[1, :, 5:].any()
    y[0, :, 4:], y[1, :, 5:] = 50, -7
    other, same = run(y, t, lengths=[4, 5])
    assert (loss, dy.tolist()) == (other, same.tolist())


def test_scores_are_large_or_not_numbers():
    """A probability of 0 is finite in logarithms; NaN must end the training, not count as a target without a path."""
    y = np.zeros((1, 3, 4))
    y[:, 0] = 1e4
    loss, dy = run(y, [[1, 2]])
    assert loss == pytest.approx((2e4 - np.log(6)) / 2, rel=1e-6)  # 6 paths, which read each symbol once
    assert np.isfinite(dy).all()
    y[0, 1, 2] = np.nan
    loss, dy = run(y, [[1, 2]])
    assert np.isnan(loss)


def test_a_long_output_is_exact_and_its_graph_small():
    """The number of nodes does not depend on the number of places."""
    sizes = {places: len(emit(graph_of((2, 5, places), 4)).model.SerializeToString()) for places in (10, 1000)}
    assert abs(sizes[1000] - sizes[10]) < 200
    y = np.zeros((1, 2, 1000))
    loss, _ = run(y, [[1]])  # of 2^1000 paths, 1000 * 1001 / 2 read one symbol
    assert loss == pytest.approx(1000 * np.log(2) - np.log(500_500), rel=1e-5)


NET = "net reader { input x 4x12; conv 3 8 pad 1; relu; conv 1 5 }\n"
WITH_LENGTHS = "net reader { input n 1 dtype i64; input x 4x12; conv 3 8 pad 1; relu; conv 1 5 }\n"


def words(count=16, seed=0):
    rng = np.random.default_rng(seed)
    t = np.full((count, 4), -1)
    for row in t:
        size = rng.integers(0, 5)
        row[:size] = rng.integers(1, 5, size)
    return rng.standard_normal((count, 4, 12)).astype("f4"), t


def block(more="loss ctc", net=NET):
    return f'{net}train reader {{ data npz "x.npz"; {more}; optimizer adam lr 1e-2; batch 4; epochs 2 }}'


def write(tmp_path, *text):
    path = tmp_path / "reader.net"
    path.write_text(block(*text))
    return str(path)


@pytest.mark.parametrize("longest", ["", " longest 7"])
def test_validation_is_the_mean_over_the_examples(tmp_path: Path, longest):
    """Validation targets may be longer than those of training."""
    x, t = words()
    wide = np.pad(t, ((0, 0), (0, 2)), constant_values=-1)
    wide[0] = [1, 2, 3, 4, 1, 2]
    text = write(tmp_path, f"loss ctc{longest}; metric edit")
    found = netdsl.fit(text, data=(x, t), validate=(x[:7], wide[:7]), threads=1, step_backend="plain")
    y = netdsl.load(text).session(weights=found.weights)(x[:7])["output"]
    row = found.history[-1]
    assert row["validation_loss"] == pytest.approx(run(y, wide[:7])[0], rel=1e-5)
    distances = [textbook(read(one.argmax(0), 0), [s for s in u if s >= 0]) for one, u in zip(y, wide[:7], strict=True)]
    assert row["validation_edit"] == pytest.approx(sum(distances) / (wide[:7] >= 0).sum())


def test_backends_agree_and_the_loss_falls(tmp_path: Path):
    x, t = words()
    n = np.full((16, 1), 12)
    n[::3] = 9
    text, data = write(tmp_path, "loss ctc lengths n; metric edit", WITH_LENGTHS), ({"x": x, "n": n}, t)
    assert not netdsl.check(Path(text))
    rows = [
        netdsl.fit(
            text, data=data, validate=data, settings={"train.epochs": 12}, threads=1, step_backend=backend
        ).history
        for backend in ("plain", "nchwc")
    ]
    assert rows[0][-1]["loss"] < 0.8 * rows[0][0]["loss"]
    for one, other in zip(*rows, strict=True):
        for name in ("loss", "validation_loss"):
            assert one[name] == pytest.approx(other[name], rel=1e-3)


def test_accumulated_batches_are_one_batch(tmp_path: Path):
    x, t = words()
    text = write(tmp_path, "loss ctc longest 4")
    one = netdsl.fit(text, data=(x, t), settings={"train.batch": 8}, threads=1, step_backend="plain")
    two = netdsl.fit(text, data=(x, t), settings={"train.accumulate": 2}, threads=1, step_backend="plain")
    for name, array in one.weights.items():
        assert two.weights[name] == pytest.approx(array, abs=1e-4)


def test_a_resumed_run_is_the_same(tmp_path: Path):
    x, t = words()
    np.savez(tmp_path / "x.npz", x=x, target=t)
    text = write(tmp_path, "loss ctc; metric edit; validate 0.25")
    how = {"threads": 1, "step_backend": "plain"}
    whole = netdsl.fit(text, out=tmp_path / "whole", **how)
    netdsl.fit(text, out=tmp_path / "parts", settings={"train.epochs": 1}, **how)
    resumed = netdsl.fit(text, out=tmp_path / "parts", resume=True, **how)
    for name, array in whole.weights.items():
        assert np.array_equal(array, resumed.weights[name])


def test_batches_from_an_iterable(tmp_path: Path):
    x, t = words()
    parts = [(x[:6], t[:6, :3]), (x[6:], t[6:])]
    with pytest.raises(UserError, match="batch by batch"):
        netdsl.fit(write(tmp_path), data=parts)
    text = write(tmp_path, "loss ctc longest 4; metric edit")
    assert np.isfinite(netdsl.fit(text, data=parts, threads=1, step_backend="plain").history[-1]["loss"])
    t[:, 1:] = -1
    t[7] = [1, 1, 1, -1]
    narrow = "net reader { input x 4x12; conv 3 5 stride 3 pad 1 }\n"
    with pytest.raises(UserError) as caught:
        netdsl.fit(write(tmp_path, "loss ctc longest 4", narrow), data=[(x, t)], threads=1, step_backend="plain")
    assert caught.value.message == "the target of example 3 of step 2 needs 5 places, but has 4"


def test_lists_are_padded(tmp_path: Path):
    x, t = words()
    rows = [[int(symbol) for symbol in row if symbol >= 0] for row in t]
    assert [] in rows
    one, two = (
        netdsl.fit(write(tmp_path), data=(x, each), threads=1, step_backend="plain").history for each in (t, rows)
    )
    assert one == two


@pytest.mark.parametrize("blank", [0, 2])
def test_texts_are_symbols(tmp_path: Path, blank):
    x, t = words()
    t[t == blank] = 0 if blank else 1
    t[0] = [symbol for symbol in range(5) if symbol != blank]
    names = ["w", "x", "y", "z"]
    names.insert(blank, "")
    texts = ["".join(names[symbol] for symbol in row if symbol >= 0) for row in t]
    text, how = write(tmp_path, f"loss ctc blank {blank}"), {"threads": 1, "step_backend": "plain"}
    numbers, *others = (
        netdsl.fit(text, data=(x, y), validate=(x, y[:]), **how)
        for y in (t, texts, [[*each] for each in texts], np.array(texts))
    )
    for found in others:
        assert found.history == numbers.history
        assert found.net.class_names == {"output": tuple(names)}
    with pytest.raises(UserError, match=r"target\[1\] has a symbol of another name, but the classes are w, x, y, z$"):
        netdsl.fit(text, data=(x, texts), validate=(x[:2], ["w", "xv"]), **how)


def test_targets_without_a_path_are_named(tmp_path: Path):
    x, t = words()
    t[:] = [1, -1, -1, -1]
    t[3], t[9] = [2, 2, 1, -1], [4, 3, 3, 3]
    narrow = "net reader { input x 4x12; conv 3 5 stride 3 pad 1 }\n"
    with pytest.warns(UserWarning, match="alignment") as caught:
        found = netdsl.fit(write(tmp_path, "loss ctc", narrow), data=(x, t), threads=1, step_backend="plain")
    assert np.isfinite(found.history[-1]["loss"])
    expected = (
        "1 of 16 targets have no alignment, and contribute nothing to the loss: target[9] needs 6; "
        "the output has 4 places"
    )
    assert [str(each.message) for each in caught if "alignment" in str(each.message)] == [expected]
    with pytest.raises(UserError) as refused:
        netdsl.fit(write(tmp_path, "loss ctc", narrow), data=(x, np.full((16, 4), 2)))
    assert refused.value.message.startswith("none of the 16 targets fits the 4 places of the output: target[0] needs 7")


@pytest.mark.parametrize("backend", ["plain", "nchwc"])
def test_targets_may_have_more_columns_than_the_output_places(tmp_path: Path, backend):
    x, t = words()
    t[:] = [1, 2, -1, -1]
    wide = np.pad(t, ((0, 0), (0, 3)), constant_values=-1)
    narrow = "net reader { input x 4x12; conv 3 5 stride 3 }\n"
    text, how = write(tmp_path, "loss ctc", narrow), {"threads": 1, "step_backend": backend}
    one, other = (netdsl.fit(text, data=(x, each), validate=(x, wide), **how) for each in (t, wide))
    assert [row["loss"] for row in one.history] == pytest.approx([row["loss"] for row in other.history], rel=1e-5)
    long = wide.copy()
    long[9] = [1, 2, 3, 4, 1, 2, 3]
    with pytest.warns(UserWarning, match="1 of 16 targets have no alignment.*: target.9. needs 7; the output has 4"):
        found = netdsl.fit(text, data=(x, long), validate=(x, long), **how)
    assert np.isfinite(found.history[-1]["validation_loss"])
    np.savez(tmp_path / "long.npz", x=x, target=long)
    with pytest.warns(UserWarning, match="no alignment"):
        figures = netdsl.evaluate(text, data=tmp_path / "long.npz", weights=found.weights)
    assert figures["loss"] == pytest.approx(found.history[-1]["validation_loss"], rel=1e-5)


WRONG = {
    "one axis": (np.ones(4, "i8"), "target has shape [4], but must be [examples, symbols]"),
    "real": (np.ones((4, 2)), "target contains float64, but symbols must be integers"),
    "blank": (
        [[1, 0]] * 4,
        "target[0] is 0 at [1], but a label must be a symbol from 0 to 4 except the blank, 0, or -1",
    ),
    "too large": ([[1, 5]] * 4, "target[0] is 5 at [1], but a label must be"),
    "negative": ([[1, -2]] * 4, "target[0] is -2 at [1], but a label must be"),
    "lists of real numbers": ([[1.5], [2.0, 1.0], [1.0], []], "target is list, not an array"),
    "too few texts": (["ab", "c", "", "b"], "target has 4 symbols with the blank, but the net has 5"),
    "empty texts": (["", "", "", ""], "target has shape [4], but must be [examples, symbols]"),
    "gap": ([[1, -1, 2]] * 4, "target[0] is 2 at [2], but a label must be -1, as the one before it"),
    "longest": ([[1, 2, 3]] * 4, "target[0] has 3 symbols, but `longest` is 2"),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_targets_are_refused(tmp_path: Path, name):
    t, message = WRONG[name]
    text = write(tmp_path, "loss ctc longest 2" if name == "longest" else "loss ctc")
    with pytest.raises(UserError) as caught:
        netdsl.fit(text, data=(words(4)[0], t))
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize("wrong", [-1, 13])
def test_lengths_outside_of_the_output_are_refused(tmp_path: Path, wrong):
    x, t = words()
    n = np.full((16, 1), 12)
    n[5] = wrong
    with pytest.raises(UserError) as caught:
        netdsl.fit(write(tmp_path, "loss ctc lengths n", WITH_LENGTHS), data=({"x": x, "n": n}, t))
    assert caught.value.message == f"n[5] is {wrong}, but the output has 12 places"


MESSAGES = {
    "loss ctc blank 5": "the blank is 5, but the symbols of the output `output` are 0 to 4",
    "loss ctc longest 13": "targets of 13 symbols do not fit the 12 places of the output `output`",
    "loss ctc lengths m": "the net `reader` has no input `m`",
    "loss ctc lengths x": "`lengths` is one integer for each example, but `x` is 4x12 of f32",
    "loss ctc class_weights [1, 1, 1, 1, 1]": "`class_weights` is neither an argument of `ctc` nor a known name",
    "loss ctc ignore 3": "`ignore` is neither an argument of `ctc` nor a known name",
    "loss ctc blank 4; metric edit blank 0": "the blank of `edit` is 0, but that of its loss is 4",
    "loss ctc; metric accuracy": "`accuracy` does not fit the loss of the output `output`, whose target is a sequence "
    "of symbols, 5 with the blank 0",
    "loss cross_entropy; metric edit": "`edit` does not fit the loss of the output `output`, whose target is one of 5 "
    "classes at each of 12 positions",
}


@pytest.mark.parametrize("text", MESSAGES)
def test_lines_that_do_not_fit(text):
    assert [problem.message() for problem in recipe_of(block(text))[1]] == [MESSAGES[text]]


@pytest.mark.parametrize("data", ['csv "x.csv" target "y"', 'mnist "x"', "xor", 'folder "x"', 'idx "x" "y"'])
def test_data_without_sequences(data):
    text = block().replace('npz "x.npz"', data)
    (problem,) = netdsl.check(text)
    assert problem.code == "E0348"
    assert problem.message().endswith("it has no sequences of symbols as targets, as `npz` and `npy` have")


@pytest.mark.parametrize("metric", ["", "; metric edit", "; metric edit blank 3"])
def test_the_edit_distance_is_the_default_metric_and_has_the_blank_of_the_loss(metric):
    (line,) = right(block(f"loss ctc blank 3{metric}")).metrics
    assert (line.metric.kind, line.metric.blank) == ("edit", 3)


@pytest.mark.parametrize(("last", "codes"), [("softmax", ["W0304"]), ("log_softmax", ["W0304"]), ("tanh", [])])
def test_a_softmax_before_the_loss_is_a_warning(last, codes):
    text = block(net=NET.replace("conv 1 5", f"conv 1 5; {last}"))
    assert [problem.code for problem in netdsl.check(text)] == codes


def test_a_compiled_step_needs_the_size_of_its_targets():
    with pytest.raises(UserError, match="the data determine the size of the target"):
        step_model(right(block()))
    recipe = right(block("loss ctc longest 4"))
    model = step_model(recipe)
    assert protocol(portable(training_step(recipe.net, recipe)), recipe)["targets"] == {
        "target": {"kind": "sequence", "classes": 5, "blank": 0}
    }
    assert model.model.graph.input[1].doc_string.endswith("symbols from 0 to 4 except 0, padded with -1 at the end")
    session = InferenceSession(step_to_bytes(recipe))
    assert {x.name: x.shape for x in session.get_inputs()}["target"] == [4, 4]
    x, t = words(4)
    loss, y = session.run(["loss", "output"], {"x": x, "target": t, "rate": np.array(0.1, "f4")})
    assert loss == pytest.approx(run(y, t)[0], rel=1e-5)


def textbook(a, b):
    """The edit distance, cell by cell."""
    row = list(range(len(b) + 1))
    for i, one in enumerate(a):
        after = [i + 1]
        for j, other in enumerate(b):
            after.append(min(row[j + 1] + 1, after[j] + 1, row[j] + (one != other)))
        row = after
    return row[-1]


def test_edit_distances_are_the_textbooks():
    rng = np.random.default_rng(0)
    rows = [[rng.integers(0, 3, rng.integers(0, 8)) for _ in range(300)] for _ in range(2)]
    a, b = (np.stack([np.pad(row, (0, 9 - len(row)), constant_values=-1) for row in part]) for part in rows)
    assert edit_distances(a, b).tolist() == [textbook(*pair) for pair in zip(*rows, strict=True)]


@pytest.mark.parametrize("blank", [0, 2])
def test_the_greedy_reading(blank):
    y = np.random.default_rng(1).standard_normal((50, 3, 9))
    found = greedy(y, blank)
    expected = [read(one.argmax(0), blank) for one in y]
    assert [[s for s in row if s >= 0] for row in found.tolist()] == expected
    assert all((row[len(e) :] == -1).all() for row, e in zip(found, expected, strict=True))


def test_edit_is_a_sum_over_all_batches():
    metric = METRICS["edit"](blank=0)
    assert np.isnan(metric.value())
    y = np.eye(3)[:, [1, 0, 2, 2]][None].repeat(2, 0)  # reads 1 2
    metric.update(y, np.array([[1, 2, -1], [1, 1, 1]]))
    metric.update(y[:1], np.array([[-1, -1, -1]]))
    assert metric.value() == (0 + 2 + 2) / 5
    again = METRICS["edit"](blank=0)
    again.restore(metric.state())
    assert again.value() == metric.value()
