"""Errors of weight files."""

from __future__ import annotations

from netdsl.base.user_error import USAGE_IS_WRONG, UserError


class BadWeightFile(UserError, code="E0701", title="an invalid weight file"):
    """The file is damaged, or its format is not supported. A PyTorch checkpoint can contain tensors, containers and
    plain values, and nothing else: its pickle is a program, and is not executed.

    ```sh
    netdsl weights w.pth
    ```
    """


def damaged(path: str, reason: str, *helps: str) -> BadWeightFile:
    """Return the error for a damaged file."""
    return BadWeightFile(f"{path} is damaged: {reason}", *helps)


class WeightsDoNotFit(UserError, code="E0702", title="weights that do not match the net"):
    r"""The weights in the file do not match those of the network: names are missing or unknown, or shapes differ.

    Weights are matched by name, after all renames, or by order with `--match order`. Each is used once, and none is
    reshaped or transposed silently.

    ```sh
    netdsl weights net.net
    netdsl weights w.pth
    netdsl compile net.net --weights w.pth --rename 'module\.(.*)' '$1'
    netdsl compile net.net --weights w.pth --partial
    ```
    """


class WrongWeightType(UserError, code="E0703", title="weights of an unsupported type"):
    """Weights are floating-point numbers: float16, bfloat16 and float64 are converted to float32. Integers are not
    converted, and neither are floats of 8 bits or fewer, whose values are meaningless without a scale.

    ```sh
    netdsl weights w.pth
    ```
    """


class BadWeightValues(UserError, code="E0704", title="non-finite or negative weights"):
    """A weight is NaN or infinite, or a variance is negative, so the network would not compute anything useful.

    ```sh
    netdsl compile net.net --weights w.pth --allow-nonfinite
    ```
    """


class OrderUnknown(UserError, code="E0707", title="an unknown order of Keras weights"):
    """The order of the rows or columns of a Keras weight cannot be determined.

    Keras has channels last and netdsl has channels first, so the weights of a dense layer before or after a flattened
    feature map are in a different order. netdsl follows the values through the net and the model's configuration. This
    fails after a layer that it does not know (`Lambda`), or if the net mixes flattened feature maps in a way that
    Keras's weights cannot follow.
    """


class UnclearUse(UserError, code="E0710", title="a tensor with an ambiguous role"):
    """It is unclear which weight a tensor of an ONNX model is: nodes use it in different orientations, along an axis
    other than the channels, or netdsl does not know the operator.

    The layout of a weight is determined by the node that uses it, never by its shape alone. `--drop PATTERN` drops
    tensors that are not weights.

    ```sh
    netdsl compile net.net --weights model.onnx --drop 'anchors'
    ```
    """


class UnlikeLayer(UserError, code="E0711", title="a node that differs from its layer"):
    """A node of an ONNX model does not compute the same as the layer that would take its weights: a normalization with
    a different epsilon, or a transposed convolution instead of a convolution. The shapes would match, but the results
    would differ."""


class UnknownWeightLabel(UserError, code="E0712", title="unknown weight in `--except`", exit_code=USAGE_IS_WRONG):
    """`--except` takes layers or weights of the network: a name (`fc.weight`), the beginning of names (`fc`,
    `layer4.0`), or a pattern (`layer?`, `*.bias`). Each must match at least one weight.

    ```sh
    netdsl weights net.net
    netdsl train net.net --weights w.pth --except fc 'layer4.*'
    ```
    """


class BadRename(UserError, code="E0706", title="an invalid rename rule", exit_code=USAGE_IS_WRONG):
    r"""A rule for renaming, transposing or dropping weights cannot be read, applies to no weight, or transposes a
    tensor that is not a matrix. The pattern is a regular expression, and `$1` in the replacement is the first group of
    the pattern.

    ```sh
    netdsl compile net.net --weights w.pth --rename 'features\.(\d+)' 'conv$1'
    netdsl compile net.net --weights w.pth --transpose 'c_(attn|fc|proj)\.weight$' --drop '\.attn\.bias$'
    ```
    """


class NotTied(UserError, code="E0713", title="weights that are not tied in the file"):
    r"""The net has one weight for several layers, by `tied` or `reuse`, but the file has different tensors for them.

    A file may have such a weight once, under the name of any of these layers, or several times with equal values:
    PyTorch saves `lm_head.weight` beside `wte.weight`, and safetensors files have only one of them. If the values
    differ, the file belongs to a net that does not tie these layers.

    ```sh
    netdsl compile net.net --weights w.pth --drop '^lm_head\.weight$'
    ```
    """


class OutsideModelFolder(UserError, code="E0708", title="a data file outside the model's folder"):
    """An ONNX model refers to a data file outside its folder.

    The data must be in the folder of the model or below it, after links are resolved. Absolute paths, `..` and links
    that lead elsewhere are refused, since such a model could read any file of this machine as weights. The folder is
    that of the path by which the model is opened.
    """
