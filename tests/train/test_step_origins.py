"""Every operation of a training step has an owner and a phase, in both step backends and after all passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from netdsl.base.text import Source, Span
from netdsl.elaborate.recipe import LossLine, Recipe
from netdsl.ir.graph import BACKWARD, FORWARD, LOSS, PHASES, UPDATE
from netdsl.losses import LOSSES
from netdsl.optimizers import OPTIMIZERS
from netdsl.passes.blocked import lower_blocked
from netdsl.passes.finish import finish
from netdsl.passes.run_time import at_run_time
from netdsl.train.export import step_model
from netdsl.train.step import portable, training_step
from tests.support.layer_cases import GROUPS
from tests.support.programs import flow
from tests.support.recipe_tools import right

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netdsl.ir.graph import Graph
    from netdsl.ir.net import Net

BLOCK = 8

NETS = {
    "residual": "input image 3x24x24 dtype u8; scale 1/255; conv 3x3 16; bn; relu; maxpool 3x3 stride 2;"
    "skip { conv 3x3 16; bn; relu; conv 3x3 16; bn }; relu; conv 3x3 24 stride 2; bn; dwconv 3x3; bn; relu6;"
    "global_avgpool; dropout 0.5; dense 10",
    "wide": "input image 1x8x8; flatten; dense 1200; relu; dense 1100; relu; dense 10",
    "recurrent": "input x 12x5; lstm 8 last on; dense 10",
    "shared": "input x 16; a: dense 16; relu; reuse a; relu; dense 10",
}
LINES = {
    "sgd": "optimizer sgd lr 0.1 momentum 0.9 decay 1e-4",
    "adam": "optimizer adam lr 1e-3 clip 1; average 0.9; schedule cosine",
    "attacked": "augment { fgsm 0.1 }; optimizer sgd lr 0.1 clip_value 1",
}


def program(net: str, lines: str) -> str:
    return f"net n {{ {net} }}\ntrain n {{\n  data xor\n  loss cross_entropy\n  {lines}\n  batch 4\n}}"


def stages(step: Graph) -> Iterator[tuple[str, Graph]]:
    """Yield the graphs of a step from its construction to what is emitted."""
    yield "step", step
    yield "exported", at_run_time(portable(step))
    for name, lowered in (("plain", portable(step)), ("nchwc", lower_blocked(step, BLOCK).graph)):
        yield name, lowered
        yield f"{name}, finished", finish(lowered, LOSS).graph


def assert_owned(step: Graph, net: Net) -> None:
    for name, graph in stages(step):
        for operation in graph.operations:
            origin = operation.origin
            assert origin is not None, (name, operation)
            assert origin.phase in PHASES, (name, operation)
            assert origin.node or origin.line, (name, operation)
            assert origin.node is None or origin.node in net.nodes, (name, operation)


@pytest.mark.parametrize(
    ("net", "lines"), [*((net, "sgd") for net in NETS), ("wide", "adam"), ("shared", "adam"), ("shared", "attacked")]
)
def test_every_operation_has_an_owner_and_a_phase(net: str, lines: str) -> None:
    recipe = right(program(NETS[net], LINES[lines]))
    assert_owned(training_step(recipe.net, recipe), recipe.net)
    if lines == "adam":
        assert_owned(training_step(recipe.net, recipe, rows=2), recipe.net)


@pytest.mark.slow
@pytest.mark.parametrize("given", GROUPS)
def test_operations_of_every_layer_have_an_owner(given: str) -> None:
    for call in GROUPS[given]:
        net = flow(f"input {given}\n{call}")
        if "?" not in given and net.outputs["output"].node.dtype == "f32":
            assert_owned(training_step(net, squared(net)), net)


def squared(net: Net) -> Recipe:
    """Return a recipe for any output."""
    span = Span(Source("test.net", "train"), 0, 5)
    losses = (LossLine(output="output", loss=LOSSES["mse"](), span=span),)
    optimizer = OPTIMIZERS["adamw"](clip=1.0)
    nothing: object = None
    return Recipe(
        net=net, span=span, name="n", data=nothing, losses=losses, metrics=(), optimizer=optimizer, schedule=nothing
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("net", NETS)
def test_phases_follow_each_other(net: str) -> None:
    """An operation of the forward pass reads nothing from the backward pass, and neither reads updated weights."""
    recipe = right(program(NETS[net], LINES["sgd"]))
    for name, graph in stages(training_step(recipe.net, recipe)):
        changed = {state.after for state in graph.state.values()}
        for operation in graph.operations:
            for x in operation.inputs:
                if x.producer and x.dtype == "f32" and x.shape:
                    before, after = (PHASES.index(each.origin.phase) for each in (x.producer, operation))
                    assert before <= after or x not in changed, (name, operation, x)
                    assert after > 0 or before == 0, (name, operation, x)


def test_a_line_of_the_block_owns_what_no_layer_does() -> None:
    recipe = right(program(NETS["residual"], LINES["adam"]))
    found = {
        (o.origin.line.name, o.origin.phase) for o in training_step(recipe.net, recipe).operations if o.origin.line
    }
    assert found == {("loss", FORWARD), ("loss", BACKWARD), ("optimizer", UPDATE), ("average", UPDATE)}
    recipe = right(program(NETS["shared"], LINES["attacked"]))
    found = {o.origin.line.name for o in training_step(recipe.net, recipe).operations if o.origin.line}
    assert found == {"loss", "augment", "optimizer"}


def test_an_update_belongs_to_the_layer_of_its_weight() -> None:
    recipe = right(program(NETS["shared"], LINES["sgd"]))
    graph = training_step(recipe.net, recipe)
    for name in graph.parameters:
        origin = graph.state[name].after.origin
        assert (origin.node.name, origin.phase, origin.line.name) == (name.split(".")[0], UPDATE, "optimizer")


def test_a_compiled_step_tells_where_each_node_comes_from_and_its_phase() -> None:
    recipe = right(program(NETS["residual"], LINES["sgd"]))
    graph = step_model(recipe).model.graph
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    about = {node.name: {entry.key: entry.value for entry in node.metadata_props} for node in graph.node}
    assert all({"netdsl.source", "netdsl.phase"} <= each.keys() for each in about.values())
    (loss,) = (each for node in graph.node for each in [about[node.name]] if "loss" in node.output)
    assert loss == {"netdsl.source": "test.net:4:3", "netdsl.phase": "forward"}
    (fc,) = (about[node.name] for node in graph.node if "dense1.weight.next" in node.output)
    assert fc == {"netdsl.source": "test.net:5:3", "netdsl.layer": "dense1", "netdsl.phase": "update"}
