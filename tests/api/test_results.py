"""What the commands do, from Python, training by keywords, arrays of other libraries, and wrong types."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdsl
from netdsl.elaborate.overrides import TRAINING_KEYS
from tests.support.cli_tools import MNIST, Commands

WEIGHTS = MNIST / "lenet5.safetensors"
SMALL = "net small { input x 4; dense 8; relu; dense 3 }"
TRAINED = f"""{SMALL}
train small {{ data npz "none.npz"; loss cross_entropy; optimizer adam lr 0.01; batch 10; epochs 2 }}"""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    monkeypatch.chdir(tmp_path)
    return Commands(tmp_path, capsys)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    import gzip

    x = np.frombuffer(gzip.open(MNIST / "t10k-images-idx3-ubyte.gz").read()[16:], "u1").reshape(-1, 1, 28, 28)
    y = np.frombuffer(gzip.open(MNIST / "t10k-labels-idx1-ubyte.gz").read()[8:], "u1")
    return x[:300], y[:300]


def points(n: int = 90) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Points with three classes, which a small net learns."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    return np.float32(rng.normal(size=(n, 4)) + 3 * np.eye(4)[y]), y


# The commands --------------------------------------------------------------------------------------------------------


def test_a_drawing_is_what_the_command_writes(command: Commands) -> None:
    net = netdsl.load("lenet5")
    for form in ("svg", "png", "dot", "mmd"):
        assert command("draw", "lenet5", "-o", f"command.{form}").code == 0
        net.draw(f"api.{form}")
        assert Path(f"api.{form}").read_bytes() == Path(f"command.{form}").read_bytes()
    assert net.draw()._repr_svg_() == net.draw().svg == Path("api.svg").read_text("utf-8")
    assert command("draw", "lenet5", "--wide", "--theme", "dark", "-o", "slide.svg").code == 0
    assert net.draw(wide=True, theme="dark").svg == Path("slide.svg").read_text("utf-8")
    with pytest.raises(netdsl.UserError, match="theme is 'light', 'dark' or 'plain', not 'pink'"):
        net.draw(theme="pink")
    Path("mine.svg").write_text("precious")
    for target, code in (("mine.svg", "E0611"), ("mine.gif", "E0643"), (".", "E0643")):
        with pytest.raises(netdsl.UserError) as caught:
            net.draw(target)
        assert caught.value.code == code
    with pytest.raises(netdsl.UserError, match="overwrite this one with force=True"):
        net.draw("mine.svg")
    net.draw("mine.svg", force=True)


DATA_OF_COMMANDS: dict[str, tuple[list[Any], Callable[[], Any]]] = {
    "diff": (["resnet18", "resnet34"], lambda: dict(netdsl.diff("resnet18", "resnet34"))),
    "compare": (["lenet5", "vgg16", "--format", "json"], lambda: [*netdsl.compare("lenet5", "vgg16")]),
    "weights": ([WEIGHTS], lambda: {"file": str(WEIGHTS), "tensors": [*netdsl.tensors(WEIGHTS)]}),
    "eval": (
        ["lenet5", "--weights", WEIGHTS, "--data", MNIST],
        lambda: dict(netdsl.evaluate("lenet5", str(MNIST), weights=WEIGHTS)),
    ),
    "attack": (
        [
            "lenet5",
            "--weights",
            WEIGHTS,
            "--data",
            f'mnist "{MNIST}" split test',
            "--examples",
            50,
            "--epsilon",
            "0,0.1",
        ],
        lambda: dict(
            netdsl.load("lenet5").attack(
                data=f'mnist "{MNIST}" split test', weights=WEIGHTS, examples=50, epsilon=[0, 0.1]
            )
        ),
    ),
}


@pytest.mark.parametrize("name", DATA_OF_COMMANDS)
def test_results_are_the_json_of_the_command(name: str, command: Commands) -> None:
    options, call = DATA_OF_COMMANDS[name]
    ran = command(name, *options, *([] if "--format" in options else ["--json"]))
    assert ran.code == 0, ran
    wanted = json.loads(ran.out)
    if name == "weights":
        wanted.pop("totals")
    assert json.loads(json.dumps(call())) == wanted


def test_results_print_as_the_command_does(command: Commands) -> None:
    for name, result in (
        ("weights", netdsl.tensors(WEIGHTS)),
        ("diff", netdsl.diff("resnet18", "resnet34")),
        ("compare", netdsl.compare("resnet18", "resnet34")),
    ):
        options = [str(WEIGHTS)] if name == "weights" else ["resnet18", "resnet34"]
        assert f"{result!r}\n" == command(name, *options).out
        shown = result._repr_mimebundle_()
        assert shown["text/plain"] == repr(result)
        assert shown["text/html"].startswith(("<pre>", "<table>"))


def test_arrays_are_evaluated_like_files(digits: Any) -> None:
    x, y = digits
    net = netdsl.load("lenet5")
    result = netdsl.evaluate(net, (x, y), weights=WEIGHTS, labels=list("abcdefghij"))
    found = net.session(weights=WEIGHTS).predict(x)["output"].argmax(1)
    assert result["accuracy"] == pytest.approx(np.mean(found == y))
    assert result["classes"] == list("abcdefghij")
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (y, found), 1)
    assert result["confusion"]["output"] == confusion.tolist()
    assert result.plot().svg.startswith("<svg")
    assert "<svg" in result._repr_mimebundle_()["text/html"]


def test_a_compiled_model_is_evaluated(tmp_path: Path, digits: Any) -> None:
    netdsl.load("lenet5").save(tmp_path / "m.onnx", weights=WEIGHTS)
    wanted = netdsl.evaluate("lenet5", digits, weights=WEIGHTS)
    assert netdsl.evaluate(tmp_path / "m.onnx", digits)["accuracy"] == wanted["accuracy"]


def test_random_weights_are_a_warning(digits: Any) -> None:
    with pytest.warns(UserWarning, match=r"lenet5: using random weights \(seed 0\); pass weights to load") as caught:
        netdsl.evaluate("lenet5", digits)
    assert caught[0].filename == __file__


def test_a_missing_file_of_data_is_named() -> None:
    net = netdsl.parse(SMALL)
    for call in (netdsl.evaluate, netdsl.Net.attack, netdsl.Net.fit):
        how = {"loss": "cross_entropy"} if call is netdsl.Net.fit else {}
        with pytest.raises(netdsl.UserError, match=r"E0601.*there is no file missing\.npz"):
            call(net, data="missing.npz", **how)  # type: ignore[operator]


def test_an_adversarial_example(digits: Any) -> None:
    x, y = digits
    found = netdsl.load("lenet5").attack(x[0], int(y[0]), weights=WEIGHTS, epsilon=0.1)
    assert found["fooled"]
    assert isinstance(found, netdsl.Result)
    assert np.abs(found.adversarial - found.image).max() == pytest.approx(25.5)
    assert (found.image == x[0]).all()
    assert found.plot().svg.startswith("<svg")
    batch = netdsl.load("lenet5").attack(x[:1], int(y[0]), weights=WEIGHTS, epsilon=0.1, method="pgd", steps=2)
    assert (batch["method"], batch["steps"]) == ("pgd", 2)


def test_filters_are_the_weights_of_the_first_convolution() -> None:
    net = netdsl.load("lenet5")
    found = net.filters(weights=WEIGHTS)
    assert (found["name"], found.weight.shape) == ("conv1.weight", (6, 1, 5, 5))
    assert net.filters("conv2", weights=WEIGHTS)["shape"] == [16, 6, 5, 5]
    assert found.plot().svg.startswith("<svg")
    with pytest.raises(netdsl.UserError, match=r"it has conv1, conv2"):
        net.filters("conv3", weights=WEIGHTS)


def test_a_check_returns_problems(tmp_path: Path) -> None:
    (tmp_path / "a.net").write_text(SMALL)
    assert list(netdsl.check(tmp_path / "a.net")) == []
    assert repr(netdsl.check(SMALL)) == "<string>: ok (small)"
    found = netdsl.check("net a { input x 4; desne 3 }", name="mine.net")
    assert [(problem.code, str(problem.span)) for problem in found] == [("E0202", "mine.net:1:20")]
    assert "\x1b" not in repr(found)
    assert '<span style="font-weight:bold;color:#c4262e">error' in found._repr_mimebundle_()["text/html"]
    with pytest.raises(netdsl.UserError, match="E0601"):
        netdsl.check(tmp_path / "missing.net")


def test_nets_of_one_name_are_compared_by_their_parameters() -> None:
    rows = netdsl.compare(*(netdsl.load("resnet", depth=depth) for depth in (18, 34)), batch=2)
    assert [row["net"].partition(",")[0] for row in rows] == ["resnet(depth = 18", "resnet(depth = 34"]
    assert rows.plot().svg.startswith("<svg")
    with pytest.raises(netdsl.UserError, match="there is no file resnet"):
        netdsl.compare("resnet(depth")


# Training by keywords ------------------------------------------------------------------------------------------------


def test_keywords_train_like_a_block(tmp_path: Path) -> None:
    x, y = points()
    (tmp_path / "small.net").write_text(
        f'{SMALL}\ntrain small {{ data npz "none.npz"; validate 0.2; loss cross_entropy smoothing 0.1; optimizer sgd '
        "lr 0.1 momentum 0.9 decay 0.001 except bias; schedule cosine; batch 10; epochs 3; seed 4; "
        "augment fgsm 0.1; freeze dense1 }"
    )
    block = netdsl.fit(tmp_path / "small.net", data=(x, y), threads=1)
    keywords: dict[str, Any] = {
        "validate": 0.2,
        "loss": "cross_entropy smoothing 0.1",
        "optimizer": "sgd momentum 0.9 except bias",
        "lr": 0.1,
        "decay": 1e-3,
        "schedule": "cosine",
        "batch": 10,
        "epochs": 3,
        "seed": 4,
        "augment": ["fgsm 0.1"],
        "freeze": "dense1",
    }
    for net in (netdsl.parse(SMALL), netdsl.parse(TRAINED), block.net):
        trained = net.fit(x, y, threads=1, **keywords)
        assert trained.history == block.history
        for name in block.weights:
            np.testing.assert_array_equal(trained.weights[name], block.weights[name])


def test_keywords_replace_lines_and_keep_the_others() -> None:
    x, y = points()
    trained = netdsl.parse(TRAINED).fit(x, y, lr=0.5)
    assert trained.history[-1] | {"rate": 0.5, "step": 18} == trained.history[-1]
    assert netdsl.parse(TRAINED).fit(x, y, steps=4).history[-1]["step"] == 4


def test_a_training_has_a_history_a_picture_and_a_net() -> None:
    x, y = points()
    net = netdsl.parse(SMALL)
    trained = net.fit(x, y, epochs=20, batch=15, loss="cross_entropy", optimizer="adamw", lr=0.02, validate=(x, y))
    assert trained.history.to_dict()["epoch"] == [*range(1, 21)]
    scores = trained.net.session(weights=trained.best).predict(x, batch=7)["output"]
    assert np.mean(scores.argmax(1) == y) == max(trained.history.to_dict()["validation_accuracy"]) > 0.9
    assert trained.plot().svg == trained.history.plot().svg
    shown = trained._repr_mimebundle_()["text/html"]
    assert shown.startswith("<svg")
    assert "<th>validation_accuracy</th>" in shown
    heads, *lines = repr(trained.history).splitlines()
    assert (heads.split(), len(lines)) == ([*trained.history[0]], 20)
    again = trained.net.fit(x, y, epochs=1, loss="cross_entropy", weights=trained.weights)
    assert again.history[0]["loss"] < trained.history[0]["loss"]


def test_a_training_is_written_and_resumed(tmp_path: Path) -> None:
    x, y = points()
    net, how = netdsl.parse(SMALL), {"loss": "cross_entropy", "threads": 1, "step_backend": "plain"}
    whole = net.fit(x, y, epochs=4, **how)  # type: ignore[arg-type]
    net.fit(x, y, epochs=2, out=tmp_path / "run", **how)  # type: ignore[arg-type]
    resumed = net.fit(x, y, epochs=4, out=tmp_path / "run", resume=True, **how)  # type: ignore[arg-type]
    for name in whole.weights:
        np.testing.assert_array_equal(resumed.weights[name], whole.weights[name])
    recipe = json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]
    assert "data python" in recipe


def test_what_is_odd_about_data_is_a_warning() -> None:
    x, y = points()
    with pytest.warns(UserWarning, match="fewer examples, 90, than the batch size, 1,000") as caught:
        netdsl.parse(SMALL).fit(x, y, loss="cross_entropy", batch=1000, epochs=1)
    assert caught[0].filename == __file__


def test_losses_of_several_outputs_and_batches_of_a_generator() -> None:
    net = netdsl.parse("net two { input x 4; h: dense 8; dense 3; output a; from h; dense 1; output b }")
    x, y = points()
    targets = {"target.a": y, "target.b": x[:, :1]}
    trained = net.fit(x, targets, loss={"a": "cross_entropy", "b": "mse weight 0.5"}, metric={"b": "mse"}, epochs=2)
    assert len(trained.history) == 2
    batches = netdsl.parse(SMALL).fit(data=lambda _: [(x, y)] * 3, loss="cross_entropy", steps=5)
    assert batches.history[-1]["step"] == 5


WRONG_FITS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "E0625", 'as in loss="cross_entropy"'),
    ({"epochs": 3}, "E0625", 'as in loss="cross_entropy"'),
    ({"loss": "mse", "learning_rate": 0.1}, "E0650", "write lr=1e-3"),
    ({"loss": "mse", "validation_split": 0.1}, "E0650", "write validate=0.1"),
    ({"loss": "mse", "class_weight": {}}, "E0650", 'write loss="cross_entropy class_weights balanced"'),
    ({"loss": "mse", "early_stopping": 3}, "E0650", 'write stop="patience 5"'),
    ({"loss": "cross_entropi"}, "E0219", "did you mean `cross_entropy`?"),
    ({"loss": "mse", "optimizer": "adm"}, "E0219", "did you mean `adam`?"),
    ({"loss": "cross_entropy", "lr": -1}, "E0401", "must be a number > 0, not -1"),
    ({"loss": "cross_entropy", "lr": "1 2"}, "E0626", "more than one value"),
    ({"loss": "cross_entropy", "momentum": 0.9, "optimizer": "adam"}, "E0402", "usage: adam"),
    ({"loss": "cross_entropy\nbatch 3"}, "E0651", "more than one line"),
    ({"loss": "cross_entropy }\nnet q { input x 3"}, "E0651", "more than one line"),
    ({"loss": "cross_entropy", "validate": 2.0}, "E0401", "must be a number > 0 and < 1"),
    ({"loss": "cross_entropy", "batch": True}, "E0401", "not on"),
    ({"loss": "cross_entropy", "batch": 2.5}, "E0401", "2.5"),
    ({"loss": "cross_entropy", "epochs": 2, "steps": 3}, "E0223", "steps"),
    ({"loss": "cross_entropy", "freeze": "nowhere"}, "E0203", "nowhere"),
    ({"loss": object()}, "E0650", "not an object of type object"),
    ({"loss": " "}, "E0650", "not the empty string"),
    ({"los": "mse"}, "E0650", "did you mean 'loss'?"),
]


@pytest.mark.parametrize(("how", "code", "said"), WRONG_FITS, ids=[said for _, _, said in WRONG_FITS])
def test_keywords_are_checked_as_the_language_is(how: dict[str, Any], code: str, said: str) -> None:
    with pytest.raises(netdsl.Error) as caught:
        netdsl.parse(SMALL).fit(*points(), **how)
    assert said in str(caught.value)
    assert caught.value.code == code


def test_a_type_checker_knows_every_line_and_argument() -> None:
    source = (Path(netdsl.__file__).parent / "api" / "training.py").read_text("utf-8")
    body = source.partition("class FitOptions")[2].partition("\n\n\n")[0]
    assert {line.partition(":")[0].strip() for line in body.splitlines()[3:] if ":" in line} == set(TRAINING_KEYS)


# Arrays in -----------------------------------------------------------------------------------------------------------


class Tensor:
    """An array of a library that has DLPack only."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array = array

    def __dlpack__(self, **how: Any) -> Any:
        return self._array.__dlpack__(**how)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


def test_tensors_of_other_libraries_are_arrays() -> None:
    x, y = points()
    session = netdsl.parse(SMALL).session()
    np.testing.assert_array_equal(session(Tensor(x))["output"], session(x)["output"])
    trained = netdsl.parse(SMALL).fit(Tensor(x), Tensor(y), loss="cross_entropy", epochs=1)
    assert len(trained.history) == 1


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_of_frames_are_matched_by_name(library: str) -> None:
    frames = pytest.importorskip(library)
    x, y = points()
    words = np.array(["ash", "birch", "cedar"])[y]
    frame = frames.DataFrame({name: x[:, at] for at, name in enumerate("abcd")})
    trained = netdsl.parse(SMALL).fit(frame, frames.Series(words), loss="cross_entropy", epochs=5, lr=0.1)
    plain = netdsl.parse(SMALL).fit(x, y, loss="cross_entropy", epochs=5, lr=0.1)
    assert trained.history == plain.history
    assert trained.net.class_names == {"output": ("ash", "birch", "cedar")}
    session = trained.net.session(weights=trained.weights)
    mixed = frame[["c", "a", "d", "b"]]
    for call in (session, session.predict):
        np.testing.assert_array_equal(call(mixed)["output"], call(x)["output"])
    result = netdsl.evaluate(trained.net, (mixed, words.tolist()), weights=trained.weights)
    assert result["accuracy"] == pytest.approx(np.mean(session(x)["output"].argmax(1) == y))
    for wrong, said in (
        (frame[["a", "b", "c"]], "x has no column `d`, which training had"),
        (frames.DataFrame({**dict.fromkeys("abcd", x[:, 0]), "e": y}), "x has a column `e`, which training did not"),
    ):
        with pytest.raises(netdsl.UserError, match=said):
            session(wrong)
    with pytest.raises(netdsl.UserError, match="the column `b` of x contains"):
        netdsl.parse("net n { input x 2; dense 3 }").fit(
            frames.DataFrame({"a": y, "b": words}), y, loss="cross_entropy", epochs=1
        )


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_table_is_a_frame(library: str) -> None:
    frames = pytest.importorskip(library)
    nameless = netdsl.compare("lenet5", netdsl.parse("net tiny { input x 4; dense 2 }"))
    with pytest.warns(UserWarning, match="not drawn, without a year: tiny"):
        nameless.plot("year")
    table = netdsl.compare("lenet5", "vgg16")
    assert frames.DataFrame(table)["params"].to_list() == table.to_dict()["params"] == [61706, 138357544]


# Sessions ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [None, 8])
@pytest.mark.parametrize("count", [1, 8, 13])
def test_a_session_predicts_any_number_of_examples(batch: int | None, count: int) -> None:
    x = points()[0][:count]
    whole = netdsl.parse(SMALL).session()(x)["output"]
    found = netdsl.parse(SMALL).session(batch=batch).predict(x, batch=5)["output"]
    np.testing.assert_allclose(found, whole, rtol=1e-5)


def test_an_only_input_needs_no_name() -> None:
    session = netdsl.parse(
        "net n { input a 2; input b 2; from a; dense 2; output p; from b; dense 2; output q }"
    ).session()
    x = np.ones((1, 2))
    assert session(a=x, b=x).keys() == {"p", "q"}
    for call in (session, session.predict):
        with pytest.raises(netdsl.UserError, match=r"takes its inputs by name: a=…, b=…"):
            call(x)
        with pytest.raises(netdsl.UserError, match="requires a, b, but got a"):
            call(a=x)
    with pytest.raises(netdsl.UserError, match="no examples"):
        session.predict(a=np.ones((0, 2)), b=np.ones((0, 2)))
    with pytest.raises(netdsl.UserError, match="differ in length"):
        session.predict(a=np.ones((3, 2)), b=np.ones((2, 2)))


# Wrong types ---------------------------------------------------------------------------------------------------------

ODD: list[Any] = [3, 2.5, b"\xff", object(), ["x"], {"a": 1}, True, float("nan")]
CALLS: dict[str, Callable[[Any], object]] = {
    "load": netdsl.load,
    "load, parameter": lambda odd: netdsl.load("resnet", depth=odd),
    "parse": netdsl.parse,
    "parse, name": lambda odd: netdsl.parse(SMALL, name=odd),
    "check": netdsl.check,
    "check, name": lambda odd: netdsl.check(SMALL, name=odd),
    "compare": netdsl.compare,
    "compare, batch": lambda odd: netdsl.compare("lenet5", batch=odd if odd != 3 else 0),
    "diff": lambda odd: netdsl.diff("lenet5", odd),
    "tensors": netdsl.tensors,
    "evaluate": lambda odd: netdsl.evaluate(odd, points()),
    "evaluate, data": lambda odd: netdsl.evaluate(netdsl.parse(SMALL), odd),
    "evaluate, x": lambda odd: netdsl.evaluate(netdsl.parse(SMALL), (odd, points()[1])),
    "evaluate, labels": lambda odd: netdsl.evaluate(netdsl.parse(SMALL), points(), labels=odd),
    "draw": lambda odd: netdsl.load("lenet5").draw(odd),
    "save": lambda odd: netdsl.load("lenet5").save(odd if odd != b"\xff" else 3),
    "filters": lambda odd: netdsl.load("lenet5").filters(odd),
    "attack": lambda odd: netdsl.load("lenet5").attack(odd, 3),
    "attack, data": lambda odd: netdsl.load("lenet5").attack(data=odd),
    "fit, file": netdsl.fit,
    "fit, x": lambda odd: netdsl.parse(SMALL).fit(odd, points()[1], loss="cross_entropy"),
    "fit, y": lambda odd: netdsl.parse(SMALL).fit(points()[0], odd, loss="cross_entropy"),
    "fit, data": lambda odd: netdsl.parse(SMALL).fit(data=odd, loss="cross_entropy"),
    "session": lambda odd: netdsl.parse(SMALL).session()(odd),
    "predict": lambda odd: netdsl.parse(SMALL).session().predict(odd),
    "predict, batch": lambda odd: netdsl.parse(SMALL).session().predict(points()[0], batch=odd if odd != 3 else 0),
}
WEIGHT_ARGUMENTS = "weights rename transpose drop match exclude partial allow_nonfinite"
ARGUMENTS = {
    "to_onnx": f"{WEIGHT_ARGUMENTS} seed batch opset dtype io metadata functions",
    "session": "provider threads allow_fallback",
    "draw": "unfold wide theme",
    "summary": "batch",
    "fit": "loss optimizer lr batch epochs seed augment freeze schedule metric stop validate out progress resume force "
    "threads provider step_backend epoch weights",
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_types_are_errors_with_a_code(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for odd in ODD:
        if name == "load, parameter" and odd is True:
            continue
        with warnings.catch_warnings(), pytest.raises(netdsl.Error) as caught:
            warnings.simplefilter("ignore")
            CALLS[name](odd)
        assert caught.value.code, odd


@pytest.mark.parametrize(("method", "argument"), [(m, a) for m, names in ARGUMENTS.items() for a in names.split()])
def test_wrong_keyword_arguments_are_errors_with_a_code(
    method: str, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    net = netdsl.parse(SMALL)
    given: dict[str, Any] = {"loss": "cross_entropy", "epochs": 1} if method == "fit" else {}
    codes = []
    for odd in ODD:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                getattr(net, method)(*(points() if method == "fit" else ()), **{**given, argument: odd})
            except netdsl.Error as error:
                codes.append(error.code)
    assert all(codes)
    assert len(codes) >= 5
