"""Other frameworks' names: each leads to ours, or to a plain word that there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from netdsl.app.analyse import check_file
from netdsl.diagnostics import foreign
from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.report import Report
from netdsl.elaborate.functions import BUILTINS
from netdsl.elaborate.train_lines import LINE_KEYS
from netdsl.layers import find_layer, layer_modules
from netdsl.layers.base import Layer
from netdsl.losses import LOSSES
from netdsl.optimizers import OPTIMIZERS
from netdsl.syntax import call_mistakes
from netdsl.syntax.words import STATEMENTS

# torch.nn, of PyTorch 2; without losses, containers of parameters, and what only quantises.
PYTORCH = """
AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool2d AlphaDropout AvgPool1d AvgPool2d AvgPool3d
BatchNorm1d BatchNorm2d BatchNorm3d Bilinear CELU CircularPad2d ConstantPad2d Conv1d Conv2d Conv3d ConvTranspose1d
ConvTranspose2d ConvTranspose3d CosineSimilarity CrossEntropyLoss Dropout Dropout1d Dropout2d Dropout3d ELU Embedding
EmbeddingBag FeatureAlphaDropout Flatten Fold FractionalMaxPool2d GELU GLU GRU GRUCell GroupNorm Hardshrink Hardsigmoid
Hardswish Hardtanh Identity InstanceNorm1d InstanceNorm2d InstanceNorm3d LPPool2d LSTM LSTMCell LayerNorm LazyConv2d
LazyLinear LeakyReLU Linear LocalResponseNorm LogSigmoid LogSoftmax MaxPool1d MaxPool2d MaxPool3d MaxUnpool2d Mish
ModuleList MultiheadAttention PReLU PairwiseDistance PixelShuffle PixelUnshuffle RMSNorm RNN RNNCell RReLU ReLU ReLU6
ReflectionPad2d ReplicationPad2d SELU Sequential SiLU Sigmoid Softmax Softmax2d Softmin Softplus Softshrink Softsign
SyncBatchNorm Tanh Tanhshrink Threshold Transformer TransformerDecoder TransformerEncoder TransformerEncoderLayer
Unflatten Unfold Upsample UpsamplingBilinear2d UpsamplingNearest2d ZeroPad2d
adaptive_avg_pool2d avg_pool2d batch_norm cat clamp conv2d conv_transpose2d hardswish interpolate leaky_relu linear
log_softmax max_pool2d narrow one_hot_none permute relu relu6 scaled_dot_product_attention softmax transpose view
"""
KERAS = """
Activation Add AdditiveAttention AlphaDropout Attention Average AveragePooling1D AveragePooling2D AveragePooling3D
BatchNormalization Bidirectional Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose
ConvLSTM2D Cropping1D Cropping2D Dense DepthwiseConv1D DepthwiseConv2D Dot Dropout ELU Embedding Flatten GRU GRUCell
GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D
GroupNormalization GroupQueryAttention Identity Input InputLayer LSTM LSTMCell Lambda LayerNormalization LeakyReLU
LocallyConnected2D Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention Multiply
Normalization PReLU Permute RNN ReLU RepeatVector Rescaling Reshape SeparableConv1D SeparableConv2D SimpleRNN Softmax
SpatialDropout1D SpatialDropout2D SpectralNormalization Subtract ThresholdedReLU TimeDistributed UnitNormalization
UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
"""
ONNX = """
Abs Add ArgMax AveragePool BatchNormalization Cast Clip Concat Conv ConvTranspose Cos DepthToSpace Div Dropout Einsum
Elu Exp Flatten GRU Gather Gelu Gemm GlobalAveragePool GlobalMaxPool GroupNormalization HardSigmoid HardSwish Identity
InstanceNormalization LRN LSTM LayerNormalization LeakyRelu Log LogSoftmax LpNormalization MatMul Max MaxPool MaxUnpool
Min Mul Neg PRelu Pad Pow RNN Reciprocal ReduceMax ReduceMean ReduceSum Relu Reshape Resize RoiAlign Selu Sigmoid Sign
Sin Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh Transpose Unsqueeze Upsample Where
"""
DARKNET = "convolutional deconvolutional connected maxpool avgpool reorg route shortcut upsample softmax crop"
TENSORFLOW = "batch_matmul tensordot one_hot reduce_mean l2_normalize space_to_depth resize_bilinear softmax top_k"
SLIM = "conv2d conv2d_transpose fully_connected max_pool2d avg_pool2d batch_norm flatten separable_conv2d"
CAFFE = (
    "MVN BNLL Crop Interp Power Slice Reshape PReLU ELU Scale Normalize PriorBox "
    "Convolution Deconvolution InnerProduct Pooling LRN BatchNorm ReLU Eltwise Concat Dropout Softmax SoftmaxWithLoss"
)
WORDS = sorted(
    {
        *PYTORCH.split(),
        *KERAS.split(),
        *ONNX.split(),
        *SLIM.split(),
        *DARKNET.split(),
        *TENSORFLOW.split(),
        *CAFFE.split(),
    }
    - {"one_hot_none"}
)


@pytest.mark.parametrize("word", WORDS)
def test_every_foreign_layer_is_known(word: str) -> None:
    ours = foreign.called(word, layer_modules())
    assert foreign.instead(word) is not None or ours is not None


def test_the_tables_lead_to_what_there_is() -> None:
    for name in (*foreign.OURS, *foreign.CALLED.values()):
        assert find_layer(name.split()[0]) or name in STATEMENTS, name
    declared = [find_layer(name) or Layer for name in layer_modules()] + [*OPTIMIZERS.values(), *LOSSES.values()]
    arguments = {argument for each in declared for argument in each.arguments}
    assert {ours for found in foreign.ARGUMENTS.values() for ours in found} <= arguments
    assert not foreign.CALLED.keys() & foreign.INSTEAD.keys()
    assert [word for word in (*foreign.CALLED, *foreign.INSTEAD) if word in layer_modules()] == []
    assert set(call_mistakes.FUNCTION_NAMES) == set(BUILTINS)
    assert foreign.DIFFERENCES.keys() | foreign.EXACT <= {*layer_modules(), *STATEMENTS}
    assert not foreign.DIFFERENCES.keys() & foreign.EXACT
    assert not foreign.EXACT_ARGUMENTS - foreign.ARGUMENTS.keys()
    assert not foreign.ESTABLISHED & foreign.INSTEAD.keys()


@pytest.mark.parametrize("line", sorted({foreign.training_line(word) for word in (*LINE_KEYS, "lr", "decay")} - {""}))
def test_examples_of_a_training_are_right(line: str) -> None:
    line = f"optimizer sgd {line}" if line.startswith(("lr", "decay")) else line
    lines = {"data": 'data mnist "FOLDER"', "loss": "loss cross_entropy"} | {line.split()[0]: line}
    lines |= {"validate": "validate 0.1"} if "stop" in lines else {}
    assert not [*check(f"net n {{ input x 784; scale 1/255; dense 10 }}\ntrain n {{ {'; '.join(lines.values())} }}")]


@pytest.fixture(autouse=True)
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def check(text: str) -> Report:
    Path("main.net").write_text(text, "utf-8")
    report = Report()
    check_file("main.net", report)
    return report


CALLS = {
    "Conv2d 3x3 8": "conv 3x3 8",
    "fc 8": "dense 8",
    "Linear 8": "linear 8",
    "Mish": "mish",
    "StochasticDepth 0.1": "drop_path 0.1",
    "InnerProduct 8": "dense 8",
    "MaxPool2d 2x2": "maxpool 2x2",
    "MaxPool 2x2": "maxpool 2x2",
    "BatchNormalization": "bn",
    "LeakyReLU 0.1": "leaky_relu 0.1",
    "ReduceMean 1": "reduce mean 1",
    "Conv2DTranspose 4x4 8 stride 2": "deconv 4x4 8 stride 2",
    "conv 3x3 8 strides 2": "conv 3x3 8 stride 2",
    "conv 3x3 8 padding 1": "conv 3x3 8 pad 1",
    "conv 3x3 8 dilation_rate 2": "conv 3x3 8 dilation 2",
    "conv 3x3 8 use_bias off": "conv 3x3 8 bias off",
    "conv 3x3 filters 8": "conv 3x3 8",
    "conv kernel_size 3x3 8": "conv 3x3 8",
    "conv 3x3 8 stride(2)": "conv 3x3 8 stride 2",
    "dense units 8": "dense 8",
    "dense out_features 8": "dense 8",
    "maxpool pool_size 2x2": "maxpool 2x2",
    "bn epsilon 1e-3": "bn eps 1e-3",
    "avgpool 2x2 count_include_pad on": "avgpool 2x2 count_pad on",
    "dropout rate 0.5": "dropout 0.5",
    "leaky_relu negative_slope 0.1": "leaky_relu 0.1",
    "upsample scale_factor 2": "upsample 2",
    "residual { tanh }": "skip { tanh }",
    "Concat { } { tanh }": "concat { } { tanh }",
    "loop 3 { tanh }": "repeat 3 { tanh }",
    "F.pad(x, (2, 0))": "pad [0, 2, 0, 0]",
    "reshape [4, 64]; F.pad(x, (2, 0))": "reshape [4, 64]; pad [2, 0]",
    "positions 40 32": "positions; embedding 40 32",
    "t: linear 4; linear 4 tied { t }": "t: linear 4; linear 4 tied t",
    "linear 4; linear 4 tied { linear }": "shared: linear 4; linear 4 tied shared",
    "reshape [4, 64]; concat { param 4 } { }": "reshape [4, 64]; concat axis 1 { param 4x1 } { }",
    "reshape [4, 64]; concat { param 1x4 } { }": "reshape [4, 64]; concat axis 1 { param 4x1 } { }",
    "if channels > 9 { }\nelif on { tanh }": "if channels > 9 { }\nelse if on { tanh }",
}


@pytest.mark.parametrize("call", CALLS)
def test_the_one_help_mends_it(call: str) -> None:
    text = f"net a {{ input x 4x8x8; {call}; relu }}"
    (problem,) = check(text)
    (found,) = problem.all_suggestions()
    mended = apply(text, found.edits)
    assert mended == f"net a {{ input x 4x8x8; {CALLS[call]}; relu }}"
    assert check(mended).errors == 0


HELPS = {
    "ConvLSTM 64": "netdsl has no counterpart of `ConvLSTM`",
    "MultiHeadAttention 8": (
        "netdsl has no `MultiHeadAttention`: write `linear 3 * channels; attention 8; linear channels`"
    ),
    "scaled_dot_product_attention": (
        "netdsl has no `scaled_dot_product_attention`: write `attention 4 { } { } { }`, with queries, keys and values "
        "in its branches"
    ),
    "TransformerEncoderLayer 8": (
        "netdsl has no `TransformerEncoderLayer`: write `skip { layernorm; linear 3 * channels; attention 4; linear "
        "channels }`, and a `skip` of two `linear`s"
    ),
    "einsum": "netdsl has no `einsum`: there is `matmul`; `permute` in a branch transposes",
    "Masking": "netdsl has no `Masking`: recurrent layers have `lengths LABEL`, and `attention` has `mask LABEL`",
    "MVN": "netdsl has no `MVN`: write `instancenorm affine off`",
    "bmm": ("netdsl calls it `matmul`, of the last two axes, without the batch; `permute` in a branch transposes"),
    "SpectralNorm": "netdsl has no `SpectralNorm`: fold it into the weight before that is saved",
    "Dropout2d 0.5": "netdsl has no `Dropout2d`: write `dropout P spatial on`",
    "return": "netdsl has no `return`: the last value is the output, and `output NAME` names others",
    "conv 3x3 8 in_channels 4": "remove it: the size of the input is known",
    "conv 3x3 8 activation relu": "the activation is a separate statement after this one: `; relu`",
    "conv 3x3 8 filters 8": "netdsl calls it `channels`, and it is a positional argument",
}


@pytest.mark.parametrize("call", HELPS)
def test_what_cannot_be_mended_so_is_said(call: str) -> None:
    (problem,) = check(f"net a {{ input x 4x8x8; {call} }}")
    assert [found.text for found in problem.all_suggestions()] == [HELPS[call]]


WRITTEN = [
    text
    for text in foreign.INSTEAD.values()
    if text.startswith("write `") and "NAME" not in text and "AXIS" not in text
]


@pytest.mark.parametrize("text", sorted({*WRITTEN}))
def test_what_is_to_be_written_instead_is_right(text: str) -> None:
    body = text.split("`")[1].replace("P ", "0.5 ")
    if body not in ("add", "reshape", "slice"):
        assert check(f"net a {{ input x 4x8x8; {body}; relu }}").errors == 0


def test_a_function_may_be_called_as_a_keyword_is() -> None:
    text = "fn stride(n) = n\nnet a { input x 4x8x8; conv 3x3 stride(2) }"
    assert list(check(text)) == []


@pytest.mark.parametrize(
    ("call", "heads"),
    [
        ("multihead_attention 2", 2),
        ("multi_head_attention heads 8", 8),
        ("MultiHeadAttention(num_heads=16, key_dim=4)", 16),
        ("grouped_query_attention 2", 2),
        ("multihead_attention", 4),
        ("multihead_attention 512 8", 4),
        ("transformer_encoder 2", 4),
    ],
)
def test_the_attention_that_is_proposed_has_the_heads_of_the_call(call: str, heads: int) -> None:
    (problem,) = check(f"net n {{ input x 4x6; {call} }}")
    (suggestion,) = problem.suggestions()
    assert f"attention {heads}" in suggestion.text
