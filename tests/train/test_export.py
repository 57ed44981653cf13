"""`netdsl compile --training`: the file that other programs train with, run by bare onnxruntime and by onnx's own
evaluator, and held against our own session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from netdsl.app.frontend import load_recipe
from netdsl.backend.emit import emit
from netdsl.base.text import Source
from netdsl.diagnostics.report import Report
from netdsl.elaborate.recipe import Recipe
from netdsl.losses import LOSSES
from netdsl.passes.run_time import LARGE
from netdsl.train.export import PROTOCOL_KEY, NeedsNewerOpset, step_model, step_to_bytes, step_values
from netdsl.train.runner import Runner
from netdsl.train.step import portable, training_step
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

NET = """
net a {
  input x 1x6x6
  conv 3x3 2 pad 0 bias off; bn; relu; maxpool 2x2
  dense 5; tanh; dropout 0.3
  dense 3
}
train a { data npz "none.npz"; loss cross_entropy; batch 4; seed 5; OPTIMIZER }
"""
OPTIMIZERS = {
    "sgd": "optimizer sgd lr 0.1",
    "momentum": "optimizer sgd lr 0.1 momentum 0.9 nesterov on decay 1e-3 except bias bn",
    "adam": "optimizer adam lr 0.01",
    "rmsprop": "optimizer rmsprop lr 0.01 clip 1",
}


def recipe_of(optimizer: str = "optimizer sgd lr 0.1", net: str = NET) -> Recipe:
    report = Report()
    found = load_recipe(Source("a.net", net.replace("OPTIMIZER", optimizer)), report)
    assert found is not None, [problem.message() for problem in report]
    return found


def bare(model: bytes) -> tuple[Any, dict[str, Any], list[str]]:
    """As another program has it: a session, the protocol, and what the outputs are called."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options)
    told = json.loads(session.get_modelmeta().custom_metadata_map[PROTOCOL_KEY])
    return session, told, [output.name for output in session.get_outputs()]


def batches(count: int = 3) -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)
    return [
        {
            "x": generator.standard_normal((4, 1, 6, 6)).astype(np.float32),
            "target": generator.integers(0, 3, 4),
            "rate": np.array(rate, np.float32),
        }
        for rate in np.linspace(0.1, 0.05, count)
    ]


def train(run: Any, told: dict[str, Any], names: list[str]) -> tuple[dict[str, Any], list[float]]:
    """The protocol of docs/training_step.md."""
    state: dict[str, Any] = {}
    losses = []
    for batch in batches():
        done = dict(zip(names, run(None, {**batch, **state}), strict=True))
        state = {name: done[after] for name, after in told["state"].items()}
        losses.append(float(done[told["loss"]]))
    return state, losses


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_bare_onnxruntime_does_what_our_session_does(optimizer: str) -> None:
    recipe = recipe_of(optimizer)
    session, told, names = bare(step_to_bytes(recipe))
    state, losses = train(session.run, told, names)
    graph = portable(training_step(recipe.net, recipe))
    first = {name: session_initial(recipe)[name] for name in told["state"]}
    runner = Runner(graph, emit(graph).model.SerializeToString(), first)
    for batch, loss in zip(batches(), losses, strict=True):
        runner.step(batch)
        assert float(runner.result("loss")) == pytest.approx(loss, rel=1e-6)
    ours = runner.state()
    assert ours.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_allclose(array, ours[name], rtol=1e-6, atol=1e-7, err_msg=name)


def session_initial(recipe: Recipe) -> dict[str, Any]:
    """What training begins with, as the file has it."""
    model = onnx.load_from_string(step_to_bytes(recipe))
    return {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_onnx_s_own_evaluator_trains_the_same(optimizer: str) -> None:
    model = step_to_bytes(recipe_of(optimizer))
    session, told, names = bare(model)
    state, losses = train(session.run, told, names)
    reference = ReferenceEvaluator(onnx.load_from_string(model))
    wanted, others = train(reference.run, told, names)
    np.testing.assert_allclose(losses, others, rtol=1e-5)
    for name, array in state.items():
        np.testing.assert_allclose(array, wanted[name], rtol=2e-4, atol=2e-6, err_msg=name)


def test_what_is_not_given_is_as_training_begins() -> None:
    """Before and after other steps: nothing in the session changes."""
    session, told, names = bare(step_to_bytes(recipe_of(OPTIMIZERS["adam"])))
    before = session.run(None, batches()[0])
    train(session.run, told, names)
    after = session.run(None, batches()[0])
    for name, a, b in zip(names, before, after, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


def test_the_model_is_portable() -> None:
    model = onnx.load_from_string(step_to_bytes(recipe_of(OPTIMIZERS["momentum"])))
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 21)]
    assert {node.domain for node in model.graph.node} == {""}
    required = {each.name for each in model.graph.input} - {each.name for each in model.graph.initializer}
    assert required == {"x", "target", "rate"}


def test_every_input_and_output_is_explained() -> None:
    model = step_model(recipe_of(OPTIMIZERS["momentum"])).model
    said = {value.name: value.doc_string for value in (*model.graph.input, *model.graph.output)}
    assert all(said.values()), said
    assert said["target"] == "the expected outputs: the numbers of the classes, from 0 to 2"
    assert said["bn1.running_mean"] == "a running statistic of the net"
    assert said["conv1.weight.next"] == "the new value of conv1.weight"
    assert "NAME.next" in model.doc_string


def test_the_protocol() -> None:
    told = json.loads(next(p.value for p in step_model(recipe_of()).model.metadata_props if p.key == PROTOCOL_KEY))
    assert told["version"] == 1
    assert told["batch"] == 4
    assert told["inputs"] == ["x"]
    assert told["targets"] == {"target": {"kind": "class", "classes": 3}}
    assert told["outputs"] == ["output"]
    assert told["state"]["step"] == "step.next"
    assert told["initial"]["step"] == 0
    assert told["optimizer"]["lr"] == 0.1
    assert told["losses"][0]["name"] == "cross_entropy"
    assert told["seed"] == 5
    assert {"bn1.running_mean", "bn1.running_var"} == set(told["statistics"])
    assert set(told["weights"]) == {f"{layer}.weight" for layer in ("conv1", "bn1", "dense1", "dense2")} | {
        f"{layer}.bias" for layer in ("bn1", "dense1", "dense2")
    }


def test_what_is_frozen_is_given_and_stays() -> None:
    recipe = recipe_of("freeze dense1")
    _, told, _ = bare(step_to_bytes(recipe))
    assert "dense1.weight" in told["weights"]
    assert "dense1.weight" not in told["state"]
    said = {value.name: value.doc_string for value in step_model(recipe).model.graph.input}
    assert said["dense1.weight"] == "a weight of the net, which is not trained"


def test_dropout_counts_its_steps() -> None:
    """The same state and batch give the same step; another count gives another mask."""
    session, _, names = bare(step_to_bytes(recipe_of()))
    loss = names.index("loss")
    (batch, *_) = batches()
    first, again, other = (session.run(None, {**batch, "step": np.array(step, np.uint32)})[loss] for step in (0, 0, 7))
    assert first == again != other


def test_the_seed_decides_the_weights() -> None:
    once, again = (session_initial(recipe_of())["conv1.weight"] for _ in range(2))
    np.testing.assert_array_equal(once, again)
    other = session_initial(recipe_of(net=NET.replace("seed 5", "seed 6")))["conv1.weight"]
    assert (once != other).any()


def test_equal_recipes_give_equal_bytes() -> None:
    assert step_to_bytes(recipe_of()) == step_to_bytes(recipe_of())


def test_dropout_needs_opset_18() -> None:
    with pytest.raises(NeedsNewerOpset, match="opset 18"):
        step_model(recipe_of(), opset=17)
    session, told, names = bare(step_to_bytes(recipe_of(), opset=18))
    assert len(train(session.run, told, names)[1]) == 3


@pytest.mark.parametrize("opset", [17, 19, 26])
def test_other_opsets_train_the_same(opset: int) -> None:
    net = NET.replace("; dropout 0.3", "")
    session, told, names = bare(step_to_bytes(recipe_of(net=net), opset=opset))
    usual, _, _ = bare(step_to_bytes(recipe_of(net=net)))
    np.testing.assert_allclose(train(session.run, told, names)[1], train(usual.run, told, names)[1], rtol=1e-5)


def test_values_stand_in_the_order_of_the_parameters() -> None:
    emitted = step_model(recipe := recipe_of(OPTIMIZERS["momentum"]))
    names = [name for name, _ in step_values(emitted, recipe)]
    assert names == [parameter.name for parameter in emitted.parameters]
    assert names.index("conv1.weight") < names.index("conv1.weight.velocity")


def test_the_command(netdsl: Commands) -> None:
    netdsl.write(a=NET.replace("OPTIMIZER", ""))
    ran = netdsl(
        "compile", "a.net", "--training", "-o", "step.onnx", "--batch", 2, "--seed", 9, "--set", "train.lr=0.2"
    )
    assert ran.code == 0
    assert ran.out == ""
    assert "a step of 2 examples" in ran.err
    assert "drawn from seed 9" in ran.err
    session, told, _ = bare(Path("step.onnx").read_bytes())
    assert told["batch"] == 2
    assert told["seed"] == 9
    assert told["optimizer"]["lr"] == 0.2
    assert session.get_inputs()[0].shape == [2, 1, 6, 6]
    assert netdsl("compile", "a.net", "--training").code == 0
    assert Path("a.step.onnx").exists()


def test_it_begins_with_given_weights(netdsl: Commands) -> None:
    netdsl.write(a=NET.replace("OPTIMIZER", "optimizer sgd momentum 0.9"))
    weights = {name: np.full(p.shape, 0.5, np.float32) for name, p in recipe_of().net.parameters.items()}
    np.savez("w.npz", **weights)
    assert netdsl("compile", "a.net", "--training", "-o", "s.onnx", "--weights", "w.npz", "--external-data").code == 0
    model = onnx.load("s.onnx")
    onnx.checker.check_model("s.onnx", full_check=True)
    found = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    assert (found["conv1.weight"] == 0.5).all()
    assert (found["conv1.weight.velocity"] == 0).all()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("a.net", "--training", "--quantize", "int8"), "E0641"),
        (("a.net", "--training", "--opset", "17"), "E0649"),
        (("lenet5", "--training"), "E0625"),
        (("a.net", "--training", "--batch", "3", "--set", "train.batch=3"), "E0626"),
        (("a.net", "--training", "--metadata", "netdsl.training=x"), "E0640"),
        (("a.net", "--training", "-o", "a.net", "--force"), "E0613"),
        (("a.net", "--training", "--set", "train.loss=mse2"), "E0219"),
    ],
)
def test_what_is_wrong_is_told(netdsl: Commands, arguments: tuple[str, ...], code: str) -> None:
    netdsl.write(a=NET.replace("OPTIMIZER", ""))
    ran = netdsl("compile", *arguments)
    assert ran.code in (1, 2)
    assert code in ran.err
    assert not list(Path().glob("*.onnx"))


SEQUENCE = "input n 1 dtype i64; input x {length} dtype i64; embedding 300 64; {layers}; linear 40"
RECURRENT = "{cell} 16 layers 2 bidirectional on lengths n dropout 0.2"
LOSSES_OF_ONE = "logistic", "exponential", "hinge squared on", "perceptron", "mse", "l1", "smooth_l1", "mean"
LOSSES_OF_FOUR = (
    *("cross_entropy", "cross_entropy ignore 0 class_weights [1, 2, 3, 4] smoothing 0.1", "ctc longest 9"),
    *("hinge", "hinge multiclass weston_watkins squared on", "perceptron"),
)


def net_with_losses() -> str:
    """A net with a long output for each loss."""
    lines = [(1, line) for line in LOSSES_OF_ONE] + [(4, line) for line in LOSSES_OF_FOUR]
    outputs = "; ".join(f"output o{i} {{ conv 1 {channels} }}" for i, (channels, _) in enumerate(lines))
    losses = "; ".join(f"loss o{i} {line}" for i, (_, line) in enumerate(lines))
    return f"net t {{ input x 1x9000; {outputs} }}\ntrain t {{ data xor; {losses}; batch 4 }}"


def step_on(length: int, layers: str) -> str:
    """A net of layers on a sequence."""
    net = SEQUENCE.format(length=length, layers=layers)
    return f"net t {{ {net} }}\ntrain t {{ data xor; loss cross_entropy; optimizer adam; batch 4 }}"


def test_every_loss_is_loaded_below() -> None:
    assert {line.split()[0] for line in (*LOSSES_OF_ONE, *LOSSES_OF_FOUR)} == {*LOSSES}


@pytest.mark.parametrize(
    "net",
    [
        net_with_losses(),
        *(step_on(500, RECURRENT.format(cell=cell)) for cell in ("rnn", "gru", "lstm")),
        step_on(500, "linear 192; rope 12; attention 4 causal on dropout 0.1; skip { linear 64; drop_path 0.1 }"),
        step_on(500, "add { } { positions; embedding 500 64 }; maxpool 2; slice 1 3 200; upsample 2; noise normal"),
    ],
)
def test_runtimes_compute_no_large_constant(net: str, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    model = step_to_bytes(recipe_of(net=net))
    onnxruntime.InferenceSession(model, options)
    before, after = (
        sum(onnx.numpy_helper.to_array(each).nbytes for each in graph.initializer)
        for graph in (onnx.load_from_string(model).graph, onnx.load(options.optimized_model_filepath).graph)
    )
    assert after <= before + 2 * LARGE
