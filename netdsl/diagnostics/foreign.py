"""Names of layers and arguments in PyTorch, Keras, ONNX, TensorFlow and Caffe, and their counterparts; for messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.base.text import Span
from netdsl.diagnostics.problem import Edit, Help

if TYPE_CHECKING:
    from collections.abc import Iterable


def words(text: str) -> frozenset[str]:
    """Return the words of a table."""
    return frozenset(text.split())


MODULES = frozenset(("nn", "F", "torch", "tf", "keras", "layers", "slim", "self", "functional", "flax", "linen", "jnp"))
"""Words before the dot in calls of other frameworks."""

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
    "normalize": "normalization standardize standardscaler",
    "reduce mean": "reducemean",
    "reduce sum": "reducesum",
    "reduce max": "reducemax",
    "reshape": "view unflatten",
    "permute": "transpose movedim",
    "pad": "zeropad zeropadding constantpad",
    "crop": "cropping centercrop",
    "slice": "narrow stridedslice",
    "select": "indexselect gather take",
    "upsample": "upsampling upsamplingnearest upsamplingbilinear",
    "pixel_shuffle": "depthtospace subpixel",
    "channel_shuffle": "shufflechannels",
    "identity": "noop",
    "input": "inputlayer placeholder inputtensor",
    "add": "eltwise eltwisesum",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "max": "maximum",
    "min": "minimum",
    "concat": "concatenate cat depthconcat",
    "skip": "residual shortcut",
    "repeat": "loop times",
    "from": "route",
}
"""Our layers, merges and statements, with what others call them, as `plain` spells it."""

EXACT = words(
    """
    relu relu6 elu selu silu hard_swish tanh sigmoid softplus dropout identity sqrt square abs exp log sin cos
    sign add sub mul div max min
    """
)
"""Our names that mean the same, with the same arguments and defaults, wherever they occur in other spellings."""

_DIFFERENCES = {
    "conv dwconv deconv": "which pads by default; where there is no padding, write `pad 0`",
    "dense": "which flattens its input; to map the channels of a sequence, write `conv 1 UNITS`",
    "embedding": "whose vectors are the channels, and come first",
    "maxpool": "whose stride is the kernel unless given; ONNX's default is 1",
    "avgpool": "which leaves the padding out of the mean; with `count_pad on` it counts, as in PyTorch",
    "global_avgpool global_maxpool": "which keeps the axes, with size 1; `flatten` removes them",
    "bn": "with PyTorch's defaults; Keras has `eps 1e-3 momentum 0.01`",
    "layernorm": "over the channels of each place; `groupnorm 1` is over all values of an example",
    "groupnorm": "with PyTorch's eps of 1e-5; Keras has 1e-3",
    "instancenorm": "which learns a scale and an offset; with `affine off`, PyTorch's default, it does not",
    "lrn": "with the paper's constants; PyTorch and ONNX have `k 1 mean on`",
    "leaky_relu": "with PyTorch's slope of 0.01; Keras has 0.3",
    "prelu": "with a slope for each channel; PyTorch shares one, `shared on`",
    "gelu": "the exact one, not the approximation by tanh",
    "hard_sigmoid": "with PyTorch's slope of 1/6; ONNX has 0.2",
    "softmax log_softmax": "over the channels",
    "flatten": "with the channels first; Keras has them last",
    "reshape": "whose sizes begin with the channels, without the batch",
    "permute concat select": "whose axes count from 0, the channels, without the batch",
    "pad crop": "whose sides are all befores, then all afters",
    "upsample": "whose argument is a factor, not a size",
    "normalize": "by a mean and a deviation given for each channel",
    "scale": "by a constant",
    "pixel_shuffle": "whose channels are ordered as in PyTorch",
}
DIFFERENCES = {name: text for names, text in _DIFFERENCES.items() for name in names.split()}
"""Conventions in which our layers differ from those of the same or a similar name elsewhere."""

ESTABLISHED = words(
    """
    addr amax amin arange around clap cond conj conx dilu fabs fmax fmin fsum gconv isin isqrt isub logs long
    normalizer pconv rsub scaler sconv stop sums tconv telu xconv
    """
)
"""Names one letter away from ours that are established for something else: no slips of the keyboard."""

ACTIVATIONS = ("prelu", "elu", "selu", "gelu", "relu6", "tanh", "hard_sigmoid", "softplus", "softmax", "log_softmax")
OURS = (*_CALLED, *ACTIVATIONS, "flatten", "dropout", "sqrt", "exp", "log", "sin", "cos")
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
    "resize interpolate resizenearest resizebilinear": "`upsample N` is N times as large, and takes no size",
    "sum": "write `reduce sum AXIS`, or `add` and its operands",
    "flip roll tile sort cumsum cumprod": "",
    "acos acosh asin asinh atan atanh sinh cosh tan erf sinc": "",
    "rsqrt": "write `div { } { sqrt }` and `mul`",
    "log10 log1p expm1 exp2 cbrt": "there are `log` and `exp`, of base e",
    "sqr": "there are `square` and `sqrt`",
    "ln": "there are `log` and `layernorm`",
    "drop": "there are `dropout` and `crop`",
    "crelu": "write `concat { relu } { scale (-1); relu }`",
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
    "celu rrelu frelu threshold thresholdedrelu hardshrink softshrink maxout": "",
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
    "pad": "padding pads auto_pad border_mode",
    "stride": "strides subsample step",
    "dilation": "dilations dilation_rate atrous rate",
    "bias": "use_bias bias_term with_bias",
    "init": "kernel_initializer weight_init weights_initializer weight_filler initializer embeddings_initializer",
    "bias_init": "bias_initializer bias_filler biases_initializer",
    "groups": "group num_groups",
    "lr": "learning_rate rate step_size",
    "beta1": "beta_1",
    "beta2": "beta_2",
    "decay": "weight_decay l2",
    "clip": "clipnorm clip_norm max_norm",
    "clip_value": "clipvalue",
    "smoothing": "label_smoothing",
    "multiplier": "depth_multiplier channel_multiplier",
    "output_pad": "output_padding",
    "count_pad": "count_include_pad",
    "ceil": "ceil_mode",
    "eps": "epsilon",
    "affine": "elementwise_affine scale center",
    "p": "rate prob probability dropout_rate drop_rate ratio",
    "slope": "negative_slope alpha leak leakiness",
    "vocabulary": "num_embeddings input_dim vocab vocab_size",
    "size": "local_size depth_radius embedding_dim output_dim",
    "k": "bias",
    "factor": "scale_factor upscale_factor blocksize block_size",
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

EXACT_ARGUMENTS = words(
    """
    kernel_size kernel_shape pool_size ksize out_channels filters num_output num_outputs num_filters n_filters
    output_channels out_features num_units n_units strides dilations dilation_rate use_bias bias_term with_bias
    group depth_multiplier channel_multiplier output_padding ceil_mode count_include_pad epsilon dropout_rate
    drop_rate negative_slope num_embeddings vocab_size embedding_dim scale_factor upscale_factor learning_rate
    """
)
"""Others' words for arguments that mean the same wherever they occur; `padding` does if its value is a number."""

_NEEDLESS = {
    "in_channels in_features num_features input_shape input_size normalized_shape num_channels fan_in input_channels": (
        "the size of the input is known: leave it out"
    ),
    "activation act activation_fn nonlinearity": "the activation is a statement of its own behind this one: `; relu`",
    "normalizer_fn normalizer norm_layer": "the normalisation is a statement of its own behind this one: `; bn`",
    "track_running_stats inplace device name data_format layout trainable training dtype": "leave it out",
    "kernel_regularizer weight_decay regularizer": "the weight decay is the optimizer's, in `train`",
    "keep_prob": "`p` is the probability of being dropped: write 1 - keep_prob",
    "padding_mode": "the padding is zeros: leave it out",
    "size": "`upsample` takes a factor, not a size",
    "betas": "write `beta1` and `beta2`",
    "amsgrad maximize foreach": "leave it out",
}
NEEDLESS = {word: text for words, text in _NEEDLESS.items() for word in words.split()}
"""Others' arguments that have no counterpart, and why."""


CHOICES = {
    "crossentropyloss": "cross_entropy",
    "categoricalcrossentropy": "cross_entropy",
    "sparsecategoricalcrossentropy": "cross_entropy",
    "nllloss": "cross_entropy",
    "mseloss": "mse",
    "meansquarederror": "mse",
    "bcewithlogitsloss": "logistic",
    "cosineannealinglr": "cosine",
    "steplr": "step",
    "multisteplr": "step",
    "onecyclelr": "one_cycle",
    "reducelronplateau": "plateau",
}
"""Losses and schedules that have a counterpart."""

WORDS = {
    "float32": "f32",
    "float": "f32",
    "float16": "f16",
    "half": "f16",
    "uint8": "u8",
    "byte": "u8",
    "int64": "i64",
    "long": "i64",
    "int": "i64",
    "glorot_uniform": "xavier_uniform",
    "glorot_normal": "xavier_normal",
    "kaiming_uniform": "he_uniform",
    "kaiming_normal": "he_normal",
    "zero": "zeros",
    "linear": "bilinear",
}
"""Others' words for the values of keywords."""

DISTRIBUTIONS = {"normal": "normal(0.01)", "uniform": "uniform(-0.1, 0.1)", "constant": "constant(0)"}
"""Initialisers that are given as calls, with an example."""


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


def is_exact_argument(word: str, value: str) -> bool:
    """Return whether an argument of this name and value means the same in every framework."""
    word = word.casefold()
    return word in EXACT_ARGUMENTS or (word in ("padding", "pads") and value.isdecimal())


def layer_helps(span: Span, word: str, ours: Iterable[str] = OURS) -> list[Help]:
    """Return what to write in place of another framework's layer; nothing if the word is not known."""
    if help := _reduction(span, word):
        return [help]
    if word == "return" and (rest := re.match(r" +(?=\w)", span.source.text[span.end :])):
        text = "the last value is the output: leave `return` out, or go back to a label with `from`"
        removed = Edit(Span(span.source, span.start, span.end + rest.end()), "")
        return [Help(text, removed), Help(text, Edit(span, "from"))]
    written = instead(word)
    if written is not None:
        return [Help(f"netdsl has no `{word}`: {written}" if written else f"netdsl has no counterpart of `{word}`")]
    name = called(word, ours)
    if not name or name == word:
        return []
    text = f"netdsl calls it `{name}`"
    if difference := DIFFERENCES.get(name):
        text += f", {difference}"
    if plain(word) == "instancenorm" and word[-1:] in "dD":
        name += " affine off"
    return [Help(text, Edit(span, name), safe=name in EXACT and plain(name) == plain(word))]


def _reduction(span: Span, word: str) -> Help | None:
    """Return how to write `sum 0` and `mean 0`, reductions along an axis."""
    how = {"sum": "sum", "mean": "mean", "amax": "max"}.get(word.casefold())
    found = how and re.match(r" *(\(-)?\d", span.source.text[span.end :])
    return Help(f"write `reduce {how} AXIS`", Edit(span, f"reduce {how}")) if found else None
