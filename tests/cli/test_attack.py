"""Adversarial examples: the gradient by the pixels against finite differences, the methods against their formulas, and
the command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from netdsl.app.attack import GRADIENT, LABEL, LOSS, SCORES, Classifier, NotAttackable, attack_graph, fgsm, pgd
from netdsl.app.frontend import load_net
from netdsl.backend.compile import structure
from netdsl.backend.emit import emit
from netdsl.base.text import Source
from netdsl.data.reader import open_input
from netdsl.diagnostics.report import Report
from netdsl.ir.net import Net
from netdsl.weights.draw import draw
from netdsl.weights.file import open_weights
from tests.support.cli_tools import MNIST, Commands, netdsl
from tests.support.exact import evaluator
from tests.support.paths import ROOT

__all__ = ["netdsl"]

WEIGHTS = MNIST / "lenet5.safetensors"
SEVEN = MNIST / "digits" / "7_0.png"
DATA = f'mnist "{MNIST.as_posix()}" split test'

NETS = {
    "bn, at inference": "input x 2x6x6; conv 3x3 4; bn; tanh; dropout 0.5; avgpool 2x2; dense 3",
    "softmax at the end": "input x 2x4x4; scale 1/255; conv 3x3 3; sigmoid; dense 5; softmax",
    "bytes": "input x 1x4x4 dtype u8; normalize mean [10] std [60]; dense 6; tanh; dense 3",
    "one number": "input x 7; dense 4; tanh; dense 1",
    "one number, squeezed": "input x 7; dense 4; tanh; dense 1; sigmoid",
    "one place": "input x 2x4x4; conv 4x4 3 pad 0",
    "lrn": "input x 6x6x6; conv 3x3 6; lrn 5; dense 3",
    "max": "input x 6x6x6; conv 3x3 6; maxpool 2x2; dense 3",
}


def net_of(body: str) -> Net:
    net = load_net(Source("a.net", f"net a {{ {body} }}"), Report())
    assert net is not None
    return net


@pytest.fixture(scope="module")
def lenet() -> Classifier:
    net = load_net("lenet5", Report())
    assert net is not None
    return Classifier(net, weights=open_weights(str(WEIGHTS)), batch=20)


def digits(classifier: Classifier) -> tuple[Any, Any]:
    images = open_input(str(MNIST / "t10k-images-idx3-ubyte.gz"), classifier.shape, "f32")
    labels = open_input(str(MNIST / "t10k-labels-idx1-ubyte.gz"), (), "i64")
    return next(images.batches(20)), next(labels.batches(20))


def random_weights(net: Net) -> dict[str, Any]:
    """Weights of all sorts, positive variances among them, in float64."""
    values = {}
    for name, parameter in net.parameters.items():
        block = np.concatenate([*draw(parameter, 1)]).reshape(parameter.shape).astype(np.float64)
        if parameter.buffer or name.endswith("bias"):
            block = block + np.linspace(0.3, 0.7, block.size).reshape(block.shape)
        values[name] = block
    return values


@pytest.mark.parametrize("body", NETS.values(), ids=NETS)
def test_the_gradient_is_that_of_finite_differences(body: str) -> None:
    """In float64, by onnx's own evaluator; the cross-entropy's gradient is a positive multiple of ours."""
    net = net_of(body)
    model = emit(attack_graph(net, 2), float_type="f64").skeleton
    run = evaluator(model)
    names = [output.name for output in model.graph.output]
    shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
    generator = np.random.default_rng(3)
    x, labels = generator.uniform(0, 2, shape), np.array([0, 1])
    weights = random_weights(net)

    def look(x: Any) -> dict[str, Any]:
        feeds = {model.graph.input[0].name: x, LABEL: labels, **weights}
        return dict(zip(names, run.run(None, feeds), strict=True))  # type: ignore[arg-type]

    found = look(x)
    scores = found[SCORES] if found[SCORES].shape[1] > 1 else np.concatenate([0 * found[SCORES], found[SCORES]], 1)
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    np.testing.assert_allclose(found[LOSS], -logs[[0, 1], labels], rtol=1e-12)
    part = 1 - np.exp(-found[LOSS])  # what the cross-entropy's gradient is of that of the lead
    for place in generator.choice(x.size, 12, replace=False):
        step = np.zeros(x.size)
        step[place] = 1e-5
        ahead, behind = (look(x + sign * step.reshape(x.shape))[LOSS] for sign in (1, -1))
        at = np.unravel_index(place, x.shape)
        difference = (ahead - behind)[at[0]] / 2e-5
        assert difference == pytest.approx(part[at[0]] * found[GRADIENT][at], rel=1e-5, abs=1e-9)


def test_the_model_is_plain_onnx() -> None:
    model = structure(attack_graph(net_of("input x 6x6x6; conv 3x3 6; lrn 5; maxpool 2x2; dense 3"), 3)).model
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 21)]
    onnx.checker.check_model(emit(attack_graph(net_of(NETS["bytes"]))).skeleton, full_check=True)


def test_a_gradient_is_there_where_the_net_is_certain() -> None:
    """There the cross-entropy's own is 0 in single precision."""
    net = net_of("input x 4; scale 1000; dense 3")
    classifier = Classifier(net, seed=2)
    x = np.ones((1, 4), np.float32)
    winner = classifier.probabilities(x).argmax(1)
    found = classifier.look(x, winner)
    assert found[LOSS][0] == 0
    assert (found[GRADIENT] != 0).all()


@pytest.mark.parametrize("epsilon", [0.0, 0.007, 0.1, 1.0])
def test_fgsm_is_its_formula(lenet: Classifier, epsilon: float) -> None:
    x, labels = digits(lenet)
    sign = np.sign(lenet.look(x, labels)[GRADIENT])
    wanted = np.clip(x + np.float32(255 * epsilon) * sign, 0, 255)
    np.testing.assert_array_equal(fgsm(lenet, x, labels, epsilon), wanted)


def test_pgd_stays_in_its_box_and_does_more(lenet: Classifier) -> None:
    x, labels = digits(lenet)
    changed = pgd(lenet, x, labels, 0.1)
    assert np.abs(changed - x).max() <= 25.5 + 1e-4
    assert changed.min() >= 0
    assert changed.max() <= 255
    losses = [lenet.look(each, labels)[LOSS].sum() for each in (x, fgsm(lenet, x, labels, 0.1), changed)]
    assert losses == sorted(losses)


def test_one_long_step_of_pgd_from_the_image_is_fgsm(lenet: Classifier) -> None:
    x, labels = digits(lenet)
    one = pgd(lenet, x, labels, 0.05, steps=1, alpha=0.05, seed=None)
    np.testing.assert_allclose(one, fgsm(lenet, x, labels, 0.05), atol=1e-4)


def test_pgd_is_that_of_its_seed(lenet: Classifier) -> None:
    x, labels = digits(lenet)
    once, again, other = (pgd(lenet, x, labels, 0.1, steps=2, seed=seed) for seed in (1, 1, 2))
    assert (once == again).all()
    assert (once != other).any()


def test_a_batch_is_filled_up(lenet: Classifier) -> None:
    x, labels = digits(lenet)
    whole, part = lenet.look(x, labels)[GRADIENT], lenet.look(x[:3], labels[:3])[GRADIENT]
    np.testing.assert_allclose(part, whole[:3], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("input a 3; dense 2; output u; input b 3; dense 2; output v", "2 inputs"),
        ("input words 5 dtype i64; embedding 10 4; dense 2", "an integer input"),
        ("input x 1x?x?; conv 3x3 4; global_avgpool; dense 2", "variable size"),
        ("input x 1x8x8; conv 3x3 4", "no output with a number for each class"),
    ],
)
def test_what_is_no_classifier_of_pictures(body: str, said: str) -> None:
    with pytest.raises(NotAttackable, match=said):
        attack_graph(net_of(body))


ATTACK = ("attack", "lenet5", SEVEN, "--label", 7, "--weights", WEIGHTS)


def test_the_command_tells_what_came_of_a_picture(netdsl: Commands) -> None:
    ran = netdsl(*ATTACK, "--epsilon", 0.2)
    assert ran.code == 0
    first, image, adversarial, change = ran.out.splitlines()
    assert first.endswith("7: fgsm, epsilon 0.2 (51 of 255)")
    assert image.split()[:3] == ["image", "7:", "99.99"]
    assert adversarial.split()[:2] == ["adversarial", "3:"]
    assert change.split()[:3] == ["change", "0.2", "at"]


def test_the_figures_as_json(netdsl: Commands) -> None:
    found = json.loads(netdsl(*ATTACK, "--json").out)
    assert found["epsilon"] == 0.007
    assert found["before"]["class"] == found["after"]["class"] == 7
    assert found["fooled"] is False
    assert found["before"]["loss"] < found["after"]["loss"]
    assert found["change"]["largest"] == pytest.approx(0.007, rel=1e-5)
    found = json.loads(netdsl(*ATTACK, "--json", "--method", "pgd", "--epsilon", 0.1, "--steps", 5).out)
    assert (found["steps"], found["alpha"], found["fooled"]) == (5, 0.05, True)


def test_classes_have_names(netdsl: Commands) -> None:
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    Path("names.txt").write_text("\n".join(names))
    told = ("attack", "lenet5", SEVEN, "--weights", WEIGHTS, "--labels", "names.txt", "--epsilon", 0.2, "--label")
    assert "seven: 99.99 %" in netdsl(*told, "seven").out
    assert "did you mean `seven`?" in netdsl(*told, "sevn").err


@pytest.mark.parametrize("name", ["out.svg", "out.png"])
def test_the_figure(netdsl: Commands, name: str) -> None:
    """Three pictures side by side; the last is the adversarial one."""
    assert netdsl(*ATTACK, "--epsilon", 0.2, "-o", name).code == 0
    before = Path(name).read_bytes()
    assert netdsl(*ATTACK, "--epsilon", 0.2, "-o", name).code == 0, "it may replace its own"
    assert Path(name).read_bytes() == before
    if name == "out.svg":
        text = before.decode()
        assert text.count("<image ") == 3
        assert ">7, 99.99 %<" in text
        assert ">0.2 × this<" in text


def test_a_figure_is_not_written_over_what_is_read(netdsl: Commands) -> None:
    copy = Path("seven.png")
    copy.write_bytes(SEVEN.read_bytes())
    ran = netdsl("attack", "lenet5", copy, "--label", 7, "-o", copy, "--force")
    assert ran.code == 2
    assert "E0613" in ran.err
    assert copy.read_bytes() == SEVEN.read_bytes()


def test_accuracy_against_epsilon(netdsl: Commands) -> None:
    told = ("attack", "lenet5", "--data", DATA, "--weights", WEIGHTS, "--examples", 250, "--epsilon", "0,0.1,0.2")
    rows = json.loads(netdsl(*told, "--json").out)["rows"]
    assert [row["epsilon"] for row in rows] == [0, 0.1, 0.2]
    assert rows[0]["accuracy"] > 0.98
    assert rows[0]["accuracy"] > rows[1]["accuracy"] > rows[2]["accuracy"]
    assert rows[2]["accuracy"] < 0.1
    assert rows[1]["errors"] == round(250 * (1 - rows[1]["accuracy"]))
    ran = netdsl(*told, "--batch", 60, "-o", "curve.svg")
    assert ran.out.splitlines()[2].split()[:2] == ["0", f"{100 * rows[0]['accuracy']:.2f}"]
    assert "<polyline" in Path("curve.svg").read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((SEVEN,), "E0641", "pass the true class of the image, such as --label 7"),
        ((), "E0641", "an attack needs either an IMAGE or --data"),
        ((SEVEN, "--label", 7, "--data", DATA), "E0641", "an attack needs either an IMAGE or --data"),
        (("--label", 7, "--data", DATA), "E0641", "the examples of --data have labels"),
        ((SEVEN, "--label", 7, "--steps", 3), "E0641", "--steps needs --method pgd"),
        ((SEVEN, "--label", 7, "--range", "0,1"), "E0641", "are 0 to 255, but --range is 0 to 1"),
        ((SEVEN, "--label", 7, "--epsilon", "0.1,0.2"), "E0641", "several epsilons need --data"),
        ((SEVEN, "--label", 7, "--examples", 3), "E0641", "--examples needs --data"),
        ((SEVEN, "--label", 10), "E0870", "lenet5 has 10 classes, 0 to 9"),
        ((SEVEN, "--label", "-1"), "E0870", "--label is -1"),
        ((MNIST / "t10k-images-idx3-ubyte.gz", "--label", 1), "E0801", "use --data for a data set"),
        ((SEVEN, "--label", 7, "-o", "figure.jpeg"), "E0643", "the name must end with .svg, .png or .pdf"),
        (("--data", 'mnist "nowhere"'), "E0837", "nowhere"),
        (("--data", "mnistt"), "E0219", "did you mean `mnist`?"),
        (("--data", 'mnist "a"\n epochs 3'), "E0644", "more than one line"),
    ],
)
def test_what_is_wrong_is_told(netdsl: Commands, options: tuple[Any, ...], code: str, said: str) -> None:
    ran = netdsl("attack", "lenet5", *options, "--weights", WEIGHTS)
    assert ran.code in (1, 2)
    assert code in ran.err
    assert said in ran.err


@pytest.mark.parametrize(
    "options", [("--epsilon", "2"), ("--epsilon", "x"), ("--epsilon", "nan"), ("--range", "1,0"), ("--range", "0")]
)
def test_odd_numbers_are_wrong_usage(netdsl: Commands, options: tuple[str, ...]) -> None:
    assert netdsl(*ATTACK, *options).code == 2


def test_a_range_of_its_own(netdsl: Commands) -> None:
    """A net of pixels from 0 to 1, fed with numbers."""
    netdsl.write(a="net a { input x 1x2x2; dense 3 }")
    np.save("x.npy", np.full((1, 1, 2, 2), 0.5, np.float32))
    ran = netdsl("attack", "a.net", "x.npy", "--label", 1, "--range", "0,1", "--epsilon", 0.25, "--json")
    assert json.loads(ran.out)["change"] == {"largest": 0.25, "mean": 0.25}
    assert "random weights" in ran.err


def test_the_picture_of_the_page_is_what_the_command_draws(netdsl: Commands) -> None:
    """Word for word; shades may differ in their last bit."""
    assert netdsl(*ATTACK, "--epsilon", 0.2, "-o", "seven.svg").code == 0
    page = ROOT / "docs" / "attack.svg"
    drawn, shown = (re.findall(r">([^<]+)</t|<(image) ", path.read_text("utf-8")) for path in (Path("seven.svg"), page))
    assert drawn == shown


@pytest.mark.parametrize("what", [[SEVEN, "--label", 3], ["--data", DATA, "--examples", 200]])
def test_an_input_that_normalizes_is_attacked_like_a_net_that_does(netdsl: Commands, what: list[Any]) -> None:
    netdsl.write(
        a="net a { input image 1x28x28 mean 33 std 78; dense 10 }",
        b="net a { input image 1x28x28; normalize mean [33] std [78]; dense 10 }",
    )
    one, other = (netdsl("attack", f"{name}.net", *what, "--epsilon", 0.1, "--json", "-q") for name in "ab")
    assert one.code == 0, one
    assert numbers(one.out) == pytest.approx(numbers(other.out), rel=1e-4)


def numbers(text: str) -> list[float]:
    return [float(each) for each in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", text)]
