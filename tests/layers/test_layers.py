"""Every layer: its page's example at every opset, its numbers by numpy and by onnx's reference, and every misuse."""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from zlib import crc32

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from netdsl.backend.compile import OPSET
from netdsl.backend.emit import OPSETS, check, emit
from netdsl.backend.serialize import to_bytes
from netdsl.base.shape import Size
from netdsl.diagnostics.problem import Misfit
from netdsl.layers import find_layer, layer_modules
from netdsl.layers.merge import ElementwiseMerge, SpreadingMerge
from netdsl.lower import lower
from tests.support.exact import Gather
from tests.support.layer_cases import GROUPS, SIZES
from tests.support.programs import flow, try_net

CASES = [(group, call) for group, calls in GROUPS.items() for call in calls]
RUN_AT = (17, 21, 26)
"""The opsets at which examples run; the cases, which are all operators' forms, run at every one."""


def array(name, shape, dtype, sizes=None):
    """The same numbers for the same name: weights are small, variances positive, words below 20."""
    rng = np.random.default_rng(crc32(f"{name} {sizes}".encode()))
    if dtype == "i64":
        return rng.integers(0, 20, shape)
    if dtype == "u8":
        return rng.integers(0, 256, shape).astype("u1")
    if name.endswith("running_var"):
        return rng.uniform(0.5, 2, shape).astype("f4")
    return rng.standard_normal(shape).astype("f2" if dtype == "f16" else "f4")


def model(net, opset=OPSET):
    """The checked model with our weights."""
    emitted = emit(lower(net), opset=opset)
    check(emitted)
    return to_bytes(emitted, [(p.name, array(p.name, p.shape, "f32")) for p in emitted.parameters])


def session(made):
    return onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])


def at(shape, sizes):
    """A shape with numbers for all sizes."""
    return tuple(size.substitute(sizes) if isinstance(size, Size) else size for size in shape)


def feeds(net, sizes):
    return {x.name: array(x.name, (sizes["N"], *at(x.shape, sizes)), x.layer.dtype, sizes) for x in net.inputs}


def example(name):
    return re.search(r"```net\n(.*?)```", find_layer(name).__doc__, re.DOTALL)[1]


# Laws of all layers


@pytest.mark.parametrize("name", layer_modules())
def test_a_page_says_what_it_must(name):
    doc = find_layer(name).__doc__
    assert "Shapes: " in doc
    assert f"{name} " in example(name).replace("\n", " ")
    assert flow(example(name)).nodes[-1].layer.kind in (name, "relu")


@pytest.mark.parametrize("name", layer_modules())
def test_the_example_at_every_opset(name):
    net = flow(example(name))
    declared = net.outputs["output"].node.shape
    for opset in OPSETS:
        made = model(net, opset)
        assert inferred(made)["output"][1:] == list(declared)
        if opset in RUN_AT:
            runs = session(made)
            for sizes in SIZES:
                (y,) = runs.run(None, feeds(net, sizes))
                assert y.shape == (sizes["N"], *declared)


def inferred(made):
    """What onnx's strict inference makes of the outputs' shapes, when it is not told."""
    proto = onnx.load_from_string(made)
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    proto = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    return {
        output.name: [d.dim_value or d.dim_param for d in output.type.tensor_type.shape.dim]
        for output in proto.graph.output
    }


# Numbers


@cache
def nets(group):
    """All calls on one input as one net, each an output."""
    outputs = "\n".join(f"output case{i} {{ {call} }}" for i, call in enumerate(GROUPS[group]))
    return flow(f"input {group}\n{outputs}")


@cache
def results(group, opset):
    """What onnxruntime makes of a group, for each of SIZES, by call."""
    runs = session(model(nets(group), opset))
    found = [runs.run(None, feeds(nets(group), sizes)) for sizes in SIZES]
    return [dict(zip(GROUPS[group], outputs, strict=True)) for outputs in found]


def place(group, call):
    return f"case{list(GROUPS[group]).index(call)}"


def oracle(group, call, sizes):
    net = nets(group)
    (x,) = feeds(net, sizes).values()
    scope = place(group, call) + "."
    weights = {
        name.rpartition(".")[2]: array(name, p.shape, "f32").astype("f8")
        for name, p in net.parameters.items()
        if name.startswith(scope)
    }
    return GROUPS[group][call](x if x.dtype == np.int64 else x.astype("f8"), weights)


@pytest.mark.parametrize(("group", "call"), CASES)
def test_numbers(group, call):
    declared = nets(group).outputs[place(group, call)].node.shape
    for sizes, found in zip(SIZES, results(group, OPSET), strict=True):
        expected = oracle(group, call, sizes)
        assert expected.shape == (sizes["N"], *at(declared, sizes)), "the declared shape is the formula's"
        assert found[call].shape == expected.shape
        np.testing.assert_allclose(found[call], expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("opset", [opset for opset in OPSETS if opset != OPSET])
@pytest.mark.parametrize("group", GROUPS)
def test_every_opset_means_the_same(group, opset):
    for found, meant in zip(results(group, opset), results(group, OPSET), strict=True):
        for call, y in found.items():
            np.testing.assert_allclose(y, meant[call], rtol=1e-5, atol=1e-6, err_msg=call)


WRONG_REFERENCE = {
    r"lrn": "onnx's reference goes through as many channels as the batch has examples",
    r"deconv .* groups": "onnx's reference knows one group",
    r"unpool": "onnx's reference numbers elements in the shape without what no window reads",
    r"rnn .* act relu": "onnx's reference knows no RNN with Relu",
    r"x (8x9|8x4x5x6): global_maxpool": "onnx's reference keeps as many axes as a plane has",
}
"""Calls that onnx's own evaluator gets wrong, and how."""
if tuple(map(int, onnx.__version__.split(".")[:2])) < (1, 23):
    WRONG_REFERENCE[r"lstm|bidirectional"] = "the reference of onnx 1.22 knows one direction, and no cell state"


@pytest.mark.parametrize(("group", "call"), CASES)
def test_numbers_of_the_reference(group, call):
    for pattern, reason in WRONG_REFERENCE.items():
        if re.search(pattern, f"{group}: {call}"):
            pytest.skip(reason)
    name = place(group, call)
    net = flow(f"input {group}\noutput {name} {{ {call} }}")
    evaluator = ReferenceEvaluator(onnx.load_from_string(model(net)), new_ops=[Gather])
    for sizes, found in zip(SIZES, results(group, OPSET), strict=True):
        (y,) = evaluator.run(None, feeds(net, sizes))
        assert y.dtype == found[call].dtype
        np.testing.assert_allclose(y, found[call], rtol=1e-4, atol=2e-5)


def test_every_layer_has_a_case():
    used = {node.layer.kind for group in GROUPS for node in nets(group).nodes}
    assert used == set(layer_modules())


# Weights


@pytest.mark.parametrize(
    ("call", "weights"),
    {
        "conv 3x3 6 groups 2": {"weight": ((6, 2, 3, 3), 18, 54, "he_normal"), "bias": ((6,), 6, 6, "zeros")},
        "deconv 3x2 6 stride 2": {"weight": ((4, 6, 3, 2), 24, 36, "he_normal"), "bias": ((6,), 6, 6, "zeros")},
        "deconv 3x3 6 groups 2 bias off": {"weight": ((4, 3, 3, 3), 18, 27, "he_normal")},
        "dense 5 bias_init constant(2)": {
            "weight": ((5, 288), 288, 5, "he_normal"),
            "bias": ((5,), 5, 5, "constant(2)"),
        },
        "prelu": {"weight": ((4,), 4, 4, "constant(0.25)")},
        "prelu shared on init zeros": {"weight": ((1,), 1, 1, "zeros")},
        "groupnorm 2": {"weight": ((4,), 4, 4, "ones"), "bias": ((4,), 4, 4, "zeros")},
        "layernorm affine off": {},
        "linear 5 init trunc_normal(0.02)": {
            "weight": ((5, 4), 4, 5, "trunc_normal(0.02)"),
            "bias": ((5,), 5, 5, "zeros"),
        },
        "rmsnorm init constant(2)": {"weight": ((4,), 4, 4, "constant(2)")},
        "l2norm scale on": {"weight": ((4,), 4, 4, "constant(20)")},
        "l2norm": {},
        "instancenorm init zeros": {"weight": ((4,), 4, 4, "zeros"), "bias": ((4,), 4, 4, "zeros")},
        "bn affine off": {"running_mean": ((4,), 4, 4, "zeros"), "running_var": ((4,), 4, 4, "ones")},
    }.items(),
)
def test_weights(call, weights):
    (node,) = flow(f"input x 4x9x8\n{call}").nodes[1:]
    assert {name: (p.shape, p.fan_in, p.fan_out, str(p.init)) for name, p in node.parameters.items()} == weights


def test_weights_of_an_embedding():
    (weight,) = flow("input x 7 dtype i64\nembedding 20 5").parameters.values()
    assert (weight.name, weight.shape, str(weight.init)) == ("embedding1.weight", (20, 5), "normal(1)")


# Misuse


MISUSES = [
    ("x 4x9x8", "lstm 5", "E0390"),
    ("x 4x1x8", "gru 5", "E0390"),
    ("x 8", "rnn 5", "E0390"),
    ("x 4x9", "lstm 5 initial x", "E0391"),
    ("x 20", "y: reshape [5, 4]; gru 20 initial y", "E0391"),
    ("x 10", "reshape [5, 2]; y: lstm 5 layers 2 bidirectional on; s: identity; from y; gru 5 initial s", "E0391"),
    ("x 10", "reshape [5, 2]; y: gru 5; s: state y; from y; gru 5 bidirectional on initial s", "E0391"),
    ("x 4x9", "state x", "E0392"),
    ("x 4x9", "y: lstm 5; s: tanh; state s", "E0392"),
    ("x 4x9 dtype i64", "input y 4x9; gru 5 lengths x", "E0393"),
    ("x 4x9", "gru 5 lengths x", "E0335"),
    ("x [4, ?H] dtype i64", "gru 5", "E0335"),
    ("x [4, ?H]", "y: gru 5; from y; gru 5 initial y", "E0391"),
    ("x [?C, 9]", "gru 5", "E0311"),
    ("x 784", "conv 3x3 10", "E0305"),
    ("x 3x4x5x6x7", "conv 3 10", "E0305"),
    ("x 784", "global_avgpool", "E0305"),
    ("x 784", "lrn 5", "E0305"),
    ("x 784", "instancenorm", "E0305"),
    ("x 784", "upsample 2", "E0305"),
    ("x 784", "pixel_shuffle 2", "E0305"),
    ("x 784", "crop 1", "E0305"),
    ("x 784", "pad 1", "E0305"),
    ("x 784", "deconv 2x2 3", "E0305"),
    ("x 784", "adaptive_avgpool 1", "E0305"),
    ("x 4x9x8", "conv 3x3x3 10", "E0313"),
    ("x 4x9x8", "conv 3x3 10 stride [1, 1, 1]", "E0313"),
    ("x 4x9x8", "conv 3x3 10 pad [1, 1]", "E0313"),
    ("x 4x9x8", "deconv 3x3 10 output_pad [0]", "E0313"),
    ("x 4x9x8", "pad [1, 1]", "E0313"),
    ("x 4x9x8", "crop [1, 1, 1]", "E0313"),
    ("x 4x9x8", "upsample [2]", "E0313"),
    ("x 4x9x8", "adaptive_avgpool [2, 2, 2]", "E0313"),
    ("x 4x9x8", "normalize mean [1, 2, 3] std [1, 2, 3, 4]", "E0313"),
    ("x 4x9x8", "normalize mean [1, 2, 3, 4] std [1, 2]", "E0313"),
    ("x 4x9x8", "conv 11x11 10 pad 0", "E0303"),
    ("x 4x9x8", "maxpool 11x11", "E0303"),
    ("x 4x9x8", "conv 3x3 10 groups 3", "E0304"),
    ("x 4x9x8", "conv 3x3 6 groups 4", "E0304"),
    ("x 4x9x8", "deconv 3x3 6 groups 4", "E0304"),
    ("x 4x9x8", "maxpool 2x2 pad 2", "E0306"),
    ("x 4x9x8", "conv 2x2 10", "E0312"),
    ("x 4x9x8", "select [0, 4]", "E0309"),
    ("x 4x9x8", "select [-5]", "E0309"),
    ("x 4x9x8", "reduce mean 3", "E0309"),
    ("x 4x9x8", "slice 3 0 1", "E0309"),
    ("x 4x9x8", "slice (-4) 0 1", "E0309"),
    ("x 4x9x8", "concat axis 3 { } { }", "E0309"),
    ("x 4x9", "attention 2 { } { } { linear 3 }", "E0363"),
    ("x 8x9", "attention 4 kv 2 { } { } { }", "E0363"),
    ("x [4, ?H]", "maxpool 6 pad 3; unpool 6 pad 3 x", "E0311"),
    ("x 4x9x8", "concat axis 2 { } { slice 2 0 1; reshape [4, 9] }", "E0302"),
    ("x 4x9x8", "groupnorm 3", "E0330"),
    ("x 4x9x8", "channel_shuffle 3", "E0330"),
    ("x 4x9x8", "pixel_shuffle 3", "E0330"),
    ("x 4x9", "pixel_shuffle 2147483647", "E0330"),
    ("x 4x9x8", "crop [4, 0, 5, 0]", "E0331"),
    ("x 4x9x8", "crop 2147483647", "E0331"),
    ("x 4x9x8", "deconv 2x2 3 pad 8", "E0331"),
    ("x 4x9x8", "slice 1 4 10", "E0332"),
    ("x 4x9x8", "slice 1 9", "E0332"),
    ("x 4x9x8", "slice 1 (-10)", "E0332"),
    ("x 4x9x8", "slice 1 4 4", "E0332"),
    ("x 4x9x8", "slice 1 4 (-6)", "E0332"),
    ("x [4, ?H]", "slice 1 (-2) (-2)", "E0332"),
    ("x [4, ?H]", "slice 1 2 2", "E0332"),
    ("x 4x9x8", "reshape 4x9x9", "E0333"),
    ("x 4x9x8", "reshape [5, ?]", "E0333"),
    ("x [4, ?H]", "reshape [5, ?]", "E0333"),
    ("x [4, ?H]", "reshape [4, ?W]", "E0333"),
    ("x 4x9x8", "reshape [4, ?W]", "E0333"),
    ("x 4x9x8", "permute [0, 1]", "E0334"),
    ("x 4x9x8", "permute [0, 1, 1]", "E0334"),
    ("x 4x9x8", "permute [0, 1, 3]", "E0334"),
    ("x 4x9x8", "permute [0, 1, -4]", "E0334"),
    ("x 7", "embedding 20 5", "E0335"),
    ("x 7 dtype i64", "relu", "E0335"),
    ("x 7 dtype i64", "dense 5", "E0335"),
    ("x 7 dtype i64", "add { } { }", "E0335"),
    ("x 4x9x8", "clip 1 0", "E0336"),
    ("x 4x9x8", "deconv 3x3 6 stride 2 pad 1 output_pad 2", "E0337"),
    ("x 4x9x8", "deconv 3x3 6 stride 2 pad same output_pad 1", "E0337"),
    ("x 4x9x8", "upsample 1000000000", "E0338"),
    ("x 4x9x8", "pad 2147483647", "E0338"),
    ("x 4x65536x65536", "flatten", "E0338"),
    ("x 4x9x8", "add { } { select [0] }", "E0301"),
    ("x 4x9x8", "mul { } { select [0, 1] }", "E0301"),
    ("x 4x9x8", "mul { } { flatten }", "E0301"),
    ("x 4x9x8", "concat { } { maxpool 2x2 }", "E0302"),
    *(
        ("x [?C, 9, 8]", call, "E0311")
        for call in (
            *("conv 3x3 4", "deconv 3x3 4", "bn", "layernorm", "groupnorm 2", "instancenorm", "prelu", "select [0]"),
            *("channel_shuffle 2", "pixel_shuffle 2", "normalize mean [0] std [1]", "dense 10"),
        )
    ),
    ("x [4, ?H, ?W]", "flatten", "E0311"),
    ("x [4, ?H, ?W]", "dense 10", "E0311"),
    ("x [4, ?H, ?W]", "adaptive_avgpool 2", "E0311"),
    ("x [4, ?H, ?W]", "slice 1 (-4) 4", "E0311"),
    ("x [4, ?H, ?W]", "conv 3x3 4 stride 2 pad same_upper", "E0311"),
    ("x [4, ?H, ?W]", "maxpool 2x2 stride 3 ceil on", "E0311"),
    ("x [4, ?H, ?W]", "reshape [?, ?]", "E0311"),
    ("x [4, ?H, ?W]", "reshape [2, 2, ?H, ?W]", "E0311"),
    ("x [4, 3, ?H, ?W]", "lrn 3", "E0311"),
    *(
        ("x 4x9x8", call, "E0401")
        for call in (
            *("upsample 0", "upsample 1.5", "pixel_shuffle 0", "groupnorm 0", "lrn 4"),
            *("dropout 1", "dropout (-0.1)", "reduce min 0", "reduce mean 0.5", "crop (-1)", "pad (-1)", "bn eps 0"),
            *("reshape 0", "permute 0", "select []", "conv 0x3 4", "conv 3x3 0", "maxpool 2x2 stride 0", "scale on"),
            *("normalize mean [0] std [0]", "clip 0 on"),
        )
    ),
    ("x 7 dtype i64", "embedding 0 5", "E0401"),
    ("x 4x9x8", "embedding 20", "E0403"),
    ("x 4x9x8", "slice 0", "E0403"),
    ("x 4x9x8", "upsample 2 bicubic", "E0402"),
    ("x 4x9x8", "conv 3x3 4 pad half", "E0418"),
]


@pytest.mark.parametrize(("group", "call", "code"), MISUSES)
def test_misuse(group, call, code):
    net, report = try_net(f"net bad {{ input {group}\n{call} }}")
    assert net is None
    assert [problem.code for problem in report] == [code]
    (problem,) = report
    words = [problem.message(), problem.label(), *(label.text for label in problem.labels())]
    assert all(isinstance(text, str) for text in [*words, *problem.notes(), *(h.text for h in problem.suggestions())])


SPREAD = list(product((1, 2, 3), repeat=2))


SPREADING = [
    *(cls() for cls in SpreadingMerge.__subclasses__()),
    *(cls(spread=True) for cls in ElementwiseMerge.__subclasses__()),
]


@pytest.mark.parametrize("layer", SPREADING, ids=lambda layer: layer.kind)
def test_merges_spread_as_numpys_do(layer: ElementwiseMerge | SpreadingMerge) -> None:
    """Of operands with as many axes each; of three as of two."""
    assert len(SPREADING) == 6
    refused = 0
    for operands in [*product(SPREAD, repeat=2), *product(SPREAD[::2], repeat=3)]:
        try:
            expected = np.broadcast_shapes(*operands)
        except ValueError:
            refused += 1
            with pytest.raises(Misfit):
                layer.shape(*operands)
        else:
            assert layer.shape(*operands) == expected, operands
    assert refused > 20
