"""Nets built by hand, without the front half: layers that are only a body in ops."""

from __future__ import annotations

from netdsl import ops
from netdsl.base.text import Source, Span
from netdsl.ir.init import he_normal, ones, zeros
from netdsl.ir.net import Net, Node, Output, Parameter

TEXT = "net handmade {\n" + "  layer\n" * 40 + "}\n"


class Fake:
    """A layer: its kind and its body."""

    dtype_transparent = False
    stateful = False

    def __init__(self, kind, body=None, variadic=False, **arguments):
        self.kind = kind
        self.body = body
        self.variadic = variadic
        self.__dict__.update(arguments)

    def split(self, inputs):
        return inputs, {}


class Maker:
    """Collects nodes into a net."""

    def __init__(self, name="handmade", path="handmade.net"):
        self.name = name
        self.source = Source(path, TEXT)
        self.nodes = []
        self.inputs = []
        self.outputs = {}

    def node(self, layer, inputs, shape, name, weights=()):
        start = 17 + 8 * (len(self.nodes) % 40)
        parameters = {p.name.rpartition(".")[2]: p for p in weights}
        node = Node(layer, tuple(inputs), shape, name, parameters, Span(self.source, start, start + 5), None)
        self.nodes.append(node)
        return node

    def input(self, name, shape, dtype="f32"):
        node = self.node(Fake("input", dtype=dtype), (), shape, name)
        self.inputs.append(node)
        return node

    def conv(self, x, name, channels, kernel, stride=1, bias=False, init=he_normal):
        c, h, w = x.shape
        pad = kernel // 2
        fans = {"fan_in": c * kernel**2, "fan_out": channels * kernel**2}
        weights = [Parameter(f"{name}.weight", (channels, c, kernel, kernel), init, **fans)]
        if bias:
            weights.append(Parameter(f"{name}.bias", (channels,), zeros, **fans))
        out = tuple((size - 1) // stride + 1 for size in (h, w))

        def body(x, w):
            return ops.conv(x, w.weight, w.get("bias"), strides=(stride,) * 2, pads=(pad,) * 4)

        return self.node(Fake("conv", body), [x], (channels, *out), name, weights)

    def bn(self, x, name):
        shape = x.shape[:1]
        init = {"weight": ones, "bias": zeros, "running_mean": zeros, "running_var": ones}
        weights = [
            Parameter(f"{name}.{word}", shape, each, fan_in=1, fan_out=1, buffer="running" in word)
            for word, each in init.items()
        ]

        def body(x, w):
            return ops.batch_norm(x, w.weight, w.bias, w.running_mean, w.running_var, 1e-5)

        return self.node(Fake("bn", body), [x], x.shape, name, weights)

    def relu(self, x, name):
        return self.node(Fake("relu", lambda x, _: ops.relu(x)), [x], x.shape, name)

    def identity(self, x, name):
        """As dropout is at inference: no op at all."""
        return self.node(Fake("dropout", lambda x, _: x), [x], x.shape, name)

    def scale(self, x, name, factor):
        return self.node(Fake("scale", lambda x, _: ops.add(ops.mul(x, factor), 0.5)), [x], x.shape, name)

    def add(self, xs, name):
        return self.node(Fake("add", ops.add, variadic=True), xs, xs[0].shape, name)

    def pool(self, x, name):
        return self.node(Fake("global_avgpool", lambda x, _: ops.global_average_pool(x)), [x], (x.shape[0], 1, 1), name)

    def dense(self, x, name, units, init=he_normal):
        features = 1
        for size in x.shape:
            features *= size
        weights = [
            Parameter(f"{name}.weight", (units, features), init, fan_in=features, fan_out=units),
            Parameter(f"{name}.bias", (units,), zeros, fan_in=features, fan_out=units),
        ]

        def body(x, w):
            return ops.gemm(ops.flatten(x), w.weight, w.get("bias"), trans_b=True)

        return self.node(Fake("dense", body), [x], (units,), name, weights)

    def output(self, name, node, training=False):
        self.outputs[name] = Output(name, node, node.span, training)

    def net(self, **more):
        return Net(
            self.name,
            self.source,
            inputs=tuple(self.inputs),
            outputs=self.outputs,
            nodes=tuple(self.nodes),
            **more,
        )


def resnet(repeats=(1, 1), width=8, image=(3, 16, 16), classes=5, **more):
    """A residual net of bottlenecks; (3, 8, 36, 3) of width 64 at 3x224x224 is ResNet-152."""
    m = Maker("resnet", "/home/somebody/specs/resnet.net")
    x = m.input("image", image)
    x = m.relu(m.bn(m.conv(x, "conv1", width, 7, 2), "bn1"), "relu1")
    for stage, rounds in enumerate(repeats):
        planes = width << stage
        for j in range(rounds):
            at = f"layer{stage + 1}.{j}."
            stride = 2 if j == 0 else 1
            y = m.relu(m.bn(m.conv(x, f"{at}conv1", planes, 1), f"{at}bn1"), f"{at}relu1")
            y = m.relu(m.bn(m.conv(y, f"{at}conv2", planes, 3, stride), f"{at}bn2"), f"{at}relu2")
            y = m.bn(m.conv(y, f"{at}conv3", 4 * planes, 1), f"{at}bn3")
            z = x
            if j == 0:
                z = m.conv(x, f"{at}downsample.0", 4 * planes, 1, stride)
                z = m.bn(z, f"{at}downsample.1")
            x = m.relu(m.add([y, z], f"{at}add1"), f"{at}relu3")
    x = m.identity(m.pool(x, "global_avgpool1"), "dropout1")
    m.output("output", m.dense(x, "fc", classes))
    return m.net(**more)
