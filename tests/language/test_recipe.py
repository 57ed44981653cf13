"""`train` blocks: what they mean, what is wrong with them, and what `--set train.…` makes of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import netdsl
from netdsl.app.analyse import check_file
from netdsl.base.user_error import UserError
from netdsl.diagnostics.report import Report
from netdsl.elaborate.declared import written
from netdsl.elaborate.train_block import recipe
from tests.support.recipe_tools import NET, module_of, recipe_of, recipe_with, right

LENET = """
let rate = 0.05
net lenet {
  input image 1x28x28
  conv1: conv 5x5 6 bias off; bn; relu; maxpool 2x2
  tail: { f5: dense 120; relu; f6: dense 84; relu }
  dense 10
}
"""
FULL = """
train lenet {
  data mnist "datasets/mnist"
  validate mnist "datasets/mnist" split test
  loss cross_entropy smoothing 0.1
  metric accuracy; metric top 5
  optimizer sgd lr rate*2 momentum 0.9 decay 5e-4 except bias bn clip 1
  schedule step at [6, 9] factor 0.1
  batch 2**7; epochs 12; seed 3; keep 2
  augment { crop pad 4; flip }
  freeze conv1 tail.f6
}
"""


def test_a_whole_block():
    found = right(LENET + FULL)
    assert (found.name, found.net.name, found.span.text) == ("lenet", "lenet", "lenet")
    assert written(found.data) == 'mnist "datasets/mnist" split train'
    assert written(found.validate) == 'mnist "datasets/mnist" split test'
    ((output, loss, weight),) = [(line.output, line.loss, line.weight) for line in found.losses]
    assert (output, loss.kind, loss.smoothing, weight) == ("output", "cross_entropy", 0.1, 1.0)
    assert [line.metric.name for line in found.metrics] == ["accuracy", "top5"]
    assert written(found.optimizer) == "sgd lr 0.1 momentum 0.9 nesterov off decay 0.0005 clip 1.0"
    assert (found.schedule.kind, found.schedule.at, found.schedule.factor) == ("step", (6, 9), 0.1)
    assert (found.batch, found.epochs, found.steps, found.seed, found.keep) == (128, 12, None, 3, 2)
    assert [each.kind for each in found.augment] == ["crop", "flip"]
    assert found.freeze == {"conv1.weight", "tail.f6.weight", "tail.f6.bias"}
    assert found.undecayed == {"bn1.weight", "bn1.bias", "tail.f5.bias", "tail.f6.bias", "dense1.bias"}
    assert found.spans["batch"].text == "batch 2**7"


def test_what_is_left_out():
    found = recipe_with("")
    assert written(found.optimizer) == "sgd lr 0.01 momentum 0.0 nesterov off decay 0.0"
    assert found.schedule.kind == "constant"
    assert (found.batch, found.epochs, found.steps, found.seed, found.keep) == (32, 10, None, 0, 1)
    assert (found.validate, found.augment, found.freeze, found.undecayed) == (None, (), frozenset(), frozenset())
    assert [line.metric.name for line in found.metrics] == ["accuracy"]


def test_the_first_metric_that_is_a_number_is_watched():
    watched = recipe_with("metric confusion; metric error; metric accuracy").watched
    assert watched.metric.name == "error"
    assert recipe_with("metric confusion").watched is None


def test_the_default_metric_is_of_the_targets_kind():
    found = right("net n { input x 4; dense 3 }\ntrain n { data xor; loss mse }")
    assert [(line.output, line.metric.kind) for line in found.metrics] == [("output", "mse")]


MEANINGS = [
    ("steps 500", lambda r: (r.epochs, r.steps), (None, 500)),
    ("validate 1/10", lambda r: r.validate, 0.1),
    ("augment flip", lambda r: [written(a) for a in r.augment], ["flip horizontal p 0.5"]),
    ("optimizer adam { lr 1e-2; beta2 0.9; except dense1 }", lambda r: r.optimizer.beta2, 0.9),
    ("optimizer adam { lr 1e-2; except dense1 }", lambda r: r.undecayed, {"dense1.weight", "dense1.bias"}),
    ("optimizer sgd except bias lr 0.5", lambda r: (r.optimizer.lr, r.undecayed), (0.5, {"dense1.bias"})),
    ("optimizer adamw", lambda r: (r.optimizer.lr, r.optimizer.decay), (1e-3, 1e-2)),
    ("schedule cosine warmup 5", lambda r: (r.schedule.kind, r.schedule.warmup), ("cosine", 5)),
    ("metric output error", lambda r: [m.metric.name for m in r.metrics], ["error"]),
    ("freeze dense1", lambda r: r.freeze, {"dense1.weight", "dense1.bias"}),
]


def test_vectors_are_the_parameters_of_one_axis():
    """The parameters that timm's `param_groups_weight_decay` and nanoGPT's `configure_optimizers` exclude."""
    net = "net n { input x 2x4x4; conv 3x3 4; bn; prelu; conv 1x1 4 bias off; layernorm; e: dense 3 }\n"
    found = recipe_with("optimizer adamw except vectors e", net)
    vectors = {"conv1.bias", "bn1.weight", "bn1.bias", "prelu1.weight", "layernorm1.weight", "layernorm1.bias"}
    assert found.undecayed == vectors | {"e.weight", "e.bias"}
    assert right(net + found.text).undecayed == found.undecayed


def test_bn_stands_for_every_normalization_with_parameters():
    norms = "bn; layernorm; rmsnorm; groupnorm 2; instancenorm affine on; l2norm scale on"
    net = f"net n {{ input x 4x4x4; {norms}; prelu; dense 3 }}\n"
    both = {
        f"{kind}1.{name}" for kind in ("bn", "layernorm", "groupnorm", "instancenorm") for name in ("weight", "bias")
    }
    assert recipe_with("optimizer adamw except bn", net).undecayed == both | {"rmsnorm1.weight", "l2norm1.weight"}


@pytest.mark.parametrize(("line", "what", "expected"), MEANINGS, ids=[row[0] for row in MEANINGS])
def test_what_a_line_means(line, what, expected):
    assert what(recipe_with(line)) == expected


def test_outputs_and_heads():
    net = "net go { input b 4; dense 3; output aux training { dense 9 }; output p { dense 9 }; output v { dense 1 } }\n"
    lines = (
        "loss p cross_entropy; loss v mse weight 0.5; loss aux cross_entropy weight 0.3; metric p top 3; metric v mae"
    )
    found = right(f"{net}train go {{ data npz 'x' }}".replace("'x'", f'"games.npz"; {lines}'))
    assert [(line.output, line.weight) for line in found.losses] == [("p", 1), ("v", 0.5), ("aux", 0.3)]
    assert [(line.output, line.metric.name) for line in found.metrics] == [("p", "top3"), ("v", "mae")]


def test_an_output_may_be_called_like_a_loss():
    net = "net n { input x 4; output mse { dense 3 }; output hinge { dense 3 } }\n"
    found = right(f"{net}train n {{ data xor; loss mse cross_entropy; loss hinge mse }}")
    assert [(line.output, line.loss.kind) for line in found.losses] == [("mse", "cross_entropy"), ("hinge", "mse")]


def test_labels_are_spelled_out():
    net = "net n { input x 4; for i in range(3) { layer{i}: { a: dense 4; relu } }; dense 3 }\n"
    found = right(f"{net}let k = 1\ntrain n {{ data xor; loss cross_entropy; freeze layer{{k+1}}.a layer0 }}")
    assert found.freeze == {f"layer{i}.a.{name}" for i in (0, 2) for name in ("weight", "bias")}


@pytest.mark.parametrize("kind", ["idx", "npz", "npy", "csv", "folder", "xor", "clouds", "connectedness", "shapes"])
def test_every_kind_of_data_can_be_named(kind):
    arguments = {"idx": '"a" "b"', "npy": '"a" "b"', "csv": '"a" target "y"', "npz": '"a"', "folder": '"a"'}.get(
        kind, ""
    )
    assert right(f"{NET}train n {{ data {kind} {arguments}; loss cross_entropy }}").data.kind == kind


TEXTS = [
    FULL,
    'train lenet { data csv "a b.csv" target ["x", "y"]; loss hinge margin 1/3; optimizer adam eps 1e-12; steps 3 }',
    "train lenet { data xor noise 0.1; loss output mse weight 2; validate 1/3; schedule plateau; augment rotate 15 }",
    "train lenet { data xor; loss mse; augment { erase; crop pad [2, 3] }; optimizer adamw except tail }",
]


@pytest.mark.parametrize("block", TEXTS)
def test_a_recipe_as_text_means_the_same(block):
    found = right(LENET + block)
    again = right(LENET + found.text)
    assert again.text == found.text
    assert (again.undecayed, again.freeze, again.batch) == (found.undecayed, found.freeze, found.batch)
    assert written(again.optimizer) == written(found.optimizer)


WRONG = [
    ("batch 0", "E0401 0"),
    ("batch (-1)", "E0401 (-1)"),
    ("batch { 3 }", "E0101 3"),
    ("batch 2.0", "E0401 2.0"),
    ('batch "many"', 'E0401 "many"'),
    ("batch many", "E0402 many"),
    ("epochs 0", "E0401 0"),
    ("steps 1/2", "E0401 1/2"),
    ("seed (-1)", "E0401 (-1)"),
    ("keep 0", "E0401 0"),
    ("batch", "E0403 batch"),
    ("batch 3 4", "E0405 4"),
    ("batch 3; batch 4", "E0217 batch"),
    ("epochs 3; steps 4", "E0223 steps"),
    ("batch 3 { x 4 }", "E0224 { x 4 }"),
    ("lr 0.1", "E0216 lr"),
    ("batchs 3", "E0216 batchs"),
    ("optimizer sgdd", "E0219 sgdd"),
    ("optimizer", "E0403 optimizer"),
    ("optimizer 3", "E0401 3"),
    ("optimizer sgd 0.1", "E0405 0.1"),
    ("optimizer sgd lr (-0.1)", "E0401 (-0.1)"),
    ("optimizer sgd lr 0", "E0401 0"),
    ("optimizer sgd lr 1e999", "E0106 1e999"),
    ("optimizer sgd lr 1e200*1e200", "E0410 *"),
    ("optimizer sgd lr 0/0", "E0409 0"),
    ("optimizer sgd lr off", "E0401 off"),
    ("optimizer sgd momentum 1", "E0401 1"),
    ("optimizer sgd beta1 0.9", "E0402 beta1"),
    ("optimizer sgd nesterov 1", "E0401 1"),
    ("optimizer adam beta2 1", "E0401 1"),
    ("optimizer sgd lr 1 lr 2", "E0404 lr"),
    ("optimizer sgd lr 1 { lr 2 }", "E0404 lr"),
    ("optimizer sgd clip 0", "E0401 0"),
    ("optimizer sgd except", "E0403 except"),
    ("optimizer sgd except bias { except bn }", "E0217 except"),
    ("optimizer sgd except dense2", "E0203 dense2"),
    ("optimizer sgd except 3", "E0401 3"),
    ("optimizer sgd { lr 1 { x 2 } }", "E0224 { x 2 }"),
    ("schedule cosin", "E0219 cosin"),
    ("schedule step", "E0403 step"),
    ("schedule step at [9, 6]", "E0401 [9, 6]"),
    ("schedule step at 0", "E0401 0"),
    ("schedule cosine to 0.01", "E0425 0.01"),
    ("schedule cosine to 0.1; optimizer adam lr 0.01", "E0425 0.1"),
    ("schedule plateau to 1", "E0425 1"),
    ("schedule one_cycle warmup 2", "E0425 2"),
    ("optimizer sgd nesterov on", "E0425 on"),
    ("augment crop", "E0425 crop"),
    ("augment { crop pad 0 }", "E0425 crop"),
    ("augment { crop [1, 2, 3] }", "E0401 [1, 2, 3]"),
    ("augment { crop 3x3 }", "E0346 crop"),
    ("augment { crop pad [1, 2] }", "E0346 crop"),
    ("augment { crop pad 2 fill reflect }", "E0346 crop"),
    ("augment { flip; normalize mean 1 std 2; rotate 3 }", "E0228 normalize"),
    ("augment { erase area [0.4, 0.2] }", "E0401 [0.4, 0.2]"),
    ("augment { erase ratio [2, 1] }", "E0401 [2, 1]"),
    ("augment { erase p 1.5 }", "E0401 1.5"),
    ("augment { rotate 181 }", "E0401 181"),
    ("augment { fgsm 0.1 low 255 high 0 }", "E0425 255"),
    ("augment { fgsm 0.1 low 300 }", "E0425 300"),
    ("validate clouds margin 2", "E0425 2"),
    ("metric top 3", "E0340 top"),
    ("metric top 4", "E0340 top"),
    ("schedule cosine warmup (-1)", "E0401 (-1)"),
    ("schedule plateau factor 1", "E0401 1"),
    ("validate 0", "E0401 0"),
    ("validate 1", "E0401 1"),
    ("validate mnits", "E0219 mnits"),
    ("validate", "E0403 validate"),
    ("validate mnist", "E0403 mnist"),
    ("validate mnist 3", "E0401 3"),
    ("augment", "E0403 augment"),
    ("augment { }", "E0403 augment"),
    ("augment { flop }", "E0219 flop"),
    ("augment { flip 3 }", "E0401 3"),
    ("augment { flip { p 0.1 } }", "E0224 { p 0.1 }"),
    ("metric top", "E0403 top"),
    ("metric mse", "E0340 mse"),
    ("metric acuracy", "E0219 acuracy"),
    ("metric other accuracy", "E0220 other"),
    ("metric 3 accuracy", "E0401 3"),
    ("loss mse", "E0217 loss mse"),
    ("freeze", "E0403 freeze"),
    ("freeze dense2", "E0203 dense2"),
    ('freeze "dense1"', 'E0401 "dense1"'),
    ("freeze dense", "E0203 dense"),
]


@pytest.mark.parametrize(("lines", "expected"), WRONG, ids=[row[0] for row in WRONG])
def test_what_is_wrong_is_said_at_its_place(lines, expected):
    found, problems = recipe_of(f"{NET}train n {{ data xor; loss cross_entropy; {lines} }}")
    assert [f"{p.code} {p.span.text}" for p in problems] == [expected]
    assert found is None


def test_nesterov_needs_the_momentum_that_its_help_names():
    begin = f"{NET}train n {{ data xor; loss cross_entropy; optimizer sgd nesterov on"
    _, (problem,) = recipe_of(f"{begin} }}")
    (found,) = problem.suggestions()
    assert "`momentum 0.9`" in found.text
    _, problems = recipe_of(f"{begin} momentum 0.9 }}")
    assert not problems


INPUTS = [
    ("x 4", "augment { flip }", "E0346 flip"),
    ("x 2x4", "augment { erase }", "E0346 erase"),
    ("x 4", "augment { fgsm 0.1 }", ""),
    ("x 2x3x4", "augment normalize", "E0228 normalize"),
    ("x 2x3x4 dtype u8", "augment { crop pad 2; flip; erase; rotate 3 }", ""),
    ("x 2x3x4", "augment { crop 3x4 pad 9 }", ""),
    ("x 2x3x4", "augment { crop pad [2, 3] }", ""),
    ("x 2x3x4", "augment { crop pad [2, 4] }", "E0346 crop"),
    ("x 2x3x4", "augment { crop 4x3 }", "E0346 crop"),
    ("x 2x3x4", "augment { crop 9x9; crop 3x4 }", ""),
    ("x 4; sign", "augment { fgsm 0.1 }", "E0346 fgsm"),
    ("x 4; step; dense 3", "augment { fgsm 0.1 }", "E0346 fgsm"),
    ("w 4 dtype i64; embedding 9 5; flatten", "augment { fgsm 0.1 }", "E0346 fgsm"),
    ("rate 4", "", "E0347 n"),
    ("target 4", "", "E0347 n"),
    ("step 4", "", "E0347 n"),
    ("row 4", "", "E0347 n"),
    ("x 4; dense 4; output loss { dense 3 }", "", "E0347 n"),
    ("losses 4", "", ""),
]


@pytest.mark.parametrize(("entry", "line", "expected"), INPUTS, ids=[f"{row[0]} {row[1]}" for row in INPUTS])
def test_a_training_fits_its_input(entry, line, expected):
    head = "" if "output" in entry else "; dense 3"
    _, problems = recipe_of(
        f'net n {{ input {entry}{head} }}\ntrain n {{ data npz "x.npz"; loss cross_entropy; {line} }}'
    )
    assert " | ".join(f"{p.code} {p.span.text}" for p in problems) == expected


MISFITS = [
    ("dense 1", "cross_entropy", "E0339"),
    ("dense 3", "logistic", "E0339"),
    ("dense 3", "exponential", "E0339"),
    ("dense 3", "perceptron", ""),
    ("dense 1", "hinge", ""),
    ("dense 1", "mse", ""),
    ("dense 3", "crossentropy", "E0219"),
    ("dense 3", "hinge multiclass all", "E0418"),
    ("dense 3", "cross_entropy weight (0-1)", "E0401"),
    ("dense 3", "", "E0403"),
    ("dense 3", "out cross_entropy", "E0220"),
    ("dense 3", "output", "E0403"),
    ("dense 3", "output crossentropy", "E0219"),
]


@pytest.mark.parametrize(("body", "loss", "expected"), MISFITS, ids=[f"{row[0]} {row[1]}" for row in MISFITS])
def test_losses_fit_their_outputs(body, loss, expected):
    _, problems = recipe_of(f"net n {{ input x 4; {body} }}\ntrain n {{ data xor; loss {loss} }}")
    assert [p.code for p in problems] == expected.split()


BATCHES = [
    ("4", "dense 8 bias off; bn", "batch 1", "E0342"),
    ("4", "dense 8 bias off; bn", "batch 2", ""),
    ("4", "dense 8 bias off; layernorm", "batch 1", ""),
    ("3x4x4", "conv 3x3 8 bias off; bn", "batch 1", ""),
    ("3x3x3", "conv 3x3 8 pad valid bias off; bn", "batch 1", "E0342"),
]


@pytest.mark.parametrize(("size", "body", "line", "expected"), BATCHES)
def test_a_batch_of_one(size, body, line, expected):
    net = f"net n {{ input x {size}; {body}; relu; dense 3 }}\n"
    _, problems = recipe_of(f"{net}train n {{ data xor; loss cross_entropy; {line} }}")
    assert [p.code for p in problems] == expected.split()


def test_every_mistake_of_a_block_is_found_at_once():
    block = "train n { loss cross_entrpy; optimizer sgd lr 0; epoch 3; batch 0; freeze nothing }"
    _, problems = recipe_of(NET + block)
    assert sorted(p.code for p in problems) == ["E0203", "E0216", "E0218", "E0219", "E0401", "E0401"]


@pytest.mark.parametrize("lines", ["data xor", "loss cross_entropy", "batch 3"])
def test_a_line_that_is_missing_beside_a_file_that_is_missing(lines):
    found, problems = recipe_of(f'use "nowhere.net"\n{NET}train n {{ {lines} }}')
    assert found is None
    assert [p.code for p in problems] == ["E0501"]


def test_a_net_that_is_wrong_leaves_its_training_alone():
    _, problems = recipe_of("net n { input x 4; dense 0 }\ntrain n { data xor; loss logistic; freeze a; batch 0 }")
    assert [p.span.text for p in problems] == ["0", "0"]


TOKENS = re.findall(r'"[^"]*"|[\w.*/+-]+|\n|\S', FULL.strip())
MUTANTS = [
    mutant
    for at in range(3, len(TOKENS) - 1)
    for mutant in (
        [*TOKENS[:at], *TOKENS[at + 1 :]],
        [*TOKENS[:at], TOKENS[at + 1], TOKENS[at], *TOKENS[at + 2 :]],
        [*TOKENS[:at], "bn", *TOKENS[at:]],
    )
]


@pytest.mark.parametrize("part", range(8))
def test_no_mutant_of_a_block_ends_in_a_traceback(part):
    refused = 0
    for mutant in MUTANTS[part::8]:
        found, problems = recipe_of(LENET + " ".join(mutant))
        refused += bool(problems)
        assert (found is None) == bool(problems)
        assert all(problem.message() for problem in problems)
        if found is not None:
            assert right(LENET + found.text).text == found.text
    assert refused > len(MUTANTS[part::8]) / 2


# --set ---------------------------------------------------------------------------------------------------------------

SETTINGS = [
    (["train.lr=0.2"], lambda r: (r.optimizer.lr, r.optimizer.momentum), (0.2, 0.9)),
    (["train.lr=rate/5"], lambda r: r.optimizer.lr, 0.01),
    ([" train.lr = 2 * (rate) "], lambda r: r.optimizer.lr, 0.1),
    (["train.optimizer.nesterov=on"], lambda r: (r.optimizer.nesterov, r.optimizer.momentum), (True, 0.9)),
    (["train.momentum=0", "train.lr=1"], lambda r: (r.optimizer.momentum, r.optimizer.lr), (0, 1)),
    (["train.optimizer=adam lr 1e-4"], lambda r: (r.optimizer.kind, r.optimizer.lr), ("adam", 1e-4)),
    (["train.optimizer=adam", "train.beta1=0.5"], lambda r: r.optimizer.beta1, 0.5),
    (["train.schedule=cosine warmup 2"], lambda r: (r.schedule.kind, r.schedule.warmup), ("cosine", 2)),
    (["train.schedule.factor=0.5"], lambda r: (*r.schedule.at, r.schedule.factor), (6, 9, 0.5)),
    (["train.steps=100"], lambda r: (r.epochs, r.steps), (None, 100)),
    (["train.epochs=3"], lambda r: (r.epochs, r.steps), (3, None)),
    (["train.loss.smoothing=0"], lambda r: r.losses[0].loss.smoothing, 0),
    (["train.loss=mse"], lambda r: r.losses[0].loss.kind, "mse"),
    (["train.data.split=test"], lambda r: r.data.split, "test"),
    (['train.data=mnist "else/where"'], lambda r: r.data.folder, "else/where"),
    (["train.validate=0.5"], lambda r: r.validate, 0.5),
    (["train.metric=error"], lambda r: [m.metric.name for m in r.metrics], ["error"]),
    (["train.augment=flip vertical"], lambda r: [a.kind for a in r.augment], ["flip"]),
    (["train.freeze=tail"], lambda r: len(r.freeze), 4),
]
OVERRIDDEN = FULL.replace("metric accuracy; metric top 5", "").replace("loss cross", "loss output cross")


@pytest.mark.parametrize(("settings", "what", "expected"), SETTINGS, ids=[" ".join(row[0]) for row in SETTINGS])
def test_settings_take_the_places_of_lines(settings, what, expected):
    assert what(right(LENET + OVERRIDDEN, settings)) == pytest.approx(expected)


def test_settings_of_lines_that_are_not_there():
    found = right(
        f"{NET}train n {{ data xor; loss mse }}", ["train.lr=0.5", "train.schedule.warmup=2", "train.batch=7"]
    )
    assert (found.optimizer.kind, found.optimizer.lr) == ("sgd", 0.5)
    assert (found.schedule.kind, found.schedule.warmup, found.batch) == ("constant", 2, 7)


WRONG_SETTINGS = [
    ("train.lr=0", "E0401"),
    ("train.lr=-1", "E0401"),
    ("train.batch=-1e3", "E0401"),
    ("train.schedule.warmup=- 0.5", "E0401"),
    ("train.lr=nan", "E0201"),
    ("train.lrr=1", "E0216"),
    ("train.momentun=1", "E0216"),
    ("train.optimizer.beta1=0.5", "E0402"),
    ("train.optimizer=sdg", "E0219"),
    ("train.batch=0", "E0401"),
    ("train.batch=1 2", "E0405"),
    ("train.loss=logistic", "E0339"),
    ("train.lr=)", "E0103"),
    ("train.lr=1 }", "E0103"),
    ("train.freeze=nothing", "E0203"),
]


@pytest.mark.parametrize(("setting", "code"), WRONG_SETTINGS, ids=[row[0] for row in WRONG_SETTINGS])
def test_a_wrong_setting_is_named(setting, code):
    found, problems = recipe_of(LENET + FULL, settings=[setting])
    assert found is None
    assert problems[0].code == code
    assert problems[0].span.source.name == f"--set {setting.partition('=')[0]}"


ILL_FORMED = [
    ["train.lr="],
    ["train.=3"],
    ["train.a.b.c=3"],
    ["train.lr"],
    ["train.lr=1 2"],
    ["train.lr=1; batch 3"],
    ["train.lr=1", "train.lr=2"],
    ["train.lr=1", "train.optimizer.lr=2"],
    ["train.metric.k=3"],
    ["train.augment.flip=off"],
    ["train.validate.split=test", "train.validate.split=train"],
]


@pytest.mark.parametrize("settings", ILL_FORMED, ids=[" ".join(row) for row in ILL_FORMED])
def test_an_ill_formed_setting_is_an_error_of_usage(settings):
    with pytest.raises(UserError) as raised:
        recipe_of(LENET + FULL, settings=settings)
    assert (raised.value.code, raised.value.exit_code) == ("E0626", 2)


# Which block ---------------------------------------------------------------------------------------------------------

TWO = """
net a { input x 4; dense 3 }
net test { input x 4; dense 3 }
train a { data xor; loss mse; seed 1 }
train test { data xor; loss mse; seed 2 }
"""


def test_the_block_that_is_meant():
    assert [recipe_of(TWO, wanted)[0].seed for wanted in ("a", "test")] == [1, 2]
    assert recipe_of(TWO)[0].seed == 2, "of the net that is called like the file"
    assert recipe_of('use "zoo/lenet5.net"\ntrain lenet5 { data xor; loss cross_entropy }')[0].net.name == "lenet5"


@pytest.mark.parametrize(
    ("text", "wanted", "said"),
    [
        (NET, None, "test.net has no `train` block"),
        (TWO, "b", "test.net has no `train` block of `b`: there are those of `a`, `test`"),
        (TWO.replace("test", "b"), None, "test.net has 2 `train` blocks: there are those of `a`, `b`"),
    ],
)
def test_no_block_is_meant(text, wanted, said):
    with pytest.raises(UserError) as raised:
        recipe_of(text, wanted)
    assert (raised.value.code, raised.value.message) == ("E0625", said)


@pytest.mark.parametrize("wanted", [None, "n"])
def test_a_block_that_does_not_parse_is_not_missing(wanted):
    found, problems = recipe_of(f"{NET}train n {{ batch -1 }}", wanted)
    assert (found, [p.code for p in problems]) == (None, ["E0108"])


def test_values_of_the_nets_parameters():
    module = module_of("net n(width = 3) { input x 4; dense width }\ntrain n { data xor; loss cross_entropy }")
    span = module.file.items[0].span
    found = recipe(module, given={"width": (7, span)})
    assert found.losses[0].loss.target(found.net.outputs["output"].node.shape).classes == 7


def test_a_check_of_a_training_is_light(tmp_path: Path):
    file = tmp_path / "lenet.net"
    file.write_text(LENET + FULL)
    code = "import sys; from netdsl.cli import main\ntry: main(['check', sys.argv[1]])\n"
    code += "except SystemExit as end: assert not end.code\n"
    code += "print({'numpy', 'onnx', 'onnxruntime', 'PIL'} & {name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


# check ---------------------------------------------------------------------------------------------------------------

DATA = [
    ("x 2", "dense 2", "xor; loss cross_entropy", ""),
    ("x 1x2", "dense 1", "xor n 40 noise 0.1; validate 0.1; loss logistic", ""),
    ("x 3", "dense 2", "xor; loss cross_entropy", "E0348 xor"),
    ("x 2", "dense 2", "xor; loss mse", "E0348 xor"),
    ("x 2", "dense 1", "xor; loss mse", ""),
    ("x 5", "dense 1", "clouds; loss hinge", ""),
    ("x 5x4", "dense 1", "connectedness; loss hinge", ""),
    ("x 1x5x4", "dense 1", "connectedness; loss hinge", ""),
    ("x 3x4", "dense 1", "connectedness; loss hinge", "E0348 connectedness"),
    ("x 2x5x4", "dense 1", "connectedness; loss hinge", "E0348 connectedness"),
    ("x 8x9", "scale 1/255; dense 3", "shapes; loss cross_entropy", ""),
    ("x 7x9", "scale 1/255; dense 3", "shapes; loss cross_entropy", "E0348 shapes"),
    ("x 3x5x4", "scale 1/255; dense 2", 'folder "f"; loss cross_entropy', ""),
    ("x 4x5x4", "scale 1/255; dense 2", 'folder "f"; loss cross_entropy', "E0348 folder"),
    ("x 60", "scale 1/255; dense 2", 'folder "f"; loss cross_entropy', "E0348 folder"),
    ("x 3x5x4", "scale 1/255; conv 1x1 2", 'folder "f"; loss cross_entropy', "E0348 folder"),
    ("x 3x5x4", "scale 1/255; conv 1x1 2", 'idx "a" "b"; loss cross_entropy', ""),
    ("x 9", "scale 1/255; dense 3", 'mnist "f"; loss mse', "E0348 mnist"),
    ("x 9", "dense 3", 'csv "f" target "y"; loss mse', "E0348 csv"),
    ("x 9", "dense 3", 'csv "f" target ["a", "b", "c"]; loss mse', ""),
    ("x 9", "dense 3", 'csv "f" target ["a", "b", "c"]; loss cross_entropy', "E0348 csv"),
    ("x 9", "output p { dense 3 }; output q { dense 2 }", 'csv "f" target "a"; loss p mse; loss q mse', "E0348 csv"),
    ("x 9", "output p { dense 3 }; output q { dense 2 }", 'npy "f" "g"; loss p mse; loss q mse', "E0348 npy"),
    ("x 9", "output p { dense 3 }; output q { dense 2 }", 'npy "f" "g"; loss p mse', ""),
    ("x 9", "output p { dense 3 }; output q { dense 2 }", 'npz "f"; loss p mse; loss q mse', ""),
    ("x 9; input z 9; add x", "dense 3", 'idx "f" "g"; loss cross_entropy', "E0348 idx"),
    ("x 9; input z 9; add x", "dense 3", 'npz "f"; loss cross_entropy', ""),
    ("x 2", "dense 2", "xor; validate 0.1; loss cross_entropy", "E0349 validate 0.1"),
    ("x 2", "dense 2", "xor; validate 0.9; loss cross_entropy", "E0349 validate 0.9"),
    ("x 2", "dense 2", "xor; validate 0.5; loss cross_entropy", ""),
    ("x 2", "dense 2", "xor; validate connectedness; loss cross_entropy", "E0348 connectedness"),
]


@pytest.mark.parametrize(("entry", "body", "lines", "expected"), DATA, ids=[f"{row[0]} {row[2]}" for row in DATA])
def test_data_that_can_never_fit_are_found_without_files(entry, body, lines, expected):
    module = module_of(f"net n {{ input {entry}; {body} }}\ntrain n {{ data {lines} }}")
    module.check_lets()
    assert " | ".join(f"{p.code} {p.span.text}" for p in module.report) == expected


def test_generated_data_fit_where_the_check_says_so():
    """The same cases against what opening the data does."""
    from netdsl.train.open_data import open_data

    for entry, body, lines, expected in DATA:
        if lines.split(";")[0].split()[0] not in KINDS_IN_MEMORY:
            continue
        recipe = right(f"net n {{ input {entry}; {body} }}\ntrain n {{ data {lines} }}")
        if expected:
            with pytest.raises(UserError):
                open_data(recipe)
        else:
            open_data(recipe)


KINDS_IN_MEMORY = ("xor", "clouds", "connectedness", "shapes")


def test_a_file_may_train_nets_of_another_file_alone(tmp_path):
    text = 'use "zoo/{}.net"\ntrain {} {{ data folder "pictures"; loss cross_entropy }}\n'
    expected = {("resnet", "resnet34"): [], ("zfnet", "zfnet"): ["W0306"], ("resnet", "resnet17"): ["E0210"]}
    for names, codes in expected.items():
        (tmp_path / "t.net").write_text(text.format(*names))
        report = Report()
        check_file(str(tmp_path / "t.net"), report)
        assert [problem.code for problem in report] == codes


def test_a_program_may_give_data_where_those_of_the_block_do_not_fit(tmp_path):
    path = tmp_path / "n.net"
    path.write_text("net n { input x 5; dense 2 }\ntrain n { data xor; loss cross_entropy; epochs 1; batch 4 }")
    x, y = np.random.default_rng(0).random((8, 5), np.float32), np.arange(8) % 2
    assert len(netdsl.fit(path, data=(x, y), step_backend="plain", threads=1).history) == 1
    with pytest.raises(netdsl.NetError, match="E0348"):
        netdsl.load(path)
