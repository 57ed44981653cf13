"""Names of weights that are not the network's: rules, rename files, pairs in order; and the world's own files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdsl.app.frontend import load_net
from netdsl.diagnostics.report import Report
from netdsl.ir.net import Net
from netdsl.weights.check import CheckedWeights, checked_weights
from netdsl.weights.errors import BadRename, BadWeightValues, WeightsDoNotFit
from netdsl.weights.file import open_weights
from netdsl.weights.match import match_weights
from netdsl.weights.npz import MappedWeights
from netdsl.weights.rename import Rule, apply_rules, beside, option_rules, read_rules
from tests.support.cli_tools import MNIST, Commands, netdsl
from tests.support.paths import DATA
from tests.support.reference import NETWORKS, load, open_net
from tests.support.torch_zip import View, write

__all__ = ["netdsl"]

ONE = np.float32([0.5])


def published(path: Path, shapes: dict[str, tuple[int, ...]]) -> str:
    """A checkpoint of tensors of these shapes, all of whose elements are one; with the counts that PyTorch has."""
    tensors: dict[str, object] = {}
    for key, shape in shapes.items():
        tensors[key] = View(ONE, 0, tuple(shape), (0,) * len(shape))
        if key.endswith("running_var"):
            tensors[key.replace("running_var", "num_batches_tracked")] = np.array(3)
    return write(path, tensors)


def fitted(net: Net, path: str, **how: object) -> CheckedWeights:
    shapes = {name: p.shape for name, p in net.parameters.items() if not name.startswith("aux")}
    file = match_weights(net, open_weights(path), **how)  # type: ignore[arg-type]
    return checked_weights(shapes, file, optional=net.parameters.keys() - shapes.keys())


@pytest.mark.parametrize("network", NETWORKS)
def test_the_worlds_state_dicts_fit_as_they_are(tmp_path: Path, network: str) -> None:
    shapes = {key: tuple(shape) for key, shape in NETWORKS[network]["state_dict"]}
    net = load(network)
    path = published(tmp_path / "w.pth", shapes)
    weights = fitted(net, path)
    assert {key: weights[key].shape for key in list(weights)[-4:]} == {key: shapes[key] for key in list(weights)[-4:]}
    assert set(weights) == {key for key in shapes if not key.startswith("aux")}


def old_name(key: str) -> str:
    """As torchvision called DenseNet's layers when it published their weights."""
    return re.sub(r"(denselayer\d+)\.(norm|conv)([12])\.", r"\1.\2.\3.", key)


def test_the_rename_file_of_a_shipped_spec_is_found(tmp_path: Path) -> None:
    shapes = {old_name(key): tuple(shape) for key, shape in NETWORKS["densenet121"]["state_dict"]}
    assert "features.denseblock1.denselayer1.norm.1.weight" in shapes
    net = open_net("densenet121")
    assert set(fitted(net, published(tmp_path / "w.pth", shapes))) == net.parameters.keys()


@pytest.mark.parametrize(
    ("pattern", "to", "name", "becomes"),
    [
        (r"features\.(\d+)", "conv$1", "features.10.weight", "conv10.weight"),
        ("^module\\.", "", "module.a.module.b", "a.module.b"),
        ("^", "net.", "a", "net.a"),
        (r"(?P<x>\w)\.(\w)", "$2.${x}", "a.b", "b.a"),
        ("(a)(b)?", "$2$1$$$$1", "a", "a$$1"),
        ("a", "$0$0", "bab", "baab"),
        ("a", r"\1\n", "a", r"\1\n"),
        ("a", "${0}1", "a", "a1"),
        ("x", "y", "a", "a"),
    ],
)
def test_rules(pattern: str, to: str, name: str, becomes: str) -> None:
    assert Rule(pattern, to, "here").apply(name) == becomes


@pytest.mark.parametrize(
    ("pattern", "to", "told"),
    [
        ("(", "a", "is not a regular expression"),
        ("a{99999999999999}", "a", "is not a regular expression"),
        ("a", "$1", "what is `$1`? the pattern has 0 groups"),
        ("(a)", "${b}", "what is `${b}`? the pattern has 1 groups"),
        ("a", "$", "a dollar is written `$$`"),
        ("a", "$-", "a dollar is written `$$`"),
    ],
)
def test_rules_that_are_none(pattern: str, to: str, told: str) -> None:
    with pytest.raises(BadRename) as caught:
        Rule(pattern, to, "here")
    assert caught.value.message.startswith("here: ")
    assert told in caught.value.message


@given(st.text(max_size=12), st.text(alphabet="$12{}ab", max_size=8), st.text(max_size=20))
def test_any_texts_are_a_rule_or_told(pattern: str, to: str, name: str) -> None:
    try:
        rule = Rule(pattern, to, "here")
    except BadRename:
        return
    assert isinstance(rule.apply(name), str)


def test_a_rename_file(tmp_path: Path) -> None:
    path = tmp_path / "a.rename"
    path.write_text("\ufeff# a comment\r\n\n  ^old\\. -> new.  # why\n ^junk -> \na#b -> c\n", "utf-8")
    rules = read_rules(str(path))
    assert [rule.apply("old.x") for rule in rules] == ["new.x", "old.x", "old.x"]
    assert [rule.apply("junk.x") for rule in rules] == ["junk.x", ".x", "junk.x"]
    assert rules[2].apply("a#b") == "c"
    assert rules[0].place == f"{path}:3"
    for line in ("a", "a->b", "-> b", "a -> b -> c"):
        path.write_text(f"x -> y\n{line}\n", "utf-8")
        with pytest.raises(BadRename, match=r"a.rename:2: .* is not of the form PATTERN -> TO"):
            read_rules(str(path))


def test_rules_transpose_and_drop() -> None:
    square = np.arange(4, dtype="f4").reshape(2, 2)
    file = MappedWeights({"h.fc.w": np.arange(6, dtype="f4").reshape(2, 3), "h.proj.w": square, "h.mask": np.ones(3)})
    rules = [Rule(r"^h\.(\w+)\.w$", "$1.weight transposed", "a"), Rule("mask", "nothing", "b")]
    view = apply_rules(file, rules)
    assert {name: (entry.dtype, entry.shape) for name, entry in view.entries.items()} == {
        "fc.weight": ("float32", (3, 2)),
        "proj.weight": ("float32", (2, 2)),
    }
    assert view.read("fc.weight").tolist() == [[0, 3], [1, 4], [2, 5]]
    assert dict(view.stream(["proj.weight"]))["proj.weight"].tolist() == [[0, 2], [1, 3]]
    assert view.transposed == {"fc.weight", "proj.weight"}
    again = apply_rules(view, [Rule("^fc", "x", "c")])
    assert again.read("x.weight").tolist() == [[0, 3], [1, 4], [2, 5]]
    assert again.transposed == {"x.weight", "proj.weight"}
    kept = apply_rules(file, [Rule(r"fc\.w$", "$0 transposed", "d"), Rule("mask", "-", "e")])
    assert [*kept.entries] == ["h.fc.w", "h.proj.w"]
    assert kept.transposed == {"h.fc.w"}


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("transposed", "here: the new name is missing before `transposed`; `$0 transposed` keeps the name"),
        ("nothing transposed", "here: a dropped weight cannot be transposed"),
        ("- transposed", "here: a dropped weight cannot be transposed"),
    ],
)
def test_rules_that_transpose_nothing(to: str, told: str) -> None:
    with pytest.raises(BadRename) as caught:
        Rule("a", to, "here")
    assert caught.value.message == told


def test_only_matrices_are_transposed_and_only_once() -> None:
    shapes = {"scalar": (), "bias": (4,), "kernel": (4, 3, 2), "matrix": (4, 3)}
    file = MappedWeights({name: np.zeros(shape, "f4") for name, shape in shapes.items()})
    for name, size in {"scalar": "a single number", "bias": "4", "kernel": "4x3x2"}.items():
        with pytest.raises(BadRename, match=f"'{name}' transposes `{name}` of the mapping, which is {size}\n"):
            apply_rules(file, option_rules([(name, "--transpose")]))
    twice = option_rules([("matrix", "--transpose"), ("mat", "x transposed")])
    told = "`matrix` of the mapping is transposed twice: by --transpose 'matrix' and by --rename 'mat' 'x transposed'"
    with pytest.raises(BadRename, match=re.escape(told)):
        apply_rules(file, twice)


def test_layouts_that_are_known_are_not_transposed(tmp_path: Path) -> None:
    head = '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 2] x) => (float[N, 2] y)'
    body = "<float[2, 2] w = {1, 2, 3, 4}> { y = MatMul(x, w) }"
    onnx.save(onnx.parser.parse_model(head + body), tmp_path / "a.onnx")
    onnx_file = open_weights(str(tmp_path / "a.onnx"))
    keras_file = open_weights(str(DATA / "keras_3_15.keras"))
    for file, key, why in ((keras_file, "d2.weight", "Keras's order"), (onnx_file, "w", "the graph")):
        with pytest.raises(BadRename, match=f"`{key}` of .*, whose layout is known from {why}"):
            apply_rules(file, option_rules([(f"^{key}$", "--transpose")]))


def test_which_file_is_beside_a_spec(tmp_path: Path) -> None:
    assert beside(str(tmp_path / "a.net")) is None
    (tmp_path / "a.rename").write_text("")
    assert beside(str(tmp_path / "a.net")) == str(tmp_path / "a.rename")
    assert beside("<stdin>") is None
    assert beside("zoo/lenet5.net") is None
    found = beside("zoo/densenet.net")
    assert found is not None
    assert Path(found).name == "densenet.rename"


def test_two_names_that_become_one_are_told() -> None:
    file = MappedWeights({"a.1": np.ones(2), "a.2": np.ones(2), "x.num_batches_tracked": 1, "y.num_batches_tracked": 2})
    with pytest.raises(WeightsDoNotFit) as caught:
        checked_weights({"a": (2,)}, apply_rules(file, option_rules([(r"\.\d", ""), ("[xy]", "z")])))
    assert caught.value.message.endswith("1 doubled:\n    a: the name of `a.1` and `a.2`")


NET = """net a { input x 3; one: dense 4; two: dense 4; three: dense 2 }"""
ARRAYS = {
    "l.0.weight": np.arange(12, dtype="f4").reshape(4, 3),
    "l.0.bias": np.arange(4, dtype="f4"),
    "l.1.weight": np.arange(16, dtype="f4").reshape(4, 4),
    "l.1.bias": np.ones(4, "f4"),
    "l.2.weight": np.arange(8, dtype="f4").reshape(2, 4),
    "l.2.bias": np.ones(2, "f4"),
}


def small(tmp_path: Path, rules: str | None = None) -> Net:
    (tmp_path / "a.net").write_text(NET)
    if rules is not None:
        (tmp_path / "a.rename").write_text(rules)
    return open_net(tmp_path / "a.net")


def test_in_order(tmp_path: Path) -> None:
    net = small(tmp_path)
    file = match_weights(net, MappedWeights({**ARRAYS, "bn.num_batches_tracked": 3}), order=True)
    assert list(file.entries) == list(net.parameters)
    for name, array in zip(net.parameters, ARRAYS.values(), strict=True):
        assert np.array_equal(file.read(name), array)


def test_in_order_and_yet_not(tmp_path: Path) -> None:
    net = small(tmp_path)
    keys = list(ARRAYS)

    def refused(chosen: list[str]) -> str:
        with pytest.raises(WeightsDoNotFit) as caught:
            match_weights(net, MappedWeights({key: ARRAYS[key] for key in chosen}), order=True)
        return caught.value.message

    assert "it has 5, the network 6; without a partner are three.bias" in refused(keys[:-1])
    said = refused([*keys[:2], keys[4], keys[5], keys[2], keys[3]])
    assert "number 3 is different" in said
    assert said.endswith("  two.weight  4x4  <-  l.2.weight  2x4")
    with pytest.raises(WeightsDoNotFit, match="number 1 is different"):  # of one shape, and by its word another
        match_square = open_net_text(tmp_path, "net b { input x 1; one: dense 1 }")
        match_weights(match_square, MappedWeights({"a.bias": np.ones((1, 1)), "a.weight": np.ones(1)}), order=True)


def open_net_text(tmp_path: Path, text: str) -> Net:
    (tmp_path / "b.net").write_text(text)
    return open_net(tmp_path / "b.net")


def test_training_heads_may_be_paired_or_not() -> None:
    net = load("googlenet")
    whole = {f"x{at}": np.broadcast_to(ONE, p.shape) for at, p in enumerate(net.parameters.values())}
    file = match_weights(net, MappedWeights(whole), order=True)
    assert len(file.entries) == len(net.parameters)
    trunk = [p.shape for name, p in net.parameters.items() if not name.startswith("aux")]
    assert len(trunk) < len(whole)
    file = match_weights(
        net, MappedWeights({f"x{at}": np.broadcast_to(ONE, s) for at, s in enumerate(trunk)}), order=True
    )
    assert not any(name.startswith("aux") for name in file.entries)


def test_the_file_beside_a_spec_is_for_names_that_are_not_the_nets(tmp_path: Path) -> None:
    """A rule that swaps two layers would spoil weights that fit."""
    net = small(tmp_path, "^l\\.0 -> one\n^l\\.1 -> two\n^l\\.2 -> three\n^one -> two\n")
    own = dict(zip(net.parameters, ARRAYS.values(), strict=True))
    assert match_weights(net, MappedWeights(own)).read("one.bias").tolist() == [0, 1, 2, 3]
    (tmp_path / "a.rename").write_text("^l\\.0 -> one\n^l\\.1 -> two\n^l\\.2 -> three\n")
    found = checked_weights(
        {name: p.shape for name, p in net.parameters.items()}, match_weights(net, MappedWeights(ARRAYS))
    )
    assert found["two.bias"].tolist() == [1, 1, 1, 1]


def test_rules_that_are_given_come_before_the_files(tmp_path: Path) -> None:
    net = small(tmp_path, "^l\\.0 -> one\n^l\\.1 -> two\n^l\\.2 -> three\n")
    prefixed = {f"module.{key}": array for key, array in ARRAYS.items()}
    file = match_weights(net, MappedWeights(prefixed), rules=option_rules([(r"^module\.", "")]))
    assert file.entries.keys() == net.parameters.keys()
    assert file.origins["two.bias"] == "module.l.1.bias"  # type: ignore[attr-defined]


def test_a_rule_that_changes_nothing_is_told(tmp_path: Path) -> None:
    net = small(tmp_path)
    with pytest.raises(BadRename, match=r"--rename 'zzz' 'b' changes no name of the mapping, which has l.0.weight"):
        match_weights(net, MappedWeights(ARRAYS), rules=option_rules([("zzz", "b")]))
    with pytest.raises(BadRename, match=r"which has l\.0\.weight$"):
        match_weights(net, MappedWeights({"l.0.weight": ARRAYS["l.0.weight"]}), rules=option_rules([("zzz", "b")]))


# --- what a misfit says --------------------------------------------------------------------------------------------


def helps(shapes: dict[str, tuple[int, ...]], held: dict[str, tuple[int, ...]]) -> tuple[str, tuple[str, ...]]:
    with pytest.raises(WeightsDoNotFit) as caught:
        checked_weights(shapes, MappedWeights({key: np.zeros(shape, "f4") for key, shape in held.items()}))
    return caught.value.message, caught.value.helps


def test_a_prefix_is_noticed() -> None:
    shapes = {"a.weight": (2, 3), "a.bias": (2,), "b.weight": (2, 2)}
    assert helps(shapes, {f"module.{key}": shape for key, shape in shapes.items()})[1] == (
        r"--rename '^module\.' '' removes the prefix that all of them have",
    )
    below = {f"net.{key}": shape for key, shape in shapes.items()}
    assert helps(below, shapes)[1] == ("--rename '^' 'net.' adds the missing prefix to all of them",)
    others = {f"q{at}": shape for at, shape in enumerate(shapes.values())}
    assert "--match order" in helps(shapes, others)[1][0]
    assert helps(shapes, {"q": (9,)})[1] == ()


def test_the_only_one_of_a_shape_is_named() -> None:
    said = helps({"stem.weight": (2, 3), "x": (5,), "y": (5,)}, {"classifier.kernel": (2, 3), "completely": (5,)})[0]
    assert "stem.weight 2x3; similar: `classifier.kernel`" in said
    assert "x 5\n" in said


def test_matrices_that_are_transposed_are_noticed() -> None:
    shapes = {"a.c_fc.weight": (3, 2), "a.c_proj.weight": (2, 2), "b.c_fc.weight": (3, 2)}
    found = {"a.c_fc.weight": (2, 3), "a.c_proj.weight": (2, 2), "b.c_fc.weight": (2, 3)}
    (told,) = helps(shapes, found)[1]
    assert told.startswith(r"--transpose 'c_fc\.weight$' transposes them, if the file has [in, out] matrices; it must")
    two = helps({"a.x": (3, 2), "b.y": (4, 2)}, {"a.x": (2, 3), "b.y": (2, 4)})[1]
    assert two[0].startswith(r"--transpose '(a\.x|b\.y)$' transposes them")


FC = "net n { input x 3; fc: dense 4; dense 2 }"
TURNED = "$0 transposed"
MISFITS = {
    "the file transposes one of two": (f"^fc.weight -> {TURNED}", {"fc": (3, 4), "dense1": (4, 2)}, 1),
    "the file renames, and one is to be transposed": ("^a -> fc", {"a": (3, 4), "dense1": (2, 4)}, 1),
    "the file renames two": ("^a -> fc\n^b -> dense1", {"a": (3, 4), "b": (4, 2)}, 2),
}


@pytest.mark.parametrize("case", MISFITS)
def test_beside_a_rename_file_the_pattern_of_the_help_fits(netdsl: Commands, case: str) -> None:
    rules, shapes, count = MISFITS[case]
    netdsl.write(n=FC)
    Path("n.rename").write_text(rules)
    arrays = {f"{name}.weight": np.ones(shape, "f4") for name, shape in shapes.items()}
    biases = {f"{name}.bias": np.ones(size, "f4") for name, size in zip(shapes, (4, 2), strict=True)}
    np.savez("w.npz", **arrays, **biases)
    ran = netdsl("compile", "n.net", "--weights", "w.npz")
    assert (ran.code, f"error[E0702]: the weights in w.npz do not match the net\n  {count} with" in ran.err) == (
        1,
        True,
    )
    (pattern,) = re.findall("--transpose '(.*?)'", ran.err)
    ran = netdsl("compile", "n.net", "--weights", "w.npz", "--transpose", pattern)
    assert (ran.code, "2 nodes" in ran.err + ran.out) == (0, True), ran


def test_a_weight_that_a_rule_transposes_wrongly_is_named(netdsl: Commands) -> None:
    netdsl.write(n=FC)
    Path("n.rename").write_text(f"^a -> fc\n^fc.weight -> {TURNED}")
    weights, biases = {"a.weight": (4, 3), "dense1.weight": (2, 4)}, {"a.bias": 4, "dense1.bias": 2}
    np.savez("w.npz", **{name: np.ones(shape, "f4") for name, shape in (weights | biases).items()})
    ran = netdsl("compile", "n.net", "--weights", "w.npz")
    assert "fc.weight is 3x4 (transposed), expected 4x3" in ran.err
    assert "help: a rule transposes fc.weight, which would fit without: change its pattern\n" in ran.err
    assert "--transpose" not in ran.err


# --- the commands --------------------------------------------------------------------------------------------------


def lenet(folder: Path, rename: tuple[str, str] = ("", "")) -> str:
    """LeNet-5's weights as a checkpoint under other names."""
    file = open_weights(str(MNIST / "lenet5.safetensors"))
    wanted = open_net("lenet5").parameters
    return write(folder / "w.pth", {"state_dict": {re.sub(*rename, key): file.read(key) for key in wanted}})


PICTURE = MNIST / "digits" / "3_18.png"


def test_run_with_a_checkpoint(netdsl: Commands) -> None:
    expected = netdsl("run", "lenet5", PICTURE, "--weights", MNIST / "lenet5.safetensors", "--logits").out
    path = lenet(netdsl.folder)
    assert netdsl("run", "lenet5", PICTURE, "--weights", path).out == expected
    path = lenet(netdsl.folder, (r"conv(\d)", r"features.\1"))
    assert netdsl("run", "lenet5", PICTURE, "--weights", path).code == 1
    apply_rules = netdsl("run", "lenet5", PICTURE, "--weights", path, "--rename", r"features\.(\d+)", "conv$1")
    assert (apply_rules.code, apply_rules.out) == (0, expected)
    ordered = netdsl("run", "lenet5", PICTURE, "--weights", path, "--match", "order")
    assert (ordered.code, ordered.out) == (0, expected)
    assert "  conv2.weight   16x6x5x5  <-  features.2.weight\n" in ordered.err
    assert ordered.err.count("<-") == 10


def test_a_rename_file_beside_a_users_spec(netdsl: Commands) -> None:
    netdsl("zoo", "copy", "lenet5")
    path = lenet(netdsl.folder, (r"conv(\d)", r"features.\1"))
    assert netdsl("compile", "lenet5.net", "--weights", path).code == 1
    Path("lenet5.rename").write_text("features\\.(\\d) -> conv$1\n")
    assert netdsl("compile", "lenet5.net", "--weights", path).code == 0
    Path("lenet5.rename").write_text("features\n")
    told = netdsl("compile", "lenet5.net", "--weights", path, "--force")
    assert told.code == 2
    assert "lenet5.rename:1: `features` is not of the form" in told.err


def test_commands_transpose_and_drop(netdsl: Commands) -> None:
    """The order of the options is the order of the rules. The reference is a file that needs no rules."""
    netdsl.write(n="net n { input x 3; fc: dense 4; relu; proj: dense 4 }")
    weights = {
        "fc.weight": np.arange(12, dtype="f4").reshape(4, 3),
        "fc.bias": np.ones(4, "f4"),
        "proj.weight": np.arange(16, dtype="f4").reshape(4, 4),
        "proj.bias": np.ones(4, "f4"),
    }
    np.savez("plain.npz", **weights)
    turned = {f"m.{name}": array.T for name, array in weights.items()}
    np.savez("turned.npz", **turned, **{"m.mask": np.ones((1, 1, 4, 4), bool)})
    assert netdsl("compile", "n.net", "--weights", "plain.npz", "-o", "plain.onnx").code == 0
    given = ["--weights", "turned.npz", "--drop", "^m[.]mask", "--rename", "^m[.]", "", "--transpose", "^(fc|proj).*t$"]
    done = netdsl("compile", "n.net", *given, "-o", "turned.onnx")
    assert done.err.splitlines()[:3] == [
        "2 weights transposed:",
        "  fc.weight    4x3  <-  m.fc.weight    3x4 transposed",
        "  proj.weight  4x4  <-  m.proj.weight  4x4 transposed",
    ]
    assert Path("turned.onnx").read_bytes() == Path("plain.onnx").read_bytes()
    np.save("x.npy", np.ones((1, 3), "f4"))
    expected = netdsl("run", "n.net", "x.npy", "--weights", "plain.npz").out
    assert netdsl("run", "n.net", "x.npy", *given).out == expected
    told = netdsl("run", "n.net", "x.npy", "--weights", "turned.npz", "--drop", "x", "--transpose", "y")
    assert (told.code, "--drop 'x' changes no name of turned.npz" in told.err) == (2, True)
    told = netdsl("run", "n.net", "x.npy", "--weights", "turned.npz", "--transpose", "y")
    assert (told.code, "--transpose 'y' matches no name of turned.npz" in told.err) == (2, True)
    by_order = netdsl("compile", "n.net", *given, "--match", "order", "-o", "order.onnx")
    assert "  proj.weight  4x4  <-  m.proj.weight  4x4 transposed\n" in by_order.err


def test_a_copy_of_a_spec_has_its_rename_file(netdsl: Commands) -> None:
    assert netdsl("zoo", "copy", "densenet121").code == 0
    assert Path("densenet.rename").exists()


@pytest.mark.parametrize(
    "option",
    [["--rename", "a", "b"], ["--drop", "a"], ["--transpose", "a"], ["--match", "order"], ["--allow-nonfinite"]],
)
@pytest.mark.parametrize("command", ["run", "compile", "attack", "train", "eval"])
def test_options_of_weights_need_weights(netdsl: Commands, command: str, option: list[str]) -> None:
    netdsl.write(n="net n { input x 2; dense 2 }\ntrain n { data xor; loss cross_entropy; epochs 1 }")
    np.save("x.npy", np.ones((1, 2), np.float32))
    line = {
        "run": ["n.net", "x.npy"],
        "compile": ["n.net"],
        "attack": ["n.net", "x.npy", "--label", "0"],
        "train": ["n.net"],
        "eval": ["n.net", "--data", "xor"],
    }
    told = netdsl(command, *line[command], *option)
    assert (told.code, f"{option[0]} goes with --weights" in told.err) == (2, True), told


def test_nonfinite_weights_are_taken_if_asked_for(netdsl: Commands) -> None:
    netdsl.write(n="net n { input x 2; bn }")
    np.savez(
        "w.npz",
        **{
            "bn1.weight": np.float32([1, np.inf]),
            "bn1.bias": np.float32([0, 0]),
            "bn1.running_mean": np.float32([0, np.nan]),
            "bn1.running_var": np.float32([1, -1]),
        },
    )
    refused = netdsl("compile", "n.net", "--weights", "w.npz")
    assert refused.code == 1
    assert "1 of 2 values of `bn1.weight` are NaN or infinite" in refused.err
    assert netdsl("compile", "n.net", "--weights", "w.npz", "--allow-nonfinite").code == 0


SPOILT = {
    "NaN": ("conv.weight", np.nan, "are NaN or infinite"),
    "infinity": ("bn1.bias", -np.inf, "are NaN or infinite"),
    "a negative variance": ("bn1.running_var", -1, "variances of `bn1.running_var` are negative"),
}
WAYS = {
    "name": ("", {}),
    "rules": ("old.", {"rules": [Rule("^old\\.", "", "here")]}),
    "order": ("", {"order": True}),
    "order of other names": ("old.", {"order": True}),
    "rules and order": ("old.", {"rules": [Rule("^old\\.conv", "first", "here")], "order": True}),
    "the file beside": ("old.", {}),
}


@pytest.mark.parametrize("form", ["npz", "pth", "given"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("spoilt", SPOILT)
def test_nonfinite_weights_are_refused_whatever_they_are_called(
    tmp_path: Path, spoilt: str, way: str, form: str
) -> None:
    key, value, said = SPOILT[spoilt]
    prefix, how = WAYS[way]
    (tmp_path / "n.net").write_text("net n { input x 3x5x5; conv: conv 3x3 4; bn }")
    if way == "the file beside":
        (tmp_path / "n.rename").write_text("^old\\. ->\n")
    net = load_net(str(tmp_path / "n.net"), report=Report())
    assert net is not None
    arrays = {name: np.ones(p.shape, "f4") for name, p in net.parameters.items()}
    arrays[key].reshape(-1)[-1] = value
    stored = {prefix + name: array for name, array in arrays.items()}
    path = str(tmp_path / f"w.{form}")
    if form == "npz":
        np.savez(path, **stored)
    elif form == "pth":
        write(Path(path), dict(stored))
    file = MappedWeights(stored) if form == "given" else open_weights(path)
    shapes = {name: p.shape for name, p in net.parameters.items()}
    with pytest.raises(BadWeightValues, match=said):
        read = checked_weights(shapes, match_weights(net, file, **how))  # type: ignore[arg-type]
        [read[name] for name in read]
    read = checked_weights(shapes, match_weights(net, file, allow_nonfinite=True, **how))  # type: ignore[arg-type]
    assert all(np.array_equal(read[name], array, equal_nan=True) for name, array in arrays.items())


def test_the_report_of_a_net_that_is_loaded_is_clean() -> None:
    assert load_net("densenet121", report := Report()) is not None
    assert not report.errors
