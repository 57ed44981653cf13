"""Profiling training steps: owners of all kernels, phases, recipes, and the Python API."""

from __future__ import annotations

import json

import numpy as np
import pytest

import netdsl as package
from netdsl.app.given_weights import WeightSource
from netdsl.app.profile_step import StepOptions, default_recipe, profile_step, step_costs
from netdsl.ir.graph import PHASES
from netdsl.lower import macs
from netdsl.profiling.session_profile import Kernel
from tests.support.cli_tools import Commands, netdsl
from tests.support.programs import net_of
from tests.support.quick_profile import make_quick
from tests.support.recipe_tools import right

__all__ = ["netdsl"]

NET = "net seen {\n  input x 3x8x8\n  conv 3x3 16 bias off; bn; relu\n  conv 3x3 16 stride 2\n  dense 4\n}\n"
TRAIN = 'train seen {\n  data npz "seen.npz"\n  loss cross_entropy\n  optimizer adam lr 1e-3 clip 1\n  batch 6\n}\n'
NETS = {
    "conv": "input x 3x8x8; conv 3x3 16; bn; relu; maxpool 2x2; dense 4",
    "scan": "input x 6x5; lstm 4; dense 3",
    "classes per place": "input x 7x5; linear 4",
    "numbers": "input x 3x4x4; conv 3x3 1; softplus; output y { }; output z { from x; conv 1x1 2 }",
    "pixels": "input x 1x6x6 dtype u8; scale 1/255; dense 2",
    "tokens": "input x 5 dtype i64; embedding 9 4; dense 2",
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    make_quick(monkeypatch)


@pytest.mark.parametrize("backend", ["plain", "nchwc"])
@pytest.mark.parametrize("net", NETS)
def test_all_kernels_have_an_owner_and_a_phase(net: str, backend: str) -> None:
    recipe = default_recipe(net_of(f"net n {{ {NETS[net]} }}"), 4)
    found = profile_step(recipe, WeightSource(), StepOptions(backend, 1))
    assert found.costs
    for cost in found.costs:
        assert cost.place is not None, cost.name
        assert cost.phase in PHASES, cost.name
    assert {cost.phase for cost in found.costs} == {*PHASES}
    assert found.seconds > 0
    assert found.between >= 0


def test_operations_of_the_backward_pass_are_counted() -> None:
    """A dense layer behind a dense layer takes as many for the gradient of its weights, and for that of its input."""
    net = net_of("net n { input x 7; dense 5; dense 3 }")
    found = profile_step(default_recipe(net, 4), WeightSource(), StepOptions("plain", 1))
    forward, backward = (sum(cost.flops or 0 for cost in found.costs if cost.phase == phase) for phase in PHASES[:2])
    assert forward == 2 * 4 * macs(net)
    assert backward == 2 * 4 * (7 * 5 + 2 * 5 * 3)


@pytest.mark.parametrize(("op", "moved"), [("Reshape", 0), ("Relu", 24)])
def test_a_view_moves_nothing(op: str, moved: int) -> None:
    kernel = Kernel("k", op, 0, {"activation_size": 16, "output_size": 8})
    kernel.times.append(1.0)
    assert step_costs([kernel], {}, written=True)[0].moved == moved


def test_a_step_is_profiled_by_line(netdsl: Commands) -> None:
    netdsl.write(seen=NET + TRAIN)
    ran = netdsl("profile", "seen.net", "--training", "--threads", "1", "--step-backend", "plain", "-q")
    assert ran.code == 0, ran
    title, *rows = ran.out.splitlines()
    (heads,) = (row for row in rows if row.split()[1:2] == ["%"])
    assert title.startswith("seen, batch 6, 1 thread: ")
    assert title.partition(": ")[2].split()[2:4] == ["a", "step,"]
    assert "a training step on random numbers, step backend plain" in rows
    assert heads.split()[2:5] == [*PHASES]
    lines = [row.partition("│")[2].split()[:1] for row in ran.out.splitlines() if "│" in row and row[:3].strip()]
    assert lines[:5] == [["3"], ["4"], ["5"], ["9"], ["10"]]  # layers, the loss, and the optimizer
    assert "by phase: " in ran.out


def test_views_and_formats_of_a_step(netdsl: Commands) -> None:
    netdsl.write(seen=NET + TRAIN)
    ran = netdsl("profile", "seen.net", "--training", "--batch", "3", "--by", "phase", "--json", "-q")
    data = json.loads(ran.out)
    assert (data["unit"], data["batch"], data["unknown_seconds"]) == ("step", 3, 0)
    assert {row["name"] for row in data["rows"]} == {*PHASES}
    shares = sum(row["seconds"] for row in data["rows"]) + data["between_seconds"]
    assert shares == pytest.approx(data["seconds"])


def test_a_net_without_a_block_is_profiled_by_a_default_one(netdsl: Commands) -> None:
    netdsl.write(seen=NET)
    ran = netdsl("profile", "seen.net", "--training", "--batch", "2", "--by", "kind", "-q")
    assert ran.code == 0, ran
    assert "no `train` block: loss cross_entropy, optimizer sgd momentum 0.9, batch 2" in ran.out
    assert "loss" in ran.out


@pytest.mark.parametrize(
    ("net", "what"),
    [
        ("input x 3x?x?; conv 3x3 2", "the input `x` has sizes"),
        ("input x 4; relu", "it has no weights"),
        ("input x 4; dense 3; argmax", "the output `output` has integers"),
        ("input loss 4; dense 3", "the name `loss` is reserved"),
    ],
)
def test_nets_without_a_step_are_refused(net: str, what: str) -> None:
    with pytest.raises(package.Error, match=what) as caught:
        package.parse(f"net n {{ {net} }}").profile(training=True)
    assert caught.value.code == "E0924"


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    net = package.parse("net n { input x 4; dense 3 }")
    weights = {"dense1.weight": np.full((3, 4), 3e38, np.float32), "dense1.bias": np.zeros(3, np.float32)}
    with pytest.raises(package.Error) as caught:
        net.profile(training=True, weights=weights, batch=2)
    assert caught.value.code == "E0925"


@pytest.mark.parametrize(
    "options",
    [
        ("--step-backend", "plain"),
        ("--training", "--provider", "cuda"),
        ("--training", "--input", "x=3x8x8"),
        ("--training", "x.npy"),
    ],
)
def test_options_that_do_not_go_together(netdsl: Commands, options: tuple[str, ...]) -> None:
    netdsl.write(seen=NET)
    ran = netdsl("profile", "seen.net", *options)
    assert ran.code == 2, ran
    assert "--training" in ran.err


def test_a_step_in_half_precision_is_profiled_in_f32(netdsl: Commands) -> None:
    netdsl.write(half="net half { input x 2; dense 2 }\ntrain half { data xor; loss cross_entropy; dtype f16 }")
    ran = netdsl("profile", "half.net", "--training")
    assert (ran.code, "E0936" in ran.err, "--set train.dtype=f32" in ran.err) == (2, True, True), ran
    assert netdsl("profile", "half.net", "--training", "--set", "train.dtype=f32").code == 0


def test_a_program_profiles_a_step() -> None:
    found = package.parse(NET + TRAIN).profile(training=True, step_backend="plain", threads=1)
    assert (found["unit"], found["batch"]) == ("step", 6)
    assert set(found["rows"][0]["phases"]) <= {*PHASES}
    with pytest.raises(package.Error, match="random numbers"):
        package.parse(NET).profile(np.zeros((1, 3, 8, 8), np.float32), training=True)
    with pytest.raises(package.Error, match="training"):
        package.parse(NET).profile(step_backend="plain")


LOSSES = {
    "ctc blank 3": "input x 6x8; linear 5",
    "ctc blank 3 longest 2": "input x 6x8; linear 5",
    "cross_entropy class_weights balanced": "input x 6; dense 3",
    "cross_entropy ignore 2": "input x 6x4; linear 3",
    "logistic": "input x 3; dense 1",
    "hinge": "input x 3; dense 1",
    "mse": "input x 3; dense 2",
}


@pytest.mark.parametrize("loss", LOSSES)
def test_random_targets_suit_their_losses(loss: str) -> None:
    recipe = right(f'net n {{ {LOSSES[loss]} }}\ntrain n {{ data npz "n.npz"; loss {loss} }}')
    found = profile_step(recipe, WeightSource(), StepOptions("plain", 1))
    assert found.flops
