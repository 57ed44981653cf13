"""What other frameworks call our layers and arguments: PyTorch, Keras, ONNX, TensorFlow, Caffe; for messages alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.diagnostics.problem import Edit, Help

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netdsl.text import Span

MODULES = frozenset(("nn", "F", "torch", "tf", "keras", "layers", "slim", "self", "functional", "flax", "linen", "jnp"))
"""Words before the dot of another framework's call."""

_CALLED = {
    "conv": "convolution spatialconvolution",
    "dwconv": "depthwiseconv depthwiseconvolution",
    "deconv": "convtranspose convtransposed transposedconv deconvolution upconv",
    "dense": "linear fc fullyconnected innerproduct gemm matmul affine",
    "embedding": "embed lookuptable",
    "maxpool": "maxpooling",
    "avgpool": "averagepooling averagepool meanpool",
    "global_avgpool": "globalaveragepooling globalaveragepool globalavgpooling gap",
    "global_maxpool": "globalmaxpooling",
    "adaptive_avgpool": "adaptiveaveragepool adaptiveaveragepooling",
    "bn": "batchnorm batchnormalization fusedbatchnorm syncbatchnorm batchnormalize",
    "layernorm": "layernormalization",
    "groupnorm": "groupnormalization",
    "instancenorm": "instancenormalization",
    "lrn": "localresponsenorm localresponsenormalization",
    "relu": "rectifier rectifiedlinear",
    "leaky_relu": "lrelu leakyrectify",
    "silu": "swish",
    "hard_swish": "hardsilu",
    "sigmoid": "logistic",
    "sign": "signum",
    "step": "heaviside binarystep",
    "square": "squared",
    "abs": "absolute absval",
    "scale": "rescaling rescale multiplyconstant",
    "shift": "addconstant",
    "clip": "clamp clipbyvalue",
    "normalize": "normalization standardize",
    "reduce mean": "reducemean",
    "reduce sum": "reducesum",
    "reduce max": "reducemax",
    "reshape": "view unflatten",
    "permute": "transpose movedim",
    "pad": "zeropad zeropadding constantpad",
    "crop": "cropping centercrop",
    "slice": "narrow stridedslice",
    "select": "indexselect gather take",
    "upsample": "upsampling interpolate resize upsamplingnearest upsamplingbilinear resizenearest resizebilinear",
    "pixel_shuffle": "depthtospace subpixel",
    "channel_shuffle": "shufflechannels",
    "identity": "noop",
    "input": "inputlayer placeholder inputtensor",
    "add": "eltwise eltwisesum sum",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "max": "maximum",
    "min": "minimum",
    "concat": "concatenate cat depthconcat",
    "skip": "residual shortcut",
    "repeat": "loop while times",
    "from": "route",
}
"""Our layers, merges and statements, with what others call them, as `plain` spells it."""

ACTIVATIONS = ("prelu", "elu", "selu", "gelu", "relu6", "tanh", "hard_sigmoid", "softplus", "softmax", "log_softmax")
OURS = (*_CALLED, *ACTIVATIONS, "flatten")
CALLED = {word: ours for ours, words in _CALLED.items() for word in words.split()}

_INSTEAD = {
    "return": "the last value is the output, and `output NAME` names one",
    "sequential": "statements follow one another as they are; `NAME: seq { … }` numbers them as PyTorch does",
    "separableconv depthwiseseparableconv": "it is two layers, `dwconv 3x3; conv 1x1 CHANNELS`",
    "spatialdropout featuredropout dropout2d dropout3d": "write `dropout P spatial on`",
    "hardtanh": "write `clip (-1) 1`",
    "pool pooling": "there are `maxpool` and `avgpool`",
    "norm": "there are `bn`, `layernorm`, `groupnorm`, `instancenorm` and `lrn`",
    "merge": "there are `concat`, `add`, `mul` and others",
    "average": "write `add` and `scale 1/2`",
    "dot bilinear": "",
    "mish": "write `mul { softplus; tanh }`",
    "softsign": "write `div { } { abs; shift 1 }`",
    "softmin": "write `scale (-1); softmax`",
    "logsigmoid": "write `sigmoid; log`",
    "tanhshrink": "write `sub { } { tanh }`",
    "glu": "write `mul { slice 0 0 channels//2 } { slice 0 channels//2 channels; sigmoid }`",
    "neg negative": "write `scale (-1)`",
    "reciprocal": "",
    "pow power": "there are `square` and `sqrt`",
    "mean": "write `reduce mean AXIS`, or `global_avgpool`",
    "squeeze unsqueeze expanddims": "write `reshape` or `flatten`",
    "split chunk": "write a `slice` for each part",
    "spacetodepth pixelunshuffle reorg": "write `reshape` and `permute`",
    "crossentropyloss crossentropy softmaxwithloss bceloss mseloss nllloss": "a loss stands in `train NET { loss … }`",
    "modulelist moduledict": "`for` and `repeat` make several layers, labels name them",
    "lambda": "a computation of one's own is a `block`",
    "activation": "the activation is a layer of its own, such as `relu`",
    "lstm gru rnn simplernn lstmcell grucell rnncell convlstm bidirectional timedistributed": "",
    "multiheadattention attention additiveattention transformer transformerencoder transformerencoderlayer": "",
    "transformerdecoder transformerdecoderlayer scaleddotproductattention groupqueryattention": "",
    "rmsnorm rmsnormalization spectralnorm spectralnormalization weightnorm unitnormalization": "",
    "reflectionpad reflectpad replicationpad circularpad": "",
    "maxunpool adaptivemaxpool fractionalmaxpool lppool lpnormalization": "",
    "alphadropout featurealphadropout gaussiannoise gaussiandropout droppath stochasticdepth dropblock": "",
    "celu rrelu threshold thresholdedrelu hardshrink softshrink maxout": "",
    "fold unfold im2col localresponse locallyconnected cosinesimilarity pairwisedistance": "",
    "embeddingbag masking repeatvector activityregularization einsum where cast argmax topk": "",
    "nonmaxsuppression roialign roipool roipooling gridsample deformconv": "",
}
INSTEAD = {word: text for words, text in _INSTEAD.items() for word in words.split()}
"""What has no counterpart of one word, and what to write in its place; empty where it cannot be written."""

_ARGUMENTS = {
    "kernel": "kernel_size kernel_shape pool_size ksize k filter_size window size",
    "channels": "out_channels filters num_output num_outputs num_filters n_filters output_channels features",
    "units": "out_features num_units n_units hidden_size output_dim hidden_units",
    "pad": "padding pads auto_pad border_mode padding_mode",
    "stride": "strides subsample step",
    "dilation": "dilations dilation_rate atrous rate",
    "bias": "use_bias bias_term with_bias",
    "init": "kernel_initializer weight_init weights_initializer weight_filler initializer embeddings_initializer",
    "bias_init": "bias_initializer bias_filler biases_initializer",
    "groups": "group num_groups",
    "multiplier": "depth_multiplier channel_multiplier",
    "output_pad": "output_padding",
    "count_pad": "count_include_pad",
    "ceil": "ceil_mode",
    "eps": "epsilon",
    "affine": "elementwise_affine scale center",
    "p": "rate prob probability dropout_rate drop_rate ratio keep_prob",
    "slope": "negative_slope alpha leak leakiness",
    "vocabulary": "num_embeddings input_dim vocab vocab_size",
    "size": "local_size depth_radius embedding_dim output_dim",
    "k": "bias",
    "factor": "scale_factor size upscale_factor blocksize block_size",
    "how": "mode interpolation",
    "axis": "dim",
    "start": "begin starts",
    "stop": "end ends",
    "shared": "num_parameters",
    "low": "min min_val min_value lo",
    "high": "max max_val max_value hi",
    "sizes": "output_size shape target_shape dims",
    "axes": "perm dims",
}
ARGUMENTS: dict[str, list[str]] = {}
"""Others' words for arguments, and ours that may be meant."""
for _ours, _words in _ARGUMENTS.items():
    for _word in _words.split():
        ARGUMENTS.setdefault(_word, []).append(_ours)

_NEEDLESS = {
    "in_channels in_features num_features input_shape input_size normalized_shape num_channels fan_in input_channels": (
        "the size of the input is known: leave it out"
    ),
    "activation act activation_fn nonlinearity": "the activation is a statement of its own behind this one: `; relu`",
    "normalizer_fn normalizer norm_layer": "the normalisation is a statement of its own behind this one: `; bn`",
    "track_running_stats inplace device name data_format layout trainable training dtype": "leave it out",
    "kernel_regularizer weight_decay regularizer": "what the weights are decayed by stands in `train`",
}
NEEDLESS = {word: text for words, text in _NEEDLESS.items() for word in words.split()}
"""Others' arguments that have no counterpart, and why."""


def plain(word: str) -> str:
    """A name as the tables spell it: `Conv2DTranspose` is `convtranspose`, `max_pool2d` is `maxpool`."""
    text = re.sub(r"[123]d", "", word.casefold().replace("_", ""))
    return text.removeprefix("lazy").removesuffix("layer") or text


def is_layer(word: str) -> bool:
    """Whether a word is most likely a layer's name, ours or another framework's."""
    text = plain(word)
    return text in CALLED or text in map(plain, OURS) or instead(word) is not None


def called(word: str, ours: Iterable[str]) -> str | None:
    """Which of our names another framework's means, if it is one."""
    text = plain(word)
    return next((name for name in ours if plain(name) == text), None) or CALLED.get(text)


def instead(word: str) -> str | None:
    """What to write for something that has no counterpart here; empty where it cannot be written."""
    return INSTEAD.get(word.casefold().replace("_", ""), INSTEAD.get(plain(word)))


def argument(word: str, takes: Iterable[str]) -> str | None:
    """Which of a callee's arguments another framework calls so, if one is meant."""
    takes = tuple(takes)
    return next((ours for ours in ARGUMENTS.get(word.casefold(), ()) if ours in takes), None)


def layer_helps(span: Span, word: str, ours: Iterable[str] = OURS) -> list[Help]:
    """What to say of another framework's layer where ours should stand; nothing if the word is not known."""
    written = instead(word)
    if written is not None:
        return [Help(f"netdsl has no `{word}`: {written}" if written else f"netdsl has no counterpart of `{word}`")]
    name = called(word, ours)
    return [Help(f"netdsl calls it `{name}`", Edit(span, name), safe=True)] if name and name != word else []
