"""Linear models and scalings of scikit-learn, in ONNX's domain for classical models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.declare.arguments import Word
from netdsl.importing.calls import NO_EPS
from netdsl.importing.flat import FlatWeight
from netdsl.importing.onnx_fold import OnnxNode, Unsupported
from netdsl.importing.onnx_reader import LeftOut, Reader, handles
from netdsl.importing.onnx_values import Moved, like
from netdsl.ir.names import CLASSES

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array
    from netdsl.importing.flat import FlatLayer

BEST_CLASS = "the class with the highest score"


@handles("ai.onnx.ml.Scaler")
def _scaler(r: Reader, node: OnnxNode, x: Moved) -> Moved | None:
    """(x - offset) scale, by lists of the node."""
    count = x.layer.shape[0]
    offsets, scales = (list(node.get(key) or [default]) for key, default in (("offset", 0.0), ("scale", 1.0)))
    if x.rank != 2 or not isinstance(count, int) or min(scales) <= 0:
        raise Unsupported("it scales by 0 or by negative numbers, or several axes")
    mean, std = (tuple(each * count if len(each) == 1 else each) for each in (offsets, [1 / each for each in scales]))
    return like(r.add(node, "normalize", [x.layer], {"mean": mean, "std": std}), x.axes)


@handles("ai.onnx.ml.LinearRegressor")
def _regressor(r: Reader, node: OnnxNode, x: Moved) -> Moved | None:
    return like(_linear(r, node, x, node.get("targets", 1)), x.axes)


@handles("ai.onnx.ml.LinearClassifier")
def _classifier(r: Reader, node: OnnxNode, x: Moved) -> list[Moved | None]:
    """Return the scores; the label is left out."""
    labels = node.get("classlabels_ints") or node.get("classlabels_strings") or []
    scores = _linear(r, node, x, len(labels))
    r.left_out.add(node.outputs[0])
    r.net.leave_out(BEST_CLASS, node.place)
    return [None, like(scores, x.axes)]


def _linear(r: Reader, node: OnnxNode, x: Moved, outputs: int) -> FlatLayer | None:
    """Return the linear map that a node has as lists, with what it does to the results. Raises Unsupported."""
    after = {"NONE": "", "SOFTMAX": "softmax", "LOGISTIC": "sigmoid"}.get(node.get("post_transform", "NONE"))
    coefficients = np.array(node.get("coefficients") or [], np.float32)
    offsets = np.array(node.get("intercepts") or [], np.float32)
    inputs = x.layer.shape[0]
    if x.rank != 2 or after is None or not isinstance(inputs, int) or coefficients.size != outputs * inputs:
        raise Unsupported("it has another number of coefficients than of classes and inputs, or an unknown transform")
    weights = {"weight": _given(coefficients.reshape(outputs, inputs))}
    if offsets.size:
        weights["bias"] = _given(offsets)
    found = r.add(node, "dense", [x.layer], {"units": outputs, "bias": bool(offsets.size)}, weights)
    return found if not after or found is None else r.add(node, after, [found])


def _given(array: Array) -> FlatWeight:
    return FlatWeight(array.shape, lambda: array)


@handles("ai.onnx.ml.Normalizer")
def _normalizer(r: Reader, node: OnnxNode, x: Moved) -> Moved | None:
    """x / |x|: by the sum of its elements, which follow from a sigmoid or a softmax, or by its length."""
    norm = node.get("norm", "MAX")
    if x.rank == 2 and norm == "L2":
        return like(r.add(node, "l2norm", [x.layer], {"eps": NO_EPS}), x.axes)
    if x.rank != 2 or norm != "L1" or x.layer.kind not in ("sigmoid", "softmax"):
        raise Unsupported(f"it divides by the {norm} norm, which may be 0")
    total = r.add(node, "reduce", [x.layer], {"how": Word("sum"), "axis": 0})
    return None if total is None else like(r.add(node, "div", [x.layer, total]), x.axes)


@handles("ai.onnx.ml.ZipMap")
def _zip_map(r: Reader, node: OnnxNode, x: Moved) -> Moved:
    """Return the scores; the names of classes become metadata."""
    names = node.get("classlabels_strings") or node.get("classlabels_int64s") or []
    texts = [n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in names]
    r.net.metadata[f"{CLASSES}{node.outputs[0]}"] = json.dumps(texts)
    return x


@handles("ai.onnx.ml.ArrayFeatureExtractor", "ai.onnx.ml.LabelEncoder", "ai.onnx.ml.Binarizer")
def _labels(_reader: Reader, _node: OnnxNode, *_: Any) -> Moved:
    raise LeftOut("the name of the class with the highest score")
