"""Typos, and what was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdsl.base.suggest import LONGEST, suggest

NAMES = """
input output conv dwconv dense relu gelu elu leaky_relu sigmoid tanh softmax maxpool avgpool globalpool batchnorm
layernorm lrn dropout flatten reshape add mul concat skip project scale select net block fn for in if else use
default expect let stride kernel padding dilation groups bias units rate init momentum
"""
LAYERS = NAMES.split()

MEANT = {
    "rleu": "relu",
    "kernal": "kernel",
    "stide": "stride",
    "Conv": "conv",
    "CONV": "conv",
    "maxpol": "maxpool",
    "max_pool": "maxpool",
    "MaxPool2d": "maxpool",
    "conv2d": "conv",
    "convolution": "conv",
    "sofmax": "softmax",
    "drop": "dropout",
    "dropuot": "dropout",
    "paddding": "padding",
    "pading": "padding",
    "dialation": "dilation",
    "desne": "dense",
    "bais": "bias",
    "inpt": "input",
    "ouput": "output",
    "flaten": "flatten",
    "bacthnorm": "batchnorm",
    "batch": "batchnorm",
    "LeakyReLU": "leaky_relu",
    "tahn": "tanh",
    "sigmiod": "sigmoid",
    "esle": "else",
    "nte": "net",
    "momentun": "momentum",
}


@pytest.mark.parametrize("typo", MEANT)
def test_what_was_meant_comes_first(typo: str) -> None:
    assert suggest(typo, LAYERS)[0] == MEANT[typo]


@pytest.mark.parametrize("word", ["x", "zz", "transformer", "qux", "attention", "y1", "", "c" * (LONGEST + 1)])
def test_nothing_is_suggested_for_far_words(word: str) -> None:
    assert suggest(word, LAYERS) == []


def test_case_alone_is_nearest_and_far_followers_are_left_out() -> None:
    assert suggest("Relu", ["gelu", "relu", "elu", "prelus"]) == ["relu", "elu", "gelu"]
    assert suggest("kernal", ["kernels", "kernel", "normal"]) == ["kernel", "kernels"]


def test_equal_ranks_are_sorted_and_limited() -> None:
    assert suggest("conv0", ["conv3", "conv1", "conv2", "conv9"]) == ["conv1", "conv2", "conv3"]
    assert suggest("conv0", ["conv3", "conv1"], limit=1) == ["conv1"]


def test_the_word_itself_is_no_suggestion() -> None:
    assert suggest("conv", ["conv"]) == []


WORDS = st.text("abcAB_", max_size=8)


@given(WORDS, st.lists(WORDS, max_size=8))
def test_suggestions_are_some_of_the_candidates_in_whatever_order_these_come(word: str, names: list[str]) -> None:
    found = suggest(word, names)
    assert set(found) <= set(names) - {word}
    assert len(found) == len(set(found)) <= 3
    assert found == suggest(word, reversed(names))


@given(st.text("abcdefgh", min_size=3, max_size=12), st.data())
def test_one_slip_is_always_mended(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(name) - 2))
    slips = [
        name[:at] + name[at + 1 :],
        name[:at] + "z" + name[at:],
        name[:at] + "z" + name[at + 1 :],
        name[:at] + name[at + 1] + name[at] + name[at + 2 :],
    ]
    for typo in slips:
        assert typo == name or suggest(typo, [name]) == [name]


def test_a_letter_too_many_is_likelier_than_a_wrong_one() -> None:
    assert suggest("relus", ["relu6", "relu", "elu"])[0] == "relu"
    assert suggest("reluu", ["relu6", "relu"])[0] == "relu"
    assert suggest("relu66", ["relu6", "relu"])[0] == "relu6"


def test_many_and_long_candidates_take_no_time() -> None:
    assert suggest("units", [*(f"v{number}" for number in range(999)), "unit", "units2"]) == ["unit"]
    assert suggest("units", ["unit" * 100_000, "unit"]) == ["unit"]
