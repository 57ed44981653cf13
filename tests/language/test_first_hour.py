"""What people type in their first hour: one clear error, and a suggestion that mends it.

The rows are calls and settings from the documentation of PyTorch and Keras, and notation of Python, JSON and YAML, each
with the line that means the same.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from netdsl.app.analyse import check_file
from netdsl.app.repair import added, line, occurrences, said
from netdsl.cli import main
from netdsl.diagnostics.catalogue import problems
from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.problem import Problem
from netdsl.diagnostics.report import Report
from tests.language.test_problems import example

STATEMENTS = {
    "conv 32 3": "conv 3 32",
    "conv 64 5 pad same": "conv 5 64 pad same",
    "conv 32": None,
    "conv 3x3 32 relu": "conv 3x3 32; relu",
    "conv 3x3 32 ReLU": "conv 3x3 32; relu",
    "conv 3x3 relu": "conv 3x3; relu",
    "conv 3x3 8 stride 2 relu": "conv 3x3 8 stride 2; relu",
    "conv 3x3 8 bn relu": "conv 3x3 8; bn; relu",
    "conv 3x3 8, relu": "conv 3x3 8; relu",
    "conv 3x3 8 -> relu": "conv 3x3 8; relu",
    "dense 10 softmax": "dense 10; softmax",
    "dense 10 activation softmax": "dense 10; softmax",
    "dense 10 activation=softmax": "dense 10; softmax",
    "dense 10 relu dropout 0.5": "dense 10; relu; dropout 0.5",
    "conv 3x3 8 stride=2 pad=1": "conv 3x3 8 stride 2 pad 1",
    "conv 3x3, 8, stride 2": "conv 3x3 8 stride 2",
    "conv 3x3, 8, pad 1, stride 2": "conv 3x3 8 pad 1 stride 2",
    "if channels > 5 { relu } else: tanh": "if channels > 5 { relu } else { tanh }",
    "concat axis=1 { relu } { tanh }": "concat axis 1 { relu } { tanh }",
    "mul 2": "scale 2",
    "Activation('relu')": "relu",
    "y = Dense(10, activation='relu')(x)": "from x; dense 10; relu",
    "model.add(Conv2D(8, (3, 3)))": "conv 3x3 8 pad 0",
    "nn.BatchNorm2d(num_features=4, eps=1e-3)": "bn eps 1e-3",
    "nn.Upsample(scale_factor=2)": "upsample 2",
    "nn.Conv2d(4, 8, 3, padding_mode='reflect')": "conv 3 8 pad_mode reflect pad 0",
    "nn.Conv2d(4, 8, 3, padding_mode='symmetric')": None,
    "F.interpolate(x, scale_factor=2)": "upsample 2",
    "F.interpolate(x, size=9, mode='bilinear', align_corners=True)": "resize 9 mode bilinear align_corners on",
    "F.interpolate(x, scale_factor=0.5)": None,
    "nn.Upsample(size=16, mode='nearest')": "resize 16",
    "nn.UpsamplingBilinear2d(scale_factor=2)": "upsample 2 bilinear align on",
    "conv 3x3 8 stride: 2": "conv 3x3 8 stride 2",
    "conv: 3x3 8": "conv 3x3 8",
    "dense: 10": "dense 10",
    "conv (3, 3) 8": "conv 3x3 8",
    "conv 3,3 8": "conv 3x3 8",
    "conv 3x3 8 stride (2, 2)": "conv 3x3 8 stride 2x2",
    "conv kernel_size=3 filters=8": "conv 3 8",
    "conv kernel_size=3, out_channels=8, padding=1": "conv 3 8 pad 1",
    "conv 3x3 8 padding='same'": "conv 3x3 8 pad same",
    'conv 3x3 8 padding="same"': "conv 3x3 8 pad same",
    'conv 3x3 8 pad "same"': "conv 3x3 8 pad same",
    "conv 3x3 8 pad 'same'": "conv 3x3 8 pad same",
    "conv 3x3 8 bias=False": "conv 3x3 8 bias off",
    "conv 3x3 8 bias 0": "conv 3x3 8 bias off",
    "conv 3x3 channels=8": "conv 3x3 8",
    "dense=10": "dense 10",
    "bn momentum=0.9": "bn momentum 0.9",
    "upsample size 16x16": None,
    "UpSampling2D(size=2)": "upsample 2",
    "conv 3x3 8 init he_normal()": "conv 3x3 8 init he_normal",
    "conv(1, 32, 3, padding=1)": "conv 3 32 pad 1",
    "conv(3x3, 8, stride=2)": "conv 3x3 8 stride 2",
    "conv(x, 32, 3)": "conv 3 32 pad 0",
    "Conv2D(32, (3,3), activation='relu')": "conv 3x3 32 pad 0; relu",
    "Conv2D(32, 3, strides=2, padding='same')": "conv 3 32 stride 2 pad same_upper",
    "Conv2D(filters=32, kernel_size=(3, 3))": "conv 3x3 32 pad 0",
    "nn.Conv2d(4, 32, 3, 1, 1)": "conv 3 32 stride 1 pad 1",
    "nn.Conv2d(4, 32, kernel_size=3, bias=False)": "conv 3 32 bias off pad 0",
    "nn.ConvTranspose2d(4, 8, 2, stride=2)": "deconv 2 8 stride 2 pad 0",
    "nn.Linear(784, 10)": "linear 10",
    "linear(784, 10)": "linear 10",
    "nn.Linear(784, 10, bias=False)": "linear 10 bias off",
    "F.linear(x, w)": None,
    'Dense(10, activation="softmax")': "dense 10; softmax",
    "Dense(10, 'relu')": "dense 10; relu",
    "MaxPool2d(2, 2)": "maxpool 2 stride 2",
    "MaxPooling2D((2, 2))": "maxpool 2x2",
    "AvgPool2d(3, 1, 1)": "avgpool 3 stride 1 pad 1 count_pad on",
    "BatchNorm2d(4)": "bn",
    "BatchNormalization()": "bn eps 1e-3 momentum 0.01",
    "InstanceNorm2d(4)": "instancenorm affine off",
    "GroupNorm(2, 4)": "groupnorm 2",
    "nn.GELU()": "gelu",
    "nn.Mish()": "mish",
    "nn.Hardtanh()": "hard_tanh",
    "nn.Hardtanh(-2, 2)": None,
    "nn.CELU(0.5)": "celu 0.5",
    "nn.LogSigmoid()": "log_sigmoid",
    "nn.Softshrink(0.3)": "soft_shrink 0.3",
    "nn.Hardshrink()": "hard_shrink",
    "nn.Threshold(0.1, 20)": "threshold 0.1 value 20",
    "nn.GLU(1)": "glu",
    "nn.GLU(dim=1)": "glu",
    "nn.GLU()": None,
    "nn.GELU(approximate='tanh')": "gelu tanh on",
    "nn.GELU('none')": "gelu",
    "nn.RMSNorm(8)": None,
    "DropPath(0.2)": "drop_path 0.2",
    "StochasticDepth(0.2, 'row')": "drop_path 0.2",
    "StochasticDepth(p=0.2, mode='row')": "drop_path 0.2",
    "StochasticDepth(0.2, 'batch')": None,
    "nn.LeakyReLU(0.2)": "leaky_relu 0.2",
    "nn.PReLU()": "prelu shared on",
    "nn.Softmax(dim=1)": "softmax",
    "nn.Softmax(dim=2)": None,
    "nn.Softmax(2)": None,
    "nn.LayerNorm(8)": None,
    "Dense(10, trainable=False)": None,
    "LayerNormalization()": "layernorm eps 1e-3",
    "Dropout(p=0.5)": "dropout 0.5",
    "Dropout(rate=0.5)": "dropout 0.5",
    "relu(x)": "relu",
    "ReLU()": "relu",
    "Flatten()": "flatten",
    "maxpool 2x2 2": "maxpool 2x2 stride 2",
    "bn 4": "bn",
    "softmax 1": "softmax",
    "x = nn.Conv2d(4, 32, 3, padding=1)(x)": "conv 3 32 pad 1",
    "x = F.relu(x)": "relu",
    "x = F.max_pool2d(x, 2)": "maxpool 2",
    "self.conv1 = nn.Conv2d(4, 32, 3)": "conv1: conv 3 32 pad 0",
    "y = Dense(10)(x)": "from x; y: dense 10",
    "y = dense 10": "y: dense 10",
    "n = 3; dense n": "let n = 3; dense n",
    "n := 3; dense n": "let n = 3; dense n",
    "var n = 3; dense n": "let n = 3; dense n",
    "a: let w = 3; dense w": "let w = 3; dense w",
    "a: output y": "output y",
    "a: b: dense 8": "a: dense 8",
    "a: relu; b: tanh; c = a + b": "a: relu; b: tanh; c: add a b",
    "a: relu; b: tanh; add(a, b)": "a: relu; b: tanh; add a b",
    "a: relu; b: tanh; add a, b": "a: relu; b: tanh; add a b",
    "a: relu; b: tanh; concat([a, b])": "a: relu; b: tanh; concat a b",
    "concat { relu }, { tanh }": "concat { relu } { tanh }",
    "add { relu } + { tanh }": "add { relu } { tanh }",
    "concat { relu }\n    for k in [3, 5] { conv k 8 }": "concat { relu } for k in [3, 5] { conv k 8 }",
    "concat { relu } # both\n    for k in [3, 5] { conv k 8 }": None,
    "y: relu\n  add x\n    y": "y: relu\n  add x y",
    "repeat 2 { c: conv 3x3 4 }": "repeat 2 as i { c{i}: conv 3x3 4 }",
    "repeat 2 as j { c: conv 3x3 4 }": "repeat 2 as j { c{j}: conv 3x3 4 }",
    "for n in [3, 4] { c: conv 3x3 n }": "for n in [3, 4] { c{n}: conv 3x3 n }",
    "repeat 3: relu": "repeat 3 { relu }",
    "repeat 3 times { relu }": "repeat 3 { relu }",
    "for i in range(3): relu": "for i in range(3) { relu }",
    "if channels > 3: relu": "if channels > 3 { relu }",
    "if channels > 3 then relu": "if channels > 3 { relu }",
    "if channels > 5 { relu } elif channels > 3 { tanh }": "if channels > 5 { relu } else if channels > 3 { tanh }",
    "if channels > 3 && channels < 5 { relu }": "if channels > 3 and channels < 5 { relu }",
    "if !on { relu }": "if not on { relu }",
    "sum 0": "reduce sum 0",
    "mean 0": "reduce mean 0",
    "max 0": "reduce max 0",
    "reduce [-1]": "reduce mean (-1)",
    "reduce mean [-1]": "reduce mean (-1)",
    "conv 3x3 8 // first layer": "conv 3x3 8 # first layer",
    "// first layer": "# first layer",
    "/* first layer */": "# first layer",
    "return x": "from x",
    "dense 10.0": "dense 10",
    'dense "10"': "dense 10",
    "dense len [1]": None,
    "conv 3x3 8 init normal": None,
    "conv 3x3 8 init glorot_uniform": "conv 3x3 8 init xavier_uniform",
}
"""Statements behind `input x 4x8x8`, and what mends them; None where a sentence must do."""

FILES = {
    "net a { input 1x28x28; dense 10 }": "net a { input image 1x28x28; dense 10 }",
    "net a { input: 1x28x28; dense 10 }": "net a { input image 1x28x28; dense 10 }",
    "net a { input(1, 28, 28); dense 10 }": "net a { input image 1x28x28; dense 10 }",
    "net a { input x (1, 28, 28); dense 10 }": "net a { input x 1x28x28; dense 10 }",
    "net a { input x 1, 28, 28; dense 10 }": "net a { input x 1x28x28; dense 10 }",
    "net a { x = Input(shape=(28, 28, 1)); dense 10 }": "net a { input x 1x28x28; dense 10 }",
    "net a { input x 8 dtype float16; dense 10 }": "net a { input x 8 dtype f16; dense 10 }",
    "model x { input x 8; dense 10 }": "net x { input x 8; dense 10 }",
    "net { input x 8; dense 10 }": "net main { input x 8; dense 10 }",
    "net a: { input x 8; dense 10 }": "net a { input x 8; dense 10 }",
    "net a(n: 8) { input x n; dense 10 }": "net a(n = 8) { input x n; dense 10 }",
    "def b(n) { dense n }\nnet a { input x 8; b 3 }": "block b(n) { dense n }\nnet a { input x 8; b 3 }",
    "fn f(n) { n + 1 }\nnet a { input x 8; dense f(3) }": "fn f(n) = n + 1\nnet a { input x 8; dense f(3) }",
    "fn f(x) = x\nnet a { input x 8; dense f 1 }": "fn f(x) = x\nnet a { input x 8; dense f(1) }",
    "use zoo/xor.net\nnet a { input x 8; dense 10 }": 'use "zoo/xor.net"\nnet a { input x 8; dense 10 }',
    "use 'zoo/xor.net'\nnet a { input x 8; dense 10 }": 'use "zoo/xor.net"\nnet a { input x 8; dense 10 }',
    'import "zoo/xor.net"\nnet a { input x 8; dense 10 }': 'use "zoo/xor.net"\nnet a { input x 8; dense 10 }',
    'net a { about { paper "A title }; input x 8; relu }': None,
    'net a {\n  about { paper "A }\n  input x 8; relu }': 'net a {\n  about { paper "A" }\n  input x 8; relu }',
    "import torch\nclass Net(nn.Module):\n    pass\n": None,
    '{ "layers": [{ "type": "dense" }] }': None,
    "layers:\n  - dense: 10\n": None,
}
"""Whole files, and what mends them."""

SETTINGS = {
    "optimizer Adam(lr=0.001)": "optimizer adam lr 0.001",
    "optimizer Adam(0.001)": "optimizer adam lr 0.001",
    "optimizer torch.optim.SGD(lr=0.1, momentum=0.9)": "optimizer sgd lr 0.1 momentum 0.9",
    "optimizer adam(lr=0.001, betas=(0.9, 0.99))": "optimizer adam lr 0.001 beta1 0.9 beta2 0.99",
    "optimizer adam 0.001": "optimizer adam lr 0.001",
    "optimizer adam learning_rate 0.001": "optimizer adam lr 0.001",
    "optimizer: adam": "optimizer adam",
    "metric accuracy()": "metric accuracy",
    "batch_size 10": "batch 10",
    "epochs = 3": "epochs 3",
    "early_stopping patience 3": None,
    "learning_rate 0.1": None,
    "weight_decay 1e-4": None,
    "class_weight balanced": None,
    "validation_split 0.1": None,
    "validate npz x.npz": 'validate npz "x.npz"',
    "validate mnist data/mnist split test": 'validate mnist "data/mnist" split test',
    "validate mnist ../mnist": 'validate mnist "../mnist"',
    "validate csv iris.csv target species": None,
}
"""Lines of a `train` block, and what mends them."""

TRAIN = 'net a {{ input x 784; dense 10 }}\ntrain a {{\n  data mnist "mnist"; loss cross_entropy\n  {}\n}}\n'


@pytest.fixture(autouse=True)
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def check(text: str) -> Report:
    Path("main.net").write_text(text, "utf-8")
    report = Report()
    check_file("main.net", report)
    return report


def errors(report: Report) -> list[Problem]:
    return [problem for problem in report if problem.severity == "error"]


def statement(text: str) -> str:
    return f"net a {{\n  input x 4x8x8\n  {text}\n  dense 10\n}}\n"


ROWS = [
    *((statement(wrong), right and statement(right)) for wrong, right in STATEMENTS.items()),
    *FILES.items(),
    *((TRAIN.format(wrong), right and TRAIN.format(right)) for wrong, right in SETTINGS.items()),
]
NAMES = [*STATEMENTS, *FILES, *SETTINGS]


@pytest.mark.parametrize(("wrong", "right"), ROWS, ids=NAMES)
def test_one_error_and_the_line_to_type(wrong: str, right: str | None) -> None:
    (problem,) = errors(check(wrong))
    offered = [apply(wrong, help.edits) for help in problem.all_suggestions() if help.edits]
    if right is None:
        assert [*problem.all_suggestions()]
    else:
        assert offered[:1] == [right]
        assert errors(check(right)) == []
    for mended in offered:
        assert errors(check(mended)) == []


PROBLEMS = [code for code in problems() if code.startswith("E")]
TEXTS = [*(example(code, "fail") for code in PROBLEMS), *(wrong for wrong, _ in ROWS)]


@pytest.mark.parametrize("text", TEXTS, ids=[*PROBLEMS, *NAMES])
def test_every_offered_edit_removes_its_error_and_adds_none(text: str) -> None:
    before = check(text)
    for problem in before:
        for help in problem.all_suggestions():
            if help.edits and all(edit.span.source.name == "main.net" for edit in help.edits):
                now = check(apply(text, help.edits))
                assert occurrences(now)[said(problem)] < occurrences(before)[said(problem)], help.text
                lines = {line(edit.span) for edit in help.edits}
                assert not [new for new in added(before, now) if line(new.span) in lines], help.text


@pytest.mark.parametrize("text", TEXTS, ids=[*PROBLEMS, *NAMES])
def test_fix_leaves_fewer_errors_none_new_and_nothing_to_fix(text: str) -> None:
    before = check(text)
    main(["check", "--fix", "main.net", "--quiet"])
    fixed = Path("main.net").read_bytes().decode()
    if fixed != text:
        now = check(fixed)
        assert len(errors(now)) < len(errors(before))
        assert Counter(map(said, errors(now))) <= Counter(map(said, errors(before)))
    main(["check", "--fix", "main.net", "--quiet"])
    assert Path("main.net").read_bytes().decode() == fixed
