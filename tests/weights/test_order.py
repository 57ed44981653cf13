"""Weights paired by their order: layer by layer, and never by a guess."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from netdsl.api import parse
from netdsl.weights.check import checked_weights
from netdsl.weights.errors import WeightsDoNotFit
from netdsl.weights.file import open_weights
from netdsl.weights.match import match_weights
from netdsl.weights.npz import MappedWeights

Arrays = dict[str, np.ndarray]


def state(net: str, names: dict[str, str]) -> Arrays:
    """Values for a net's weights in its order, each another number, their layers called by `names`."""
    found: Arrays = {}
    for at, (name, p) in enumerate(parse(net).parameters.items()):
        layer, _, word = name.rpartition(".")
        found[f"{names[layer]}.{word}"] = np.full(p.shape, at, "f4")
    return found


def paired(net: str, file: Path | Arrays, **how: object) -> list[float]:
    """The number that each weight of the net got."""
    loaded = parse(net)._net
    source = MappedWeights(file) if isinstance(file, dict) else open_weights(str(file))
    taken = checked_weights(
        {name: p.shape for name, p in loaded.parameters.items()}, match_weights(loaded, source, order=True, **how)
    )  # type: ignore[arg-type]
    return [float(taken[name].reshape(-1)[0]) for name in taken]


TWELVE = "net a { input x 4; " + "; ".join(f"l{at}: dense 4" for at in range(12)) + "; head: dense 3 }"
LAYERS = {**{f"l{at}": f"layer{at}.fc" for at in range(12)}, "head": "out"}
CONVS = """net a {
  input x 3x8x8
  stem: conv 3x3 4 bias off; sb: bn
  one: conv 3x3 4 bias off; ob: bn
  two: conv 3x3 4 bias off; tb: bn
  head: dense 5
}"""
CONV_NAMES = {"stem": "stem.conv", "sb": "stem.bn", "one": "body.2.conv", "ob": "body.2.bn"}
CONV_NAMES |= {"two": "body.10.conv", "tb": "body.10.bn", "head": "fc"}


def test_a_sorted_file_is_paired_by_the_numbers_in_its_names(tmp_path: Path) -> None:
    """safetensors sorts by name: `bias` before `weight`, `layer10` before `layer2`."""
    arrays = state(TWELVE, LAYERS)
    safetensors.numpy.save_file(arrays, tmp_path / "w.safetensors")
    assert list(open_weights(str(tmp_path / "w.safetensors")).entries) == sorted(arrays) != list(arrays)
    assert paired(TWELVE, tmp_path / "w.safetensors") == list(range(26))


def test_a_sorted_file_in_two_types(tmp_path: Path) -> None:
    arrays = state(TWELVE, LAYERS)
    halves = {name: each.astype("f2") if name.endswith("bias") else each for name, each in arrays.items()}
    safetensors.numpy.save_file(halves, tmp_path / "w.safetensors")
    assert list(open_weights(str(tmp_path / "w.safetensors")).entries) != sorted(arrays)
    assert paired(TWELVE, tmp_path / "w.safetensors") == list(range(26))


def test_a_sorted_file_whose_names_cannot_tell_is_refused(tmp_path: Path) -> None:
    """`stem.bn`, `body.2.bn` and `body.10.bn` have one shape, and which comes first is nowhere said."""
    safetensors.numpy.save_file(state(CONVS, CONV_NAMES), tmp_path / "w.safetensors")
    with pytest.raises(WeightsDoNotFit, match=r"sorted by name, and `body.10.bn`, `stem.bn` have the same shapes"):
        paired(CONVS, tmp_path / "w.safetensors")
    renamed = state(CONVS, {**CONV_NAMES, "sb": "body.0.bn"})
    safetensors.numpy.save_file(renamed, tmp_path / "w.safetensors")
    assert paired(CONVS, tmp_path / "w.safetensors") == list(range(17))


@pytest.mark.parametrize("names", [("decoder", "encoder"), ("branch1x1", "branch3x3"), ("a", "b")])
def test_two_layers_of_a_shape_are_told_apart_by_numbers_alone(names: tuple[str, str]) -> None:
    net = "net a { input x 4; one: dense 4 bias off; two: dense 4 bias off }"
    first, second = (np.ones((4, 4), "f4"), np.zeros((4, 4), "f4"))
    with pytest.raises(WeightsDoNotFit, match="have the same shapes"):
        paired(net, {f"{names[0]}.weight": first, f"{names[1]}.weight": second})
    assert paired(net, {f"{names[1]}.weight": first, f"{names[0]}.weight": second}) == [1, 0]  # not sorted
    assert paired(net, {"fc10.weight": second, "fc2.weight": first}) == [1, 0]


def test_biases_before_weights_in_a_file_that_is_not_sorted() -> None:
    net = "net a { input x 4; one: dense 4; two: dense 3 }"
    arrays = {"z.bias": np.full(4, 1.0), "z.weight": np.full((4, 4), 0.0)}
    arrays |= {"b.bias": np.full(3, 3.0), "b.weight": np.full((3, 4), 2.0)}
    assert paired(net, arrays) == [0, 1, 2, 3]


def test_kerass_words_and_words_that_nobody_knows() -> None:
    net = "net a { input x 4; b: bn }"
    words = ["moving_variance", "gamma", "beta", "moving_mean"]
    arrays = {f"norm/{word}": np.full(4, float(at)) for at, word in enumerate(words)}
    assert paired(net, arrays) == [1, 2, 3, 0]
    arrays = {f"norm.{word}": np.full(4, float(at)) for at, word in enumerate("dabc")}
    assert paired(net, arrays) == [0, 1, 2, 3]  # as they stand
    with pytest.raises(WeightsDoNotFit):  # sorted, and of one shape
        paired(net, dict(sorted(arrays.items())))


def test_layers_are_paired_by_shape_where_their_words_are_unknown() -> None:
    net = "net a { input x 4; one: dense 3; two: dense 2 }"
    arrays = {"p.b": np.full(3, 1.0), "p.w": np.full((3, 4), 0.0), "q.b": np.full(2, 3.0), "q.w": np.full((2, 3), 2.0)}
    assert paired(net, arrays) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["arr_{}", "w{:03}", "layers.{}.tensor"])
def test_names_that_are_numbers_alone(name: str) -> None:
    net = "net a { input x 4; one: dense 4; b: bn; two: dense 4; three: dense 3 }"
    wanted = parse(net).parameters.values()
    arrays = {name.format(at): np.full(p.shape, at, "f4") for at, p in enumerate(wanted)}
    assert paired(net, arrays) == list(range(10))
    assert paired(net, dict(sorted(arrays.items()))) == list(range(10))


def test_tensors_without_layers_are_told_apart_by_shape() -> None:
    net = "net a { input x 4; one: dense 3; two: dense 2 }"
    arrays = {
        "b_in": np.full(3, 1.0),
        "b_out": np.full(2, 3.0),
        "w_in": np.zeros((3, 4)),
        "w_out": np.full((2, 3), 2.0),
    }
    assert paired(net, arrays) == [0, 1, 2, 3]
    with pytest.raises(WeightsDoNotFit, match="have the same shapes"):
        paired(net.replace("two: dense 2", "two: dense 3"), {**arrays, "b_out": np.ones(3), "w_out": np.ones((3, 3))})


def test_a_head_that_is_excepted_may_be_there_or_not_and_have_any_shape() -> None:
    net = "net a { input x 4; one: dense 4; two: dense 4; head: dense 3 }"
    body = {"l1.weight": np.zeros((4, 4)), "l1.bias": np.ones(4), "l2.weight": np.full((4, 4), 2.0)}
    body["l2.bias"] = np.full(4, 3.0)
    heads = {"o.weight": np.ones((9, 4)), "o.bias": np.ones(9)}
    assert paired(net, body, exclude=["head"]) == [0, 1, 2, 3]
    assert paired(net, {**body, **heads}, exclude=["head"]) == [0, 1, 2, 3]
    assert paired(net, dict(sorted({**body, **heads}.items())), exclude=["head"]) == [0, 1, 2, 3]
    with pytest.raises(WeightsDoNotFit):
        paired(net, {**body, **heads})
