"""The step backend `nchwc` against `plain`: by kernel and by net, and where the blocked layout is missing."""

from __future__ import annotations

import json
import warnings
from collections import Counter

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnxruntime import InferenceSession

from netdsl import ops
from netdsl.backend.emit import emit
from netdsl.ir.graph import Graph
from netdsl.ops.activations import HardSigmoid, Relu
from netdsl.ops.convolution import Conv
from netdsl.ops.convolution_gradients import ConvDw, ConvDx
from netdsl.ops.nchwc import BlockedConv
from netdsl.passes.blocked import Layout, candidate, kernel_choices, lower_blocked
from netdsl.passes.blocked.blocker import Blocker
from netdsl.passes.blocked.lowering import BLOCKED_RULES
from netdsl.passes.gradient import gradients
from netdsl.passes.rewrite import Copy
from netdsl.train import step_backend, tune
from netdsl.train.step import portable, training_step
from netdsl.train.step_backend import BlockedIsMissing, block_size, lower_step
from tests.language.test_difficult import LARGE, SMALL
from tests.language.test_difficult import text as difficult
from tests.support import nchwc_reference
from tests.support.programs import net_of
from tests.support.reference import open_net
from tests.train.test_step import read

BLOCKS = ("here", 4, 8)
"""onnxruntime with this processor's blocks, in f32; numpy with blocks of other sizes, in f64."""


def evaluate(graph, feeds, block):
    """The results by name: on onnxruntime in f32, or on the reference evaluator in f64."""
    if block == "here":
        return dict(zip(graph.outputs, step_backend.run_graph(graph, feeds), strict=True))
    model = emit(graph, float_type="f64").model
    evaluator = ReferenceEvaluator(model, new_ops=nchwc_reference.ops_of(block))
    doubles = {k: v.astype("f8") if v.dtype == np.float32 else v for k, v in feeds.items()}
    return dict(zip(graph.outputs, evaluator.run(None, doubles), strict=True))


class Watched(Blocker):
    """Counts the operations that are computed plainly though an operand lies blocked, and all plain convolutions."""

    def keep(self, operation):
        if isinstance(operation.op, Conv | ConvDx | ConvDw) or any(map(self.native, operation.inputs)):
            kept[type(operation.op).__name__] += 1
        super().keep(operation)


kept = Counter()


def plainly(graph, block):
    """The names of the operations that no recipe takes, each as often as there are any."""
    kept.clear()
    Watched(graph, block, {}).run(BLOCKED_RULES)
    return sorted(kept.elements())


def compare(graph, block, *, plain="", tolerance=2e-5, seed=0, option=None):
    """Both lowerings give the same, and only the operations named in `plain` are computed plainly in the blocked one,
    whose operations are returned. Its kernels are those of an `option`, where they have it, or the default ones."""
    size = block_size() if block == "here" else block
    if size is None:
        pytest.skip("no blocked layout here")
    random = np.random.default_rng(seed)
    feeds = {name: (0.5 * random.standard_normal(x.shape)).astype("f4") for name, x in graph.inputs.items()}
    assert plainly(graph, size) == plain.split()
    choices = {choice.key: option for choice in kernel_choices(graph, size)} if option else {}
    blocked = lower_blocked(graph, size, choices).graph
    expected, found = (evaluate(each, feeds, block) for each in (portable(graph), blocked))
    largest = max(np.abs(y).max() for y in expected.values())
    for name, y in expected.items():
        scale = max(np.abs(y).max(), 1e-2 * largest)  # a bias before a batch norm has a gradient of rounding errors
        error = np.abs(found[name] - y).max() / scale
        assert error < (tolerance if block == "here" else 1e-9), f"{name}: {error:.1e}"
    return [operation.op for operation in blocked.operations]


class Build:
    """A graph under construction whose inputs are all differentiated."""

    def __init__(self):
        self.graph = Graph("test")

    def input(self, *shape):
        return self.graph.input(f"x{len(self.graph.inputs)}", shape)

    def conv(self, x, channels, kernel=1, **attributes):
        """With a kernel and a bias of its own; of depthwise ones `group` says so."""
        width = x.shape[1] // attributes.get("group", 1)
        w = self.input(channels, width, *(kernel if isinstance(kernel, tuple) else (kernel, kernel)))
        return ops.conv(x, w, self.input(channels), **attributes)

    def finish(self, *ys):
        """The gradients of a random weighting of the results."""
        inputs = list(self.graph.inputs.values())
        terms = []
        for y in ys:
            weights = self.input(*y.shape)
            terms.append(ops.reduce_sum(ops.mul(y, weights), range(len(y.shape)), keepdims=False))
        loss = ops.add(*terms) if len(terms) > 1 else terms[0]
        for x, dx in zip(inputs, gradients(loss, inputs), strict=True):
            if dx is not None:
                self.graph.output(f"d{x.name}", ops.identity(dx))
        return self.graph


@pytest.mark.parametrize("kind", ["map", "kernel", "narrow", "vector", "idle"])
@pytest.mark.parametrize("block", [4, 8, 16])
def test_layouts_come_back(kind, block):
    shape, axes = {
        "map": ((2, 11, 3, 5), (1,)),
        "kernel": ((20, 9, 3, 2), (0, 1)),
        "narrow": ((17, 3, 2, 2), (0,)),
        "vector": ((21,), (0,)),
        "idle": ((2, 3), ()),
    }[kind]
    layout = Layout(shape, block, axes)
    x = np.random.default_rng(0).standard_normal(shape)
    stored = layout.encode(x)
    assert stored.shape == layout.padded
    assert np.array_equal(layout.decode(stored), x)
    assert np.isclose(np.abs(stored).sum(), np.abs(x).sum()), "the padding is not zeros"


def test_layouts_are_those_of_onnxruntime():
    x = np.arange(2 * 12 * 6, dtype="f4").reshape(2, 12, 2, 3)
    assert np.array_equal(Layout(x.shape, 8, (1,)).encode(x), nchwc_reference.block_map(x, 8))
    w = np.arange(16 * 8 * 3, dtype="f4").reshape(16, 8, 1, 3)
    stored = Layout(w.shape, 8, (0, 1)).encode(w)
    assert np.array_equal(nchwc_reference.plain_kernel(stored, 8, blocked_inputs=True), w)
    depthwise = w[:, :1]
    stored = Layout(depthwise.shape, 8, (0,)).encode(depthwise)
    assert np.array_equal(nchwc_reference.plain_kernel(stored, 8, blocked_inputs=False), depthwise)


CONVOLUTIONS = {
    "3x3": (16, 16, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), (7, 6)),
    "no_pad": (16, 32, (3, 3), (1, 1), (0, 0, 0, 0), (1, 1), (6, 5)),
    "odd_channels": (5, 21, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), (5, 5)),
    "1x1": (24, 18, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), (4, 3)),
    "1x3": (16, 16, (1, 3), (1, 1), (0, 1, 0, 1), (1, 1), (4, 5)),
    "stride2_even": (16, 20, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), (8, 6)),
    "stride2_odd": (16, 16, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), (7, 5)),
    "stride2_no_pad": (8, 16, (3, 3), (2, 2), (0, 0, 0, 0), (1, 1), (9, 8)),
    "stride2_1x1": (16, 16, (1, 1), (2, 2), (0, 0, 0, 0), (1, 1), (6, 5)),
    "stride4": (16, 16, (5, 5), (4, 4), (2, 2, 2, 2), (1, 1), (11, 9)),
    "stride3_2x2": (16, 16, (2, 2), (3, 3), (0, 0, 0, 0), (1, 1), (8, 7)),
    "two_strides": (16, 16, (3, 3), (1, 2), (1, 1, 1, 1), (1, 1), (5, 6)),
    "uneven_pads": (16, 16, (3, 3), (1, 1), (0, 1, 2, 1), (1, 1), (5, 5)),
    "large_pads": (16, 16, (1, 1), (1, 1), (1, 1, 1, 1), (1, 1), (3, 3)),
    "dilated": (16, 16, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2), (7, 7)),
    "in_padding": (16, 20, (1, 1), (2, 2), (1, 0, 0, 0), (1, 1), (1, 3)),
    "one_place": (16, 20, (3, 3), (1, 1), (0, 0, 0, 0), (1, 1), (3, 3)),
}
"""Channels, outputs, kernel, strides, pads, dilations, size."""

PLAIN_CONVOLUTIONS = {"stride4": "ConvDx", "large_pads": "ConvDx", "dilated": "ConvDw", "in_padding": "ConvDw ConvDx"}
"""The gradients that no recipe takes: where a phase would have to be cut, of dilated kernels, and of windows in
padding."""


# In numpy, which takes long, small batches alone.
@pytest.mark.parametrize(
    ("block", "batch"), [(b, n) for b in BLOCKS for n in ((1, 3, 16, 20) if b == "here" else (1, 3))]
)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name, batch, block):
    channels, outputs, kernel, strides, pads, dilations, size = CONVOLUTIONS[name]
    b = Build()
    x = ops.relu(b.conv(b.input(batch, 3, *size), channels))
    y = b.conv(x, outputs, kernel, strides=strides, pads=pads, dilations=dilations)
    compare(b.finish(ops.tanh(y)), block, plain=PLAIN_CONVOLUTIONS.get(name, ""))


@pytest.mark.parametrize("option", ["images", "parts1"])
@pytest.mark.parametrize("batch", [1, 3, 9])
@pytest.mark.parametrize("name", ["3x3", "stride2_even", "stride2_1x1", "uneven_pads"])
def test_gradients_of_kernels_by_image_and_by_batch(name, batch, option):
    channels, outputs, kernel, strides, pads, _, size = CONVOLUTIONS[name]
    b = Build()
    x = ops.relu(b.conv(b.input(batch, 3, *size), channels))
    y = ops.tanh(b.conv(x, outputs, kernel, strides=strides, pads=pads))
    compare(b.finish(y), "here", option=option)


@pytest.mark.parametrize(
    "name", ["3x3", "no_pad", "stride2_even", "stride2_odd", "stride2_1x1", "stride2_no_pad", "dilated", "uneven_pads"]
)
@pytest.mark.parametrize("block", BLOCKS)
def test_depthwise_convolutions(name, block):
    _, _, kernel, strides, pads, dilations, size = CONVOLUTIONS[name]
    b = Build()
    x = b.conv(b.input(3, 3, *size), 20)
    y = b.conv(x, 20, kernel, strides=strides, pads=pads, dilations=dilations, group=20)
    compare(b.finish(ops.tanh(y)), block)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("batch", [2, 16, 64])
def test_first_layers(channels, batch):
    b = Build()
    compare(b.finish(b.conv(b.input(batch, channels, 9, 8), 16, 5, strides=(2, 2), pads=(2, 2, 2, 2))), "here")


def norm(b, x):
    channels = x.shape[1]
    return ops.batch_norm_training(x, b.input(channels), b.input(channels))[0]


def gate(b, x):
    """Squeeze and excitation."""
    s = ops.relu(b.conv(ops.global_average_pool(x), 5))
    return ops.mul(x, ops.sigmoid(b.conv(s, x.shape[1])))


def residual(b, x):
    y = ops.relu(norm(b, b.conv(x, x.shape[1], 3, pads=(1,) * 4)))
    return ops.relu(ops.add(norm(b, b.conv(y, x.shape[1], 3, pads=(1,) * 4)), x))


BODIES = {
    "relu": lambda _, x: ops.relu(x),
    "relu6": lambda _, x: ops.clip(x, 0.0, 6.0),
    "leaky": lambda _, x: ops.leaky_relu(x),
    "sigmoid": lambda b, x: b.conv(ops.sigmoid(x), 7),
    "hard_swish": lambda b, x: b.conv(ops.mul(x, ops.hard_sigmoid(x)), 7),
    "exp": lambda b, x: b.conv(ops.exp(ops.mul(x, 0.1)), 7),
    "divide": lambda _, x: ops.div(x, ops.add(ops.exp(x), x, x)),
    "prelu": lambda b, x: ops.prelu(x, b.input(x.shape[1], 1, 1)),
    "bn": norm,
    "bn_relu_conv": lambda b, x: b.conv(ops.relu(norm(b, x)), 9, 3),
    "conv_bn": lambda b, x: norm(b, b.conv(x, 33, 3)),
    "residual": residual,
    "projection": lambda b, x: ops.add(b.conv(x, 9, 3, strides=(2, 2), pads=(1,) * 4), b.conv(x, 9, strides=(2, 2))),
    "gate": gate,
    "maxpool": lambda _, x: ops.max_pool(x, (2, 2), (2, 2)),
    "maxpool_overlap": lambda _, x: ops.max_pool(ops.relu(x), (3, 3), (2, 2), (1,) * 4),
    "maxpool_same": lambda _, x: ops.max_pool(ops.relu(x), (3, 3), (1, 1), (1,) * 4),
    "maxpool_beyond": lambda _, x: ops.max_pool(x, (3, 3), (2, 2), extra=(1, 1)),
    "avgpool": lambda _, x: ops.average_pool(x, (2, 2), (2, 2)),
    "avgpool_same": lambda _, x: ops.average_pool(x, (3, 3), (1, 1), (1,) * 4),
    "avgpool_counted": lambda _, x: ops.average_pool(x, (3, 3), (2, 2), (1,) * 4, count_include_pad=True),
    "global_avgpool": lambda _, x: ops.flatten(ops.global_average_pool(x)),
    "global_maxpool": lambda _, x: ops.global_max_pool(x),
    "flatten": lambda b, x: ops.gemm(ops.flatten(x), b.input(x.shape[1] * 42, 3)),
    "concat": lambda b, x: b.conv(ops.concat([x, b.conv(x, 8)]), 9),
    "concat_thin": lambda b, x: b.conv(ops.concat([b.conv(x, 3), x], 1), 9),
    "concat_middle": lambda b, x: b.conv(ops.concat([b.conv(x, 16), b.conv(x, 5), x], 1), 9),
    "concat_aligned": lambda b, x: b.conv(ops.concat([b.conv(x, 32), b.conv(x, 16), x]), 9),
    "cut": lambda b, x: ops.add(*(ops.slice(b.conv(x, 64), (1,), (i,), (i + 32,)) for i in (0, 32))),
    "shuffle": lambda b, x: ops.reshape(
        ops.transpose(ops.reshape(b.conv(x, 32), (2, 16, 42)), (0, 2, 1, 3)), (32, 7, 6)
    ),
    "grouped": lambda b, x: ops.relu(norm(b, b.conv(b.conv(x, 32), 32, 3, group=4))),
    "deconv": lambda b, x: ops.conv_transpose(x, b.input(x.shape[1], 5, 2, 2), strides=(2, 2)),
    "instance_norm": lambda b, x: ops.instance_norm(x, b.input(x.shape[1]), b.input(x.shape[1])),
    "lrn": lambda _, x: ops.lrn(x, 5, 0.1),
    "upsample": lambda _, x: ops.resize(x, (2, 2)),
    "per_place": lambda b, x: ops.mul(x, b.input(1, 1, 7, 6)),
    "per_example": lambda b, x: ops.mul(x, b.input(3, 1, 1, 1)),
    "per_map": lambda b, x: ops.mul(x, b.input(3, x.shape[1], 1, 1)),
    "per_channel": lambda b, x: ops.mul(ops.relu(x), b.input(1, x.shape[1], 1, 1)),
    "shift": lambda b, x: ops.add(b.input(x.shape[1], 1, 1), x),
    "scale_and_shift": lambda b, x: ops.add(
        ops.mul(b.input(3, x.shape[1], 1, 1), ops.tanh(x)), b.input(1, x.shape[1], 1, 1)
    ),
    "pooled": lambda b, x: ops.mul(ops.add(x, ops.expand(ops.global_average_pool(x), x.shape)), gate(b, x)),
    "silu": lambda b, x: b.conv(ops.silu_training(x), 7),
    "normed": lambda _, x: ops.div(x, ops.sqrt(ops.reduce_sum(ops.mul(x, x), (1, 2, 3)))),
    "shared": lambda _, x: ops.add(ops.relu(x), ops.tanh(x), x),
    "means": lambda _, x: ops.sub(x, ops.reduce_mean(x, (2, 3))),
}

PLAIN = {
    "avgpool": "Resize",
    "avgpool_counted": "Reshape Reshape",
    "global_maxpool": "ArgMax GlobalMaxPool",
    "flatten": "Flatten",
    "concat_thin": "Concat Slice Slice",
    "concat_middle": "Concat Slice Slice",
    "cut": "Pad Pad",
    "shuffle": "Reshape",
    "grouped": "Conv ConvDw ConvDx",
    "deconv": "ConvTranspose",
    "instance_norm": "InstanceNormalization",
    "lrn": "LRN Reshape Reshape",
    "upsample": "Resize",
    "per_place": "ReduceSum",
    "per_example": "ReduceSum",
    "normed": "ReduceSum ReduceSum",
}
"""What no recipe takes, and where blocks are filled in part alone."""

PLAIN_IF_PADDED = {"prelu": "Reshape", "shift": "Reshape", "global_avgpool": "Flatten", "concat": "Concat Slice Slice"}


@pytest.mark.parametrize("channels", [20, 32])
@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("block", BLOCKS)
def test_bodies(name, channels, block):
    b = Build()
    x = b.conv(b.input(3, 3, 7, 6), channels)
    padded = channels % ((block_size() or 1) if block == "here" else block)
    plain = PLAIN.get(name, PLAIN_IF_PADDED.get(name, "") if padded else "")
    compare(b.finish(BODIES[name](b, x)), block, plain=plain, tolerance=1e-4)


def test_the_comparisons_of_a_max_pool_are_part_of_convolutions():
    b = Build()
    x = ops.max_pool(b.conv(b.input(3, 3, 7, 6), 32), (3, 3), (2, 2))
    found = compare(b.finish(x), "here")
    steep = [op.parameters for op in found if isinstance(op, BlockedConv) and op.activation == "HardSigmoid"]
    assert steep == [(1e30, 0.0)] * 4  # for all places but the last one, along both axes
    assert not any(isinstance(op, HardSigmoid) for op in found)


FUNCTIONS = {
    **{name: getattr(ops, name) for name in ("identity", "abs", "neg", "sign", "sin", "cos", "exp", "erf")},
    **{name: getattr(ops, name) for name in ("relu", "tanh", "elu", "selu", "leaky_relu", "sigmoid", "softplus")},
    "hard_sigmoid": ops.hard_sigmoid,
    "hard_sigmoid_from_0": lambda x: ops.hard_sigmoid(x, 0.3, 0.0),
    "hard_sigmoid_of_1": lambda x: ops.hard_sigmoid(ops.cos(x), 0.3, 0.0),
    "clip": lambda x: ops.clip(x, 0.5, 2.0),
    "sqrt": lambda x: ops.sqrt(ops.abs(x)),
    "log": lambda x: ops.log(ops.abs(x)),
    "sigmoid_of_log": lambda x: ops.sigmoid(ops.log(ops.abs(x))),
    "relu_of_cos": lambda x: ops.relu(ops.cos(x)),
    "reciprocal": lambda x: ops.reciprocal(ops.add(ops.abs(x), 0.1)),
    "power": lambda x: ops.power(ops.add(ops.abs(x), 0.1), -0.5),
    "cast": lambda x: ops.cast(ops.logical_not(ops.greater(x, 0.0)), "f32"),
    "equal": lambda x: ops.cast(ops.equal(x, x), "f32"),
}
JOINS = {
    "alone": lambda _, y: y,
    "add": ops.add,
    "sub": ops.sub,
    "mul": ops.mul,
    "square": lambda _, y: ops.mul(y, y),
    "div": lambda x, y: ops.div(y, ops.add(ops.mul(x, x), 0.1)),
    "halves": lambda _, y: ops.div(y, 2.0),
    "more": lambda x, y: ops.add(x, y, 1.0),
    "max": ops.maximum,
    "min": ops.minimum,
    "where": lambda x, y: ops.where(ops.greater(x, 0.1), x, y),
    "conv": lambda x, y: ops.add(x, ops.sigmoid(y)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("block", BLOCKS)
def test_padding_is_never_summed(name, block):
    """21 channels fill no blocks: what a function makes of the zeros behind them must not reach a sum or a kernel.

    Each sum has values of its own: what was cleaned for one is clean for the next.
    """
    b = Build()
    for join, function in JOINS.items():
        x, other = (b.conv(b.input(2, 3, 3, 2), 21) for _ in range(2))
        summed = function(x, FUNCTIONS[name](x))
        b.graph.output(join, ops.reduce_sum(summed, (0, 1, 2, 3), keepdims=False))
        b.graph.output(f"{join}.conv", b.conv(function(other, FUNCTIONS[name](other)), 5))
    compare(b.graph, block, tolerance=2e-4)


def test_additions_and_activations_go_into_convolutions():
    b = Build()
    graph = b.finish(residual(b, b.conv(b.input(3, 3, 7, 6), 32)))
    made = [op for op in compare(graph, "here", tolerance=1e-4) if isinstance(op, BlockedConv)]
    assert any(op.addend for op in made)
    assert any(op.activation for op in made)


@pytest.mark.parametrize(
    ("activation", "name", "parameters"),
    [
        (lambda x: ops.clip(x, -0.1, 0.3), "Clip", (-0.1, 0.3)),
        (lambda x: ops.leaky_relu(x, 0.2), "LeakyRelu", (0.2,)),
    ],
)
def test_activations_are_part_of_convolutions(activation, name, parameters):
    b = Build()
    graph = b.finish(activation(norm(b, b.conv(b.input(3, 3, 7, 6), 32))))
    made = compare(graph, "here", tolerance=1e-4)
    assert (name, parameters) in [(op.activation, op.parameters) for op in made if isinstance(op, BlockedConv)]
    assert not any(type(op).__name__ == name for op in made)


NETS = {
    "padded": "input x 3x9x9; conv 3x3 20 bias off; bn; relu; conv 3x3 24 stride 2 bias off; bn; relu; "
    "maxpool 2x2; dense 3",
    "separable": "input x 3x8x8; conv 3x3 20 stride 2 bias off; bn; relu6; dwconv 3x3 bias off; bn; relu6; "
    "conv 1x1 33; dense 3",
    "frozen": "input x 3x8x8; freeze { conv 3x3 20; bn }; relu; conv 3x3 20; relu; global_avgpool; flatten; dense 3",
    "shared": "input x 3x8x8; conv 3x3 20; relu; a: conv 3x3 20; relu; reuse a; relu; dense 3",
    "dropout": "input x 3x8x8; conv 3x3 20; relu; dropout 0.5; conv 3x3 20; dropout 0.5 spatial on; dense 3",
}
OPTIMIZERS = (
    "sgd lr 0.1 momentum 0.9 decay 1e-3",
    "sgd lr 0.1 momentum 0.9 nesterov on",
    "adam lr 0.01",
    "rmsprop lr 0.01",
)


def states_of(lowered, state, feeds, steps):
    """The state, plainly, after some steps on onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(emit(lowered.graph).model.SerializeToString())
    names = [each.name for each in session.get_outputs()]
    wanted = {each.name for each in session.get_inputs()}
    layouts = lowered.layouts
    stored = {name: layouts[name].encode(x) if name in layouts else x for name, x in state.items()}
    for _ in range(steps):
        given = {k: v for k, v in {**feeds, **stored}.items() if k in wanted}
        results = dict(zip(names, session.run(None, given), strict=True))
        stored.update({name: results[name + ".next"] for name in lowered.graph.state})
    return {name: layouts[name].decode(x) if name in layouts else x for name, x in stored.items()}


def step_and_state(net, train):
    found = read(f"net t {{ {net} }}\n{train}")
    graph = training_step(found.net, found)
    random = np.random.default_rng(0)
    befores = {name: state.before for name, state in graph.state.items() if state.initial is not None}
    state = {name: (0.3 * random.standard_normal(x.shape)).astype("f4") for name, x in graph.parameters.items()}
    state.update({k: np.abs(v) + 1 for k, v in state.items() if k.endswith("running_var")})
    for name, x in befores.items():
        state[name] = np.full(x.shape, graph.state[name].initial, {"f32": "f4", "u32": "u4"}[x.dtype])
    feeds = {name: random.standard_normal(x.shape).astype("f4") for name, x in graph.inputs.items() if x.dtype == "f32"}
    return graph, state, {**feeds, "target": random.integers(0, 3, found.batch), "rate": np.array(0.01, "f4")}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETS)
def test_states_lie_blocked_and_come_back_plain(name, optimizer):
    if block_size() is None:
        pytest.skip("no blocked layout here")
    train = f"train t {{ data xor; loss cross_entropy; optimizer {optimizer}; batch 6; seed 3 }}"
    graph, state, feeds = step_and_state(NETS[name], train)
    blocked, plain = lower_step(graph, "nchwc"), lower_step(graph, "plain")
    assert blocked.choices["lowering"] == "blk"
    assert blocked.layouts
    assert not plain.layouts
    found, expected = (states_of(each, state, feeds, 3) for each in (blocked, plain))
    assert found.keys() == expected.keys()
    for key, y in expected.items():
        assert found[key].shape == y.shape
        assert np.allclose(found[key], y, rtol=2e-3, atol=2e-4 * max(1e-2, np.abs(y).max())), key


@pytest.mark.parametrize("name", sorted(set(SMALL) - {"detector", "hourglass", "pixelcnn", "unet", "wavenet"}))
def test_difficult_programs(name):
    """Those whose sizes are known before they run, the largest on small images."""
    text = difficult(name).replace("224x224", "64x64") if name in LARGE else difficult(name)
    check_net(net_of(text, name, **SMALL[name]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["lenet5_1998", "googlenet", "mobilenet_v3", "squeezenet", "shufflenet_v2", "densenet"]
)
def test_specs(name):
    check_net(open_net(name))


def smooth(graph):
    """With softplus for ReLU: of deep nets' many signs some depend on the last bit, and turn gradients with them."""
    copy = Copy(graph)
    for operation in graph.operations:
        if isinstance(operation.op, Relu):
            copy.replace(operation, [ops.softplus(copy.value(operation.inputs[0]))], len(copy.new.operations))
        else:
            copy.keep(operation)
    return copy.finish()


def check_net(net):
    from netdsl.lower import lower_training
    from netdsl.weights.draw import draw_all

    if block_size() is None:
        pytest.skip("no blocked layout here")
    graph = lower_training(net, batch=2, seed=0)
    graph = smooth(graph)
    weights = [p for p in graph.parameters.values() if p.declaration.trainable]
    random = np.random.default_rng(0)
    terms = []
    for output, y in [*graph.outputs.items()]:
        del graph.outputs[output]
        terms.append(ops.reduce_sum(ops.mul(y, y), range(len(y.shape)), keepdims=False))
    loss = ops.add(*terms) if len(terms) > 1 else terms[0]
    for w, dw in zip(weights, gradients(loss, weights), strict=True):
        if dw is not None:
            graph.update(w, dw)
    feeds = {
        k: random.standard_normal(x.shape).astype("f4")
        if x.dtype == "f32"
        else np.zeros(x.shape, {"u8": "u1"}[x.dtype])
        for k, x in graph.inputs.items()
    }
    declared = [p.declaration for p in graph.parameters.values()]
    drawn = draw_all(declared, 0)
    state = {p.name: np.concatenate(list(d)).reshape(p.shape) for p, (_, d) in zip(declared, drawn, strict=True)}
    state["step"] = np.array(0, "u4")
    plain, blocked = lower_step(graph, "plain"), lower_step(graph, "nchwc")
    expected, found = (states_of(each, state, feeds, 1) for each in (plain, blocked))
    error = sum(float(np.sum((found[k] - y) ** 2.0)) for k, y in expected.items())
    assert (error / sum(float(np.sum(y**2.0)) for y in expected.values())) ** 0.5 < 2e-3


def small_step():
    b = Build()
    return b.finish(ops.relu(b.conv(b.input(2, 3, 6, 6), 20, 3)))


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A process that has neither probed nor measured, and remembers in a folder of its own."""
    monkeypatch.setenv("NETDSL_CACHE", str(tmp_path / "cache"))
    block_size.cache_clear()
    step_backend._warn.cache_clear()
    yield tmp_path / "cache" / "tuning.json"
    block_size.cache_clear()
    step_backend._warn.cache_clear()


def fail(*_):
    raise RuntimeError("no such domain")


def other(graph, feeds, real=step_backend.run_graph):
    """Another result for blocked ops."""
    results = real(graph, feeds)
    return [2 * x for x in results] if any(isinstance(o.op, BlockedConv) for o in graph.operations) else results


def one_other(number, factor):
    """Another result for one gradient of the probe."""

    def run(graph, feeds, real=step_backend.run_graph):
        results = real(graph, feeds)
        if any(isinstance(o.op, BlockedConv) for o in graph.operations):
            results[number] = results[number] * np.float32(factor)
        return results

    return run


GRADIENTS = 12


def test_the_probe_has_as_many_gradients():
    assert len(step_backend._probe().outputs) == GRADIENTS


@pytest.mark.parametrize(
    "run", [fail, other, *(one_other(number, factor) for number in range(GRADIENTS) for factor in (1.01, np.nan))]
)
@pytest.mark.usefixtures("fresh")
def test_where_blocks_are_missing_or_wrong_the_step_is_plain_and_says_so_once(monkeypatch, run):
    monkeypatch.setattr(step_backend, "run_graph", run)
    with pytest.warns(BlockedIsMissing):
        assert lower_step(small_step(), "nchwc").choices == {"lowering": "std"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lower_step(small_step(), "nchwc").choices == {"lowering": "std"}
        assert lower_step(small_step(), "auto").choices == {"lowering": "std"}


@pytest.mark.usefixtures("fresh")
def test_where_onnxruntime_has_blocks_they_are_trusted():
    """Tests that need blocks leave themselves out without them, and this one asks onnxruntime alone."""
    node = helper.make_node("ReorderInput", ["x"], ["y"], domain="com.microsoft.nchwc")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 64, 1, 2))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft.nchwc", 1)]
    model = helper.make_model(helper.make_graph([node], "order", [x], [y]), opset_imports=opsets, ir_version=8)
    try:
        session = InferenceSession(model.SerializeToString())
        (found,) = session.run(None, {"x": np.arange(128, dtype="f4").reshape(1, 64, 1, 2)})
    except Exception as error:
        pytest.skip(f"no blocked layout here: {error}")
    assert block_size() == list(found.reshape(-1)).index(1)


def test_what_was_measured_is_remembered(fresh, monkeypatch):
    if block_size() is None:
        pytest.skip("no blocked layout here")
    monkeypatch.setattr(tune, "kernel_choices", lambda *_: [])
    times = iter([[2.0, 1.0], [1.0, 2.0]])
    monkeypatch.setattr(tune.Stopwatch, "race", lambda *_: next(times))
    assert lower_step(small_step(), "auto").choices["lowering"] == "blk"
    assert lower_step(small_step(), "auto").choices["lowering"] == "blk", "measured again"
    assert lower_step(small_step(), "auto", threads=1).choices["lowering"] == "std", (
        "other threads, another measurement"
    )
    assert len(json.loads(fresh.read_text("utf-8"))) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"m": 3}', "\x00", '{"MACHINE": {"KEY": {"lowering": "fast"}}}'])
def test_a_damaged_cache_is_none(fresh, text):
    fresh.parent.mkdir()
    fresh.write_text(text.replace("MACHINE", "m").replace("KEY", "k"), "utf-8")
    cache = tune.Cache("m")
    assert cache.get("k") is None
    cache.put("k", {"lowering": "std"})
    assert cache.get("k") == {"lowering": "std"}


def test_a_cache_that_cannot_be_written_is_none(fresh):
    fresh.parent.write_text("a file where the folder should be", "utf-8")
    cache = tune.Cache("m")
    cache.put("k", {"lowering": "std"})
    assert cache.get("k") is None


def test_choices_make_the_same_step_again(fresh):
    first = lower_step(small_step(), "nchwc") if block_size() else lower_step(small_step(), "plain")
    kept = json.loads(json.dumps(first.choices))
    again = lower_step(small_step(), "auto", choices=kept)
    assert again.choices == first.choices
    assert emit(again.graph).model.SerializeToString() == emit(first.graph).model.SerializeToString()
    assert not fresh.exists(), "nothing had to be measured"


@pytest.mark.usefixtures("fresh")
def test_recipes_are_measured_one_by_one(monkeypatch):
    if block_size() is None:
        pytest.skip("no blocked layout here")
    monkeypatch.setattr(tune, "STEP_SECONDS", 1e-3)
    monkeypatch.setattr(tune, "KERNEL_SECONDS", 1e-4)
    found = tune.measure_backends(small_step(), block_size())
    assert {"std", "blk"} <= found["milliseconds"].keys()
    assert json.loads(json.dumps(found)) == found


def test_the_largest_operations_are_measured_first_and_others_if_there_is_time(monkeypatch):
    if block_size() is None:
        pytest.skip("no blocked layout here")
    b, clock, raced, shown = Build(), iter(range(0, 1000, 4)), [], []
    x = ops.relu(b.conv(b.input(2, 16, 12, 12), 16, 3))
    graph = b.finish(b.conv(b.conv(x, 32, 3), 48, 3))
    monkeypatch.setattr(tune, "monotonic", lambda: next(clock))
    monkeypatch.setattr(tune, "KERNELS_SECONDS", 10.0)

    class Watch:
        def race(self, rivals, _):
            raced.append(sum(np.prod(x.shape) for x in rivals[0].graph.inputs.values()))
            return [2.0, *(1.0 for _ in rivals[1:])]

    found = tune.measure_kernels(graph, block_size(), Watch(), lambda done, total: shown.append((done, total)))
    choices = {choice.key: choice.options for choice in kernel_choices(graph, block_size())}
    assert len(choices) > 2 == len(found) == len(raced), "the clock advances by 4 s for each"
    assert all(option == choices[key][1] for key, option in found.items())
    assert raced == sorted(raced, reverse=True)
    assert shown == [(8, 16)]


@pytest.mark.parametrize("batch", [3, 64])
def test_every_recipe_gives_the_same(batch):
    if block_size() is None:
        pytest.skip("no blocked layout here")
    b = Build()
    x = ops.relu(b.conv(b.input(batch, 3, 6, 6), 20, 3))
    x = ops.relu(b.conv(x, 16, 3, pads=(1,) * 4))
    x = b.conv(x, 32, 3, strides=(2, 2), pads=(1,) * 4)
    graph = b.finish(b.conv(x, 32, 3, pads=(1,) * 4, group=32))
    random = np.random.default_rng(0)
    feeds = {name: random.standard_normal(x.shape).astype("f4") for name, x in graph.inputs.items()}
    expected = step_backend.run_graph(portable(graph), feeds)
    choices = kernel_choices(graph, block_size())
    assert choices
    for choice in choices:
        for option in choice.options:
            lowered = lower_blocked(graph, block_size(), {choice.key: option})
            assert lowered.choices["recipes"][choice.key] == option
            for y, z in zip(expected, step_backend.run_graph(lowered.graph, feeds), strict=True):
                assert np.abs(y - z).max() <= 2e-5 * np.abs(y).max(), (choice.key, option)
            assert candidate(choice, option, block_size()).operations


def test_signatures_tell_steps_apart():
    def signature(stride):
        b = Build()
        return tune.step_signature(b.finish(b.conv(b.input(2, 3, 6, 6), 8, 3, strides=(stride, stride), pads=(1,) * 4)))

    assert signature(1) == signature(1) != signature(2)


def test_a_variance_is_exact_where_the_mean_is_much_larger():
    """The mean of squares less the squared mean would lose a digit more."""
    block = block_size()
    if block is None:
        pytest.skip("no blocked layout here")
    graph = Graph("moments")
    x, w = graph.input("x", (8, block, 32, 32)), graph.input("w", (block, block, 1, 1))
    scale, bias = graph.input("scale", (block,)), graph.input("bias", (block,))
    y, _, var = ops.batch_norm_training(ops.conv(x, w), scale, bias)
    graph.output("y", y)
    graph.output("var", var)
    image = (30 + np.random.default_rng(0).standard_normal((8, block, 32, 32))).astype(np.float32)
    numbers = {"scale": np.ones(block, np.float32), "bias": np.zeros(block, np.float32)}
    identity = np.eye(block, dtype=np.float32).reshape(block, block, 1, 1)
    _, found = step_backend.run_graph(lower_blocked(graph, block).graph, {"x": image, "w": identity, **numbers})
    np.testing.assert_allclose(found, image.astype("f8").var((0, 2, 3)), rtol=1e-4)
