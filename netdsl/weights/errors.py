"""Errors of weight files."""

from __future__ import annotations

from netdsl.base.terminal import escape
from netdsl.base.user_error import USAGE_IS_WRONG, UserError


class BadWeightFile(UserError, code="E0701"):
    """The file is damaged, or of a format that is not read. A PyTorch checkpoint may hold tensors and containers,
    and plain values beside them, and nothing else: its pickle is a program, and is not run."""


def damaged(path: str, reason: str, *helps: str) -> BadWeightFile:
    """Return the error for a damaged file."""
    return BadWeightFile(f"{escape(path)} is damaged: {escape(reason)}", *helps)


class WeightsDoNotFit(UserError, code="E0702"):
    """The file's weights are not the network's: names are missing, unknown, or of another shape.

    Weights are matched by name, after the renames that are given, or by their order where that is asked for. Every
    one is used once, and none is reshaped or transposed silently.
    """


class WrongWeightType(UserError, code="E0703"):
    """Weights are floating-point: float16, bfloat16 and float64 are converted to float32. Integers are not, and neither
    are floats of 8 bits or fewer, whose values mean nothing without the scale that their program keeps for them."""


class BadWeightValues(UserError, code="E0704"):
    """A weight is NaN or infinite, or a variance negative: the network would compute nothing of use."""


class OrderUnknown(UserError, code="E0707"):
    """The order of a Keras weight's rows or columns cannot be determined.

    Keras holds a map with its channels last, and netdsl with its channels first, so that a dense layer that reads a
    flattened map, or whose result becomes one, has its weights in another order. netdsl follows the values through the
    net and through the model's configuration, and refuses where these do not determine the order: behind a layer that
    it does not know (`Lambda`), or where the net mixes flattened maps in a way that Keras's weights cannot follow.
    """


class UnclearUse(UserError, code="E0710"):
    """A tensor of an ONNX model is used in a way that does not say which weight it is: by nodes that want it in
    different orientations, along an axis that is not the channels', or by an operator that netdsl does not know.

    How a weight is laid out follows from the node that uses it, never from its shape alone. What is not a weight can be
    dropped with `--rename PATTERN -`.
    """


class UnlikeLayer(UserError, code="E0711"):
    """A node of an ONNX model computes something else than the layer that would take its weights: a normalization with
    another epsilon, or a transposed convolution in the place of a convolution. The weights would have the right shapes,
    and the network would compute something else than the model."""


class UnknownWeightLabel(UserError, code="E0712", exit_code=USAGE_IS_WRONG):
    """`--except` names layers or weights of the network: a name (`fc.weight`), what names begin with (`fc`,
    `layer4.0`), or a pattern of these (`layer?`, `*.bias`). Each must name at least one weight."""


class BadRename(UserError, code="E0706", exit_code=USAGE_IS_WRONG):
    """A rule for names of weights that cannot be read, or that changes no name: a pattern is a regular expression, and
    `$1` in what replaces it is what the pattern's first group found."""


class OutsideModelFolder(UserError, code="E0708"):
    """An ONNX model names a file of data outside its folder.

    Data stand in the model's folder or in one below it, after all links are resolved; absolute paths, `..` and links
    that lead elsewhere are refused, since such a model could make any file of this machine its weights. The folder is
    that of the path by which the model is opened.
    """
