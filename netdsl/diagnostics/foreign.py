"""Names of layers and arguments in PyTorch, Keras, ONNX, TensorFlow and Caffe, and their counterparts; for messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.base.text import Span
from netdsl.diagnostics.problem import Edit, Suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable


def words(text: str) -> frozenset[str]:
    """Return the words of a table."""
    return frozenset(text.split())


def _by_word(table: dict[str, str]) -> dict[str, str]:
    """Split keys of several words, which share a value."""
    return {word: text for keys, text in table.items() for word in keys.split()}


MODULES = frozenset(("nn", "F", "torch", "tf", "keras", "layers", "slim", "self", "functional", "flax", "linen", "jnp"))
"""Words before the dot in calls of other frameworks."""

_CALLED = {
    "conv": "convolution convolutional spatialconvolution",
    "dwconv": "depthwiseconv depthwiseconvolution",
    "deconv": "convtranspose convtransposed transposedconv deconvolution deconvolutional upconv",
    "dense": "fc fullyconnected connected innerproduct gemm affine",
    "linear": "timedistributeddense",
    "embedding": "embed lookuptable",
    "rope": "rotaryembedding rotarypositionembedding rotarypositionalembedding",
    "matmul": "bmm batchmatmul mm",
    "rnn": "simplernn elmanrnn",
    "lstm": "cudnnlstm",
    "gru": "cudnngru",
    "maxpool": "maxpooling",
    "avgpool": "averagepooling averagepool meanpool",
    "global_avgpool": "globalaveragepooling globalaveragepool globalavgpooling gap",
    "global_maxpool": "globalmaxpooling",
    "adaptive_avgpool": "adaptiveaveragepool adaptiveaveragepooling",
    "bn": "batchnorm batchnormalization fusedbatchnorm syncbatchnorm batchnormalize",
    "layernorm": "layernormalization",
    "l2norm": "l2normalize l2normalization unitnormalization",
    "rmsnorm": "rmsnormalization simplifiedlayernormalization",
    "groupnorm": "groupnormalization",
    "instancenorm": "instancenormalization",
    "lrn": "localresponsenorm localresponsenormalization",
    "drop_path": "droppath stochasticdepth",
    "relu": "rectifier rectifiedlinear",
    "leaky_relu": "lrelu leakyrectify",
    "silu": "swish",
    "hard_swish": "hardsilu",
    "sigmoid": "logistic",
    "sign": "signum",
    "softplus": "bnll",
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
    "crop": "cropping",
    "crop to": "centercrop",
    "slice": "narrow stridedslice",
    "select": "indexselect take",
    "upsample": "upsampling upsamplingnearest upsamplingbilinear",
    "pixel_shuffle": "depthtospace subpixel",
    "pixel_unshuffle": "spacetodepth",
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
"""Our layers, merges and statements, and the names that others use for them, in the spelling of `plain`."""

EXACT = words(
    """
    relu relu6 elu selu celu silu mish hard_swish hard_tanh softsign log_sigmoid tanh_shrink tanh sigmoid
    softplus dropout identity sqrt square abs exp log sin cos
    sign add sub mul div max min
    """
)
"""Names with the same meaning, arguments and defaults in every framework, apart from spelling."""

_DIFFERENCES = {
    "conv dwconv deconv": "which pads by default; write `pad 0` for no padding",
    "dense": "which flattens its input; `linear` maps the channels at each position",
    "linear": "which maps the channels, the first axis, at each position; `dense` flattens first",
    "embedding": "whose vectors are the channels, the first axis",
    "maxpool": "whose stride is the kernel size by default; ONNX's default is 1",
    "avgpool": "which excludes the padding from the mean; `count_pad on` includes it, like PyTorch",
    "global_avgpool global_maxpool": "which keeps the spatial axes with size 1; `flatten` removes them",
    "bn": "with PyTorch's defaults; Keras has `eps 1e-3 momentum 0.01`",
    "layernorm": "over the channels at each position; `groupnorm 1` is over all values of an example",
    "rmsnorm": "over the channels at each position, with an eps of 1e-6; PyTorch has 1.2e-7",
    "groupnorm": "with PyTorch's eps of 1e-5; Keras has 1e-3",
    "instancenorm": "which learns a scale and an offset by default; `affine off` is PyTorch's default",
    "lrn": "with the paper's constants; PyTorch and ONNX have `k 1 mean on`",
    "leaky_relu": "with PyTorch's slope of 0.01; Keras has 0.3",
    "prelu": "with a slope per channel; `shared on` shares one, like PyTorch",
    "gelu": "the exact form; `tanh on` is the approximation",
    "hard_sigmoid": "with PyTorch's slope of 1/6; ONNX has 0.2",
    "glu": "over the channels; PyTorch's default is the last axis",
    "softmax log_softmax": "over the channels; `axis` sets another axis",
    "flatten": "with channels first; Keras has channels last",
    "reshape": "whose sizes begin with the channels and exclude the batch",
    "permute concat select": "where axis 0 is the channels and the batch is not an axis",
    "pad": "which takes all begins, then all ends",
    "crop": "which takes all begins, then all ends; `crop like LABEL` is Caffe's, to the size of another value",
    "attention": "which has no weights: a `linear` before it makes queries, keys and values",
    "matmul": "of the last two axes, without the batch; `permute` in a branch transposes",
    "rope": "which rotates halves of each head, as Llama does; `interleaved on` rotates neighbors",
    "upsample": "whose argument is a factor, not a size",
    "resize": "with PyTorch's nearest neighbor by default; Pillow's and TensorFlow 2's is `mode nearest_exact`",
    "normalize": "by a given mean and standard deviation per channel; `l2norm` divides by the length",
    "l2norm": "over the channels; `scale on` learns a factor for each",
    "scale": "by a constant",
    "pixel_shuffle pixel_unshuffle": "with the channel order of PyTorch; TensorFlow's and ONNX's is `order dcr`",
    "argmax": "along the channels, where the batch is not an axis; the axis is removed",
    "gather": "along the channels of each example, where the batch is not an axis",
    "grid_sample": "whose grid has two channels in place of a last axis of two",
    "roi_align": "whose boxes have their coordinates first, [4, R], as many for each example",
    "top_k": "along the channels, where the batch is not an axis; `top_k_indices` has the indices",
}
DIFFERENCES = _by_word(_DIFFERENCES)
"""Conventions in which our layers differ from those of the same or a similar name elsewhere."""

ESTABLISHED = words(
    """
    addr amax amin arange around clap cond conj conx dilu fabs fmax fmin fsum gconv isin isqrt isub logs long
    normalizer pconv rsub scaler sconv stop sums tconv telu xconv
    """
)
"""Names one letter away from ours that mean something else in other frameworks, and so are not typos."""

ACTIVATIONS = (
    *("prelu", "elu", "selu", "celu", "gelu", "mish", "relu6", "tanh", "hard_tanh", "softsign", "hard_sigmoid"),
    *("softplus", "softmax", "log_softmax", "log_sigmoid", "hard_shrink", "soft_shrink", "tanh_shrink"),
)
OURS = (
    *(
        *_CALLED,
        *ACTIVATIONS,
        "attention",
        "grid_sample",
        "roi_align",
        "argmax",
        "glu",
        "threshold",
        "flatten",
        "dropout",
    ),
    *("sqrt", "exp", "log", "sin", "cos"),
)
CALLED = {word: ours for ours, words in _CALLED.items() for word in words.split()}

_INSTEAD = {
    "return": "the last value is the output, and `output NAME` names others",
    "sequential": "statements already follow each other; `NAME: seq { … }` numbers them like PyTorch",
    "separableconv depthwiseseparableconv": "write two layers, `dwconv 3x3; conv 1x1 CHANNELS`",
    "spatialdropout featuredropout dropout2d dropout3d": "write `dropout P spatial on`",
    "pool pooling": "there are `maxpool` and `avgpool`",
    "norm": "there are `bn`, `layernorm`, `groupnorm`, `instancenorm` and `lrn`",
    "merge": "there are `concat`, `add`, `mul` and others",
    "average": "write `add` and `scale 1/2`",
    "dot": "there is `matmul`; `permute` in a branch transposes",
    "bilinear": "",
    "softmin": "write `scale (-1); softmax`",
    "thresholdedrelu": "write `threshold 1`, with its `alpha` or `theta` in place of 1",
    "neg negative": "write `scale (-1)`",
    "interpolate resizenearest resizebilinear": "write `resize 8x8`, `resize like LABEL`, or `upsample 2`",
    "interp": "write `resize 33x33 mode bilinear align_corners on`, or `like LABEL` in place of the size",
    "sum": "write `reduce sum AXIS`, or `add` with its operands",
    "roll": "write `concat axis 1 { slice 1 2 } { slice 1 0 2 }`",
    "sort": "`top_k` has the largest elements in descending order",
    "flip tile cumsum cumprod": "",
    "acos acosh asin asinh atan atanh sinh cosh tan erf sinc": "",
    "rsqrt": "write `div { } { sqrt }` and `mul`",
    "log10 log1p expm1 exp2 cbrt": "there are `log` and `exp`, with base e",
    "sqr": "there are `square` and `sqrt`",
    "ln": "there are `log` and `layernorm`",
    "drop": "there are `dropout` and `crop`",
    "crelu": "write `concat { relu } { scale (-1); relu }`",
    "reciprocal": "",
    "pow power": "there are `square` and `sqrt`",
    "mean": "write `reduce mean AXIS`, or `global_avgpool`",
    "squeeze unsqueeze expanddims": "write `reshape` or `flatten`",
    "split chunk": "write a `slice` for each part",
    "reorg": "write `pixel_unshuffle 2`, whose page has Darknet's order",
    "gaussiannoise": "write `noise normal 0.1`",
    "crossentropyloss crossentropy softmaxwithloss nllloss": "losses belong in `train NET { loss … }`",
    "bceloss bcewithlogitsloss mseloss l1loss smoothl1loss huberloss": "losses belong in `train NET { loss … }`",
    "modulelist moduledict": "`for` and `repeat` create several layers, and labels name them",
    "lambda": "define a `block` for a custom computation",
    "activation": "an activation is a separate layer, such as `relu`",
    "bidirectional": "`rnn`, `gru` and `lstm` have `bidirectional on`",
    "lstmcell grucell rnncell": "`lstm`, `gru` and `rnn` run over a whole sequence",
    "timedistributed": "`linear` and `conv` apply at each position",
    "convlstm": "",
    "multiheadattention": "write `linear 3 * channels; attention 4; linear channels`",
    "scaleddotproductattention": "write `attention 4 { } { } { }`, with queries, keys and values in its branches",
    "groupqueryattention groupedqueryattention multiqueryattention": (
        "write `attention 4 { } { linear 2 } { linear 2 }`, with fewer heads of keys and values"
    ),
    "additiveattention": "write it out with `linear`, `tanh` and `softmax`",
    "transformer": "write its layers out: a `skip { … }` around `attention`, and one around two `linear`s",
    "transformerencoder transformerencoderlayer": (
        "write `skip { layernorm; linear 3 * channels; attention 4; linear channels }`, and a `skip` of two `linear`s"
    ),
    "transformerdecoder transformerdecoderlayer": (
        "write a `skip { … }` of `attention 4 causal on`, one of `attention 4 { … } { … } { … }` whose keys and values "
        "are the memory's, and one of two `linear`s"
    ),
    "positionalencoding positionalembedding positionembedding": (
        "there are `positions` and `embedding`, with `init sinusoid` for sines"
    ),
    "onehot": "an `embedding` of the index is the product with a one-hot vector",
    "einsum tensordot": "there is `matmul`; `permute` in a branch transposes",
    "mvn": "write `instancenorm affine off`",
    "embeddingbag": "there are `embedding` and `reduce mean (-1)`",
    "masking": "recurrent layers have `lengths LABEL`, and `attention` has `mask LABEL`",
    "spectralnorm spectralnormalization weightnorm": "fold it into the weight before that is saved",
    "reflectionpad reflectpad": "write `pad 1 mode reflect`",
    "replicationpad": "write `pad 1 mode edge`",
    "circularpad": "write `pad 1 mode wrap`",
    "maxunpool": "`unpool 2x2 LABEL` takes the label of what the pool reads",
    "adaptivemaxpool fractionalmaxpool lppool lpnormalization": "",
    "alphadropout featurealphadropout gaussiandropout dropblock": "",
    "rrelu frelu maxout": "",
    "fold unfold im2col localresponse locallyconnected cosinesimilarity pairwisedistance": "",
    "repeatvector activityregularization where cast": "",
    "nonmaxsuppression priorbox detectionoutput roipool roipooling deformconv": "",
}
INSTEAD = _by_word(_INSTEAD)
"""Names without a counterpart of one word, and what to write instead; empty if nothing can be written."""

_ARGUMENTS = {
    "kernel": "kernel_size kernel_shape pool_size ksize k filter_size window size",
    "channels": "out_channels filters num_output num_outputs num_filters n_filters output_channels features",
    "hidden": "hidden_size units num_units n_units hidden_dim rnn_units",
    "layers": "num_layers n_layers num_hidden_layers",
    "act": "nonlinearity",
    "units": "out_features num_units n_units hidden_size output_dim hidden_units",
    "pad": "padding pads auto_pad border_mode",
    "pad_mode": "padding_mode",
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
    "ignore": "ignore_index ignore_class ignore_label",
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
    "tanh": "approximate",
    "start": "begin starts",
    "stop": "end ends",
    "shared": "num_parameters",
    "low": "min min_val min_value lo",
    "high": "max max_val max_value hi",
    "sizes": "output_size shape target_shape dims",
    "axes": "perm dims",
}
ARGUMENTS: dict[str, list[str]] = {}
"""Names of arguments elsewhere, and our arguments that may be meant."""
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
"""Names of arguments with the same meaning in every framework; `padding` is one if its value is a number."""

_NEEDLESS = {
    "in_channels in_features num_features input_shape input_size normalized_shape num_channels fan_in input_channels": (
        "remove it: the size of the input is known"
    ),
    "activation act activation_fn nonlinearity": "the activation is a separate statement after this one: `; relu`",
    "normalizer_fn normalizer norm_layer": "the normalization is a separate statement after this one: `; bn`",
    "track_running_stats inplace device name data_format layout trainable training dtype": "remove it",
    "kernel_regularizer weight_decay regularizer": "the weight decay belongs to the optimizer, in `train`",
    "batch_first time_major": "remove it: a sequence is [C, L], without the batch",
    "return_sequences": "`last on` returns only the last place; all are the default",
    "return_state": "remove it: `state LABEL` is the final state",
    "recurrent_dropout": "remove it: nothing is dropped from the state",
    "keep_prob": "`p` is the probability of dropping a value: write 1 - keep_prob",
    "size": "`upsample` takes a factor; `resize` takes a size",
    "betas": "write `beta1` and `beta2`",
    "amsgrad maximize foreach": "remove it",
}
NEEDLESS = _by_word(_NEEDLESS)
"""Arguments of other frameworks without a counterpart, and why."""


CHOICES = _by_word(
    {
        "crossentropyloss categoricalcrossentropy sparsecategoricalcrossentropy nllloss": "cross_entropy",
        "mseloss meansquarederror": "mse",
        "mae maeloss l1loss meanabsoluteerror": "l1",
        "huber huberloss smoothl1 smoothl1loss": "smooth_l1",
        "bce bceloss bcewithlogits bcewithlogitsloss binarycrossentropy softmarginloss": "logistic",
        "cosineannealinglr": "cosine",
        "linearlr": "linear",
        "steplr multisteplr": "step",
        "onecyclelr": "one_cycle",
        "reducelronplateau": "plateau",
    }
)
"""Losses and schedules of other frameworks, and our names for them."""

_LINES = _by_word(
    {
        "dataset traindata": 'data mnist "FOLDER"',
        "validationsplit validationdata valsplit": "validate 0.1",
        "criterion lossfn lossfunction": "loss cross_entropy",
        "classweight classweights": "loss cross_entropy class_weights balanced",
        "metrics": "metric accuracy",
        "learningrate": "lr 1e-3",
        "weightdecay": "decay 1e-4",
        "scheduler lrscheduler": "schedule cosine",
        "warmupsteps numwarmupsteps": "schedule cosine warmup_steps 1000",
        "earlystopping patience": "stop patience 5",
        "batchsize": "batch 64",
        "gradientaccumulationsteps accumulategradbatches gradaccumsteps": "accumulate 4",
        "syncbn syncbatchnorm convertsyncbatchnorm": "bn sync on",
        "ema modelema emadecay modelemadecay": "average 0.9999",
        "amp autocast mixedprecision precision fp16 bf16 half": "dtype bf16",
        "numepochs maxepochs": "epochs 5",
        "maxsteps": "steps 1000",
        "randomstate manualseed": "seed 1",
    }
)
"""Settings of a training in other frameworks, and an example of our line."""

_EXAMPLES = {line.split()[0]: line for line in reversed(_LINES.values())}


def training_line(word: str) -> str:
    """Return an example of the line of a `train` block, or of an argument of its optimizer, that has this name, or in
    another framework; empty if there is none."""
    return _EXAMPLES.get(word) or _LINES.get(re.sub("[_-]", "", word.casefold()), "")


WORDS = _by_word(
    {
        "float32 float": "f32",
        "float16 half": "f16",
        "uint8 byte": "u8",
        "int64 long int": "i64",
        "glorot_uniform": "xavier_uniform",
        "glorot_normal": "xavier_normal",
        "kaiming_uniform": "he_uniform",
        "kaiming_normal": "he_normal",
        "zero": "zeros",
        "linear": "bilinear",
        "replicate": "edge",
        "circular": "wrap",
    }
)
"""Values of keywords in other frameworks, and ours."""

DISTRIBUTIONS = {"normal": "normal(0.01)", "uniform": "uniform(-0.1, 0.1)", "constant": "constant(0)"}
"""Initializers that need arguments, with an example."""


def plain(word: str) -> str:
    """Return a name in the spelling of the tables: `Conv2DTranspose` as `convtranspose`, `max_pool2d` as `maxpool`."""
    text = re.sub(r"[123]d", "", word.casefold().replace("_", ""))
    return text.removeprefix("lazy").removesuffix("layer") or text


def is_layer(word: str) -> bool:
    """Return whether a word is probably the name of a layer, in netdsl or another framework."""
    text = plain(word)
    return text in CALLED or text in map(plain, OURS) or instead(word) is not None


HEADS = re.compile(r" +(?:heads +)?(\d{1,9})(?= *[;}\n]|$)|\([^()\n]*\bnum_heads *= *(\d{1,9})\b")
"""Arguments of another framework's attention with a number of heads."""


def called(word: str, ours: Iterable[str]) -> str | None:
    """Return our name for a layer of another framework, if there is one."""
    text = plain(word)
    return next((name for name in ours if plain(name) == text), None) or CALLED.get(text)


def instead(word: str) -> str | None:
    """Return what to write for a layer without a counterpart, empty if nothing can be written; None for other words."""
    return INSTEAD.get(word.casefold().replace("_", ""), INSTEAD.get(plain(word)))


def argument(word: str, takes: Iterable[str]) -> str | None:
    """Return the argument of a callee that a word of another framework means, if any."""
    takes = tuple(takes)
    return next((ours for ours in ARGUMENTS.get(word.casefold(), ()) if ours in takes), None)


def is_exact_argument(word: str, value: str) -> bool:
    """Return whether an argument of this name and value means the same in every framework."""
    word = word.casefold()
    return word in EXACT_ARGUMENTS or (word in ("padding", "pads") and value.isdecimal())


def suggest_layer(span: Span, word: str, ours: Iterable[str] = OURS) -> list[Suggestion]:
    """Suggest what to write in place of a layer of another framework; nothing if the word is not known."""
    if help := _reduction(span, word):
        return [help]
    if word in ("elif", "elseif", "elsif"):
        return [Suggestion("write `else if`", Edit(span, "else if"))]
    if word == "return" and (rest := re.match(r" +(?=\w)", span.source.text[span.end :])):
        text = "the last value is the output: remove `return`, or continue from a label with `from`"
        removed = Edit(Span(span.source, span.start, span.end + rest.end()), "")
        return [Suggestion(text, removed), Suggestion(text, Edit(span, "from"))]
    written = instead(word)
    if written is not None:
        if "attention" in word.casefold():
            written = _with_heads(written, span, word)
        return [
            Suggestion(f"netdsl has no `{word}`: {written}" if written else f"netdsl has no counterpart of `{word}`")
        ]
    name = called(word, ours)
    if not name or name == word:
        return []
    text = f"netdsl calls it `{name}`"
    if difference := DIFFERENCES.get(name):
        text += f", {difference}"
    if plain(word) == "instancenorm" and word[-1:] in "dD":
        name += " affine off"
    return [Suggestion(text, Edit(span, name), safe=name in EXACT and plain(name) == plain(word))]


def _with_heads(advice: str, span: Span, word: str) -> str:
    """Return the advice with the number of heads that the call has, as in `word 8`, `word heads 8` and
    `word(num_heads=8)`."""
    text = span.source.text
    found = HEADS.match(text, text.find(word, span.start) + len(word))
    return advice.replace("attention 4", f"attention {found[1] or found[2]}") if found else advice


def _reduction(span: Span, word: str) -> Suggestion | None:
    """Suggest how to write reductions along an axis, such as `sum 0` and `mean 0`."""
    how = {"sum": "sum", "mean": "mean", "amax": "max"}.get(word.casefold())
    found = how and re.match(r" *(\(-)?\d", span.source.text[span.end :])
    return Suggestion(f"write `reduce {how} AXIS`", Edit(span, f"reduce {how}")) if found else None
