"""Random ONNX models: mutants of small ones, and ones that ask for much in few bytes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.support.fuzz_bytes import NAMES, NUMBERS, REALS, WORDS, Case, changed_bytes, changed_message
from tests.support.onnx_models import graph, ints, model, n


@cache
def onnx_models() -> list[bytes]:
    """Return small models of all operators that the tests know, and what netdsl writes."""
    from tests.importing import test_onnx, test_onnx_sequences

    found = []
    with TemporaryDirectory() as folder:
        path = Path(folder, "m.onnx")
        for module in (test_onnx, test_onnx_sequences):
            for nodes, arrays, shape, *_ in module.CASES.values():
                for opset in (21, 13):
                    found.append(model(path, nodes, arrays, *shape, opset=opset).read_bytes())
        for opsets, nodes, arrays, shape, _ in test_onnx.OLD.values():
            found.append(model(path, nodes, arrays, *shape, opset=opsets[0]).read_bytes())
        folded = [n("Shape", "x", "s"), n("Slice", "s one two", "t"), n("Concat", "t rest", "u", axis=0)]
        arrays = {"one": ints(0), "two": ints(1), "rest": ints(-1, 6), "w": np.ones((6, 3), "f4")}
        found.append(
            model(path, [*folded, n("Reshape", "x u", "r"), n("MatMul", "r w", "y")], arrays, 4, 6).read_bytes()
        )
    return found


def onnx_case(random: Random) -> Case:
    kind = random.randrange(8)
    if kind == 0:
        return Case("onnx", "m.onnx", {"m.onnx": _hungry(random)})
    if kind == 1:
        return _external(random)
    data = random.choice(onnx_models())
    if kind == 2:
        data = changed_bytes(random, data)
    elif kind == 3:
        data = changed_message(random, data)
    else:
        proto = onnx.ModelProto.FromString(data)
        for _ in range(random.choice([1, 1, 2, 3])):
            _change(random, proto)
        data = proto.SerializeToString()
    return Case("onnx", "m.onnx", {"m.onnx": data})


def _messages(proto: Any) -> list[Any]:
    found, waiting = [], [proto]
    while waiting:
        message = waiting.pop()
        found.append(message)
        for each, value in message.ListFields():
            if each.type == each.TYPE_MESSAGE:
                waiting += value if hasattr(value, "extend") else [value]
    return found


def _change(random: Random, proto: onnx.ModelProto) -> None:
    """Change a field of a message of a model: numbers, names, and parts that are gone or there twice."""
    messages = [each for each in _messages(proto) if each.ListFields()]
    kinds = sorted({type(each).__name__ for each in messages})
    kind = random.choice(kinds)
    message = random.choice([each for each in messages if type(each).__name__ == kind])
    each, value = random.choice(message.ListFields())
    try:
        if hasattr(value, "extend"):
            _change_list(random, proto, each, value)
        elif each.type == each.TYPE_MESSAGE:
            others = [other for other in messages if type(other) is type(value)]
            value.CopyFrom(random.choice(others)) if random.randrange(2) else message.ClearField(each.name)
        else:
            setattr(message, each.name, _scalar(random, proto, each))
    except (ValueError, TypeError):  # a number that the field cannot have
        message.ClearField(each.name)


def _change_list(random: Random, proto: onnx.ModelProto, each: Any, values: Any) -> None:
    if not len(values):
        return
    at = random.randrange(len(values))
    what = random.randrange(4)
    if what == 0:
        del values[at]
    elif each.type == each.TYPE_MESSAGE:
        others = [other for other in _messages(proto) if type(other) is type(values[at])]
        if what == 1:
            values.append(copy.deepcopy(random.choice(others)))
        elif what == 2:
            values[at].CopyFrom(random.choice(others))
        else:
            values.extend([copy.deepcopy(values[at])] * random.choice([1, 5, 300]))
    elif what == 1:
        values.extend([values[at]] * random.choice([1, 5, 40]))
    else:
        values[at] = _scalar(random, proto, each)


def _scalar(random: Random, proto: onnx.ModelProto, each: Any) -> Any:
    if each.type == each.TYPE_STRING:
        known = [name for node in proto.graph.node for name in (*node.input, *node.output, node.op_type)]
        return random.choice(known if known and random.random() < 0.8 else NAMES)
    if each.type == each.TYPE_BYTES:
        return random.choice([b"", b"SAME_UPPER", b"VALID", b"linear", b"\xff", random.randbytes(4), bytes(32)])
    if each.type in (each.TYPE_FLOAT, each.TYPE_DOUBLE):
        return random.choice(REALS)
    return random.choice([*NUMBERS, random.randrange(24), random.randrange(24)])


def _saved(nodes: list[onnx.NodeProto], arrays: dict[str, Any], *shape: Any, opset: int = 17, **more: Any) -> bytes:
    made = graph(nodes, arrays, {"x": (TensorProto.FLOAT, ["N", *shape])})
    ids = [helper.make_opsetid("", opset), helper.make_opsetid("mine", 1)]
    found: bytes = helper.make_model(made, opset_imports=ids, ir_version=10, **more).SerializeToString()
    return found


def _hungry(random: Random) -> bytes:
    """Return a small model that asks for much: constants that grow, values that grow, and long or deep graphs."""
    return random.choice(HUNGRY)(random)


GROWING = ("Expand", "Tile", "ConstantOfShape", "Range", "Concat", "Add", "Cast", "Gather", "Pad", "Exp")
"""Operators of constants that can be large."""


def _growing(random: Random) -> bytes:
    """A chain of constants, each of which is larger than the one before it, or a new one beside it."""
    target = ints(random.choice([1, 3, 40]), random.choice([1, 2**10, 2**20]))
    nodes, arrays = [], {"c": np.ones((1, 1), "f4"), "i": target}
    last = "c"
    for at in range(random.choice([2, 12, 40, 300])):
        base = random.choice([last, "c"])
        op = random.choice(GROWING)
        made, name = [], f"v{at}"
        match op:
            case "Expand" | "Tile":
                made = [n(op, f"{base} i", name)]
            case "ConstantOfShape":
                made = [n(op, "i", name)]
            case "Range":
                arrays |= {"r0": np.array(0), "r1": np.array(2 ** random.choice([8, 20, 26, 40])), "r2": np.array(1)}
                made = [n(op, "r0 r1 r2", name)]
            case "Concat":
                made = [n(op, " ".join([base] * random.choice([2, 9])), name, axis=0)]
            case "Add":
                made = [n(random.choice(["Add", "Mul", "Sub", "Max", "Pow", "Equal"]), f"{base} {last}", name)]
            case "Cast":
                made = [n(op, base, name, to=random.choice([1, 6, 7, 10, 11, 16]))]
            case "Gather":
                made = [n(op, f"{base} i", name, axis=0)]
            case "Pad":
                made = [n(op, f"{base} q", name)]
                arrays["q"] = ints(0, 0, 2 ** random.choice([4, 20, 30]), 1)
            case _:
                made = [n(random.choice(["Exp", "Relu", "ReduceSum", "Softmax", "NonZero", "CumSum"]), base, name)]
        nodes += made
        last = name
    return _saved([*nodes, n("MatMul", f"x {last}", "y")], arrays, 4)


def _many_uses(random: Random) -> bytes:
    """Constants that unpack, each of which is the weight of a layer."""
    size = random.choice([2**10, 2**12, 2**13])
    nodes, last = [], "x"
    for at in range(random.choice([3, 40])):
        nodes += [n("ConstantOfShape", "s", f"w{at}"), n("MatMul", f"{last} w{at}", f"v{at}")]
        last = f"v{at}"
    return _saved([*nodes, n("Relu", last, "y")], {"s": ints(size, size)}, size)


def _large_values(random: Random) -> bytes:
    """Values that no machine can hold, of few weights."""
    big = 2 ** random.choice([10, 16, 24, 31, 40])
    nodes = random.choice(
        [
            [n("Pad", "x p", "y")],
            [n("Resize", "x - s", "y", mode="nearest")],
            [n("Upsample", "x s", "y", mode="nearest")],
            [n("Expand", "x e", "y")],
            [n("Tile", "x e", "y")],
            [n("Conv", "x w", "y", pads=[big] * 4)],
            [n("ConvTranspose", "x w", "y", strides=[big, big])],
            [n("MaxPool", "x", "y", kernel_shape=[big, big], pads=[big - 1] * 4)],
            [n("Flatten", "x", "f"), n("Reshape", "f t", "a"), n("Reshape", "f u", "b"), n("MatMul", "a b", "y")],
            [n("DepthToSpace", "x", "y", blocksize=big)],
            [n("Concat", " ".join(["x"] * 300), "a", axis=1), n("Concat", " ".join(["a"] * 300), "y", axis=1)],
            [n("Sum", " ".join(["x"] * 5000), "y")],
        ]
    )
    arrays = {
        "p": ints(0, 0, big, big, 0, 0, big, big),
        "s": np.array([1, 1, big, big], "f4"),
        "e": ints(1, 1, big, big),
        "w": np.ones((3, 3, 1, 1), "f4"),
        "t": ints(0, -1, 1),
        "u": ints(0, 1, -1),
    }
    size = random.choice([1, 64, big])
    return _saved(nodes, arrays, 3, size, size, opset=9 if nodes[0].op_type == "Upsample" else 17)


def _chain(random: Random) -> bytes:
    """A long chain, a cycle, or sums of sums, whose number of paths doubles with each."""
    count = random.choice([200, 3000])
    kind = random.randrange(4)
    nodes = []
    for at in range(count):
        before = f"v{at - 1}" if at else "x"
        earlier = f"v{max(at - 2, 0)}"
        inputs = [before, f"{before} {before}", f"{before} {earlier}", f"v{(at + 1) % count}"][kind]
        op = ["Relu", "Add", "Add", "Tanh"][kind]
        nodes.append(n(op, inputs if at or kind == 3 else "x x" if op == "Add" else "x", f"v{at}"))
    return _saved([*nodes, n("Relu", f"v{count - 1}", "y")], {}, 4)


def _functions(random: Random) -> bytes:
    """Functions that call each other twice, themselves, or in a cycle."""
    depth = random.choice([1, 5, 18, 60, 500])
    functions = []
    for at in range(depth):
        callee = f"f{at - 1}" if at else random.choice(["Relu", f"f{depth - 1}", "f0"])
        domain = "" if callee == "Relu" else "mine"
        times = random.choice([1, 2])
        body = [n(callee, "a", "b", domain=domain), *([n(callee, "b", "c", domain=domain)] if times == 2 else [])]
        ids = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
        functions.append(helper.make_function("mine", f"f{at}", ["a"], ["b" if times == 1 else "c"], body, ids))
    return _saved([n(f"f{depth - 1}", "x", "y", domain="mine")], {}, 4, functions=functions)


def _conditions(random: Random) -> bytes:
    """Conditions within conditions, each with two branches."""
    result = [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)]
    inner = helper.make_graph([n("Relu", "x", "r")], "g", [], result)
    for _ in range(random.choice([1, 3, 8, 14])):
        node = n("If", "yes", "r", then_branch=inner, else_branch=inner)
        inner = helper.make_graph([node], "g", [], result)
    nodes = [n("If", "yes", "y", then_branch=inner, else_branch=inner)]
    return _saved(nodes, {"yes": np.array(random.randrange(2) == 1)}, 4)


HUNGRY: list[Callable[[Random], bytes]] = [
    *(_growing, _growing, _many_uses),
    *(_large_values, _chain, _functions, _conditions),
]


def _external(random: Random) -> Case:
    """A model whose weights are in another file, which is missing, short, or not where it says."""
    arrays = {"w": np.ones((30, 20), "f4"), "b": np.ones(20, "f4")}
    proto = onnx.ModelProto.FromString(_saved([n("Gemm", "x w b", "y")], arrays, 30))
    data = random.randbytes(2400)
    for tensor in proto.graph.initializer:
        if tensor.name == "b" and random.randrange(2):
            continue
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        known = random.choice(["m.data", "m.data", "m.data", "m.onnx", ".", "./m.data", "missing", *NAMES])
        entries = {"location": known, "offset": random.choice(["0", "0", "1", "2399", *WORDS])}
        entries["length"] = random.choice(["2400", "80", "0", "", *WORDS])
        for key, value in entries.items():
            if random.random() < 0.9:
                tensor.external_data.add(key=key, value=value)
        if random.randrange(3) == 0:
            tensor.dims[random.randrange(len(tensor.dims))] = random.choice(NUMBERS)
        if random.randrange(4) == 0:
            tensor.data_type = random.randrange(26)
    return Case("onnx", "m.onnx", {"m.onnx": proto.SerializeToString(), "m.data": data[: random.choice([0, 80, 2400])]})
