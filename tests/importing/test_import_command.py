"""`netdsl import` and `netdsl.import_model`: what they write, print and refuse to overwrite."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

import netdsl as api
from netdsl.base.files import CannotWrite
from netdsl.base.user_error import UserError
from netdsl.weights.file import open_weights
from tests.support.cli_tools import Commands, netdsl
from tests.support.onnx_models import model, n, run, w

__all__ = ["netdsl"]

ARRAYS = {"w": w(4, 3, 3, 3), "b": w(4), "v": w(64, 5)}
NODES = [
    n("Conv", "x w b", "a", pads=[0, 0, 0, 0]),
    n("Relu", "a", "r"),
    n("Flatten", "r", "f"),
    n("MatMul", "f v", "y"),
]

TEXT = """\
# Imported by netdsl from my-model.onnx.
net my_model {
  input x 3x6x6
  conv 3x3 4 pad 0; relu
  dense 5 bias off
}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return model(tmp_path / "my-model.onnx", NODES, ARRAYS, 3, 6, 6)


def test_import_writes_a_text_and_its_weights(netdsl: Commands, source: Path) -> None:
    done = netdsl("import", source)
    assert done.code == 0, done
    assert done.out == ""
    assert done.err.splitlines() == [
        "my_model.net: 6 lines, 4 layers, 432 numbers in my_model.safetensors",
        "equal to the model in every bit for 2 random inputs",
    ]
    assert (netdsl.folder / "my_model.net").read_text() == TEXT
    weights = open_weights(str(netdsl.folder / "my_model.safetensors"))
    assert {name: entry.shape for name, entry in weights.entries.items()} == {
        "conv1.weight": (4, 3, 3, 3),
        "conv1.bias": (4,),
        "dense1.weight": (5, 64),
    }
    assert np.array_equal(weights.read("dense1.weight"), ARRAYS["v"].T)
    assert netdsl("check", "my_model.net").err.strip() == "my_model.net: ok (my_model)"
    assert netdsl("compile", "my_model.net", "--weights", "my_model.safetensors", "-q").code == 0
    x = np.random.default_rng(0).normal(0, 1, (2, 3, 6, 6)).astype("f4")
    assert np.array_equal(run(netdsl.folder / "my_model.onnx", {"x": x})[0], run(source, {"x": x})[0])


def test_import_replaces_what_it_wrote_and_nothing_else(netdsl: Commands, source: Path) -> None:
    assert netdsl("import", source, "-o", "a.net", "--name", "tiny").code == 0
    assert "net tiny {" in (netdsl.folder / "a.net").read_text()
    assert netdsl("import", source, "-o", "a.net").code == 0
    assert "net a {" in (netdsl.folder / "a.net").read_text()
    for name in ("a.net", "a.safetensors"):
        kept = {path.name: path.read_bytes() for path in netdsl.folder.iterdir()}
        (netdsl.folder / name).write_bytes(b"mine, and longer than a mark would be: " + bytes(100))
        changed = {path.name: path.read_bytes() for path in netdsl.folder.iterdir()}
        done = netdsl("import", source, "-o", "a.net")
        assert done.code == 2
        assert f"{name} exists and was not written by netdsl" in done.err
        assert {path.name: path.read_bytes() for path in netdsl.folder.iterdir()} == changed
        assert netdsl("import", source, "-o", "a.net", "--force").code == 0
        assert {path.name: path.read_bytes() for path in netdsl.folder.iterdir()} == kept


def test_import_prints_a_text_or_a_record(netdsl: Commands, source: Path) -> None:
    done = netdsl("import", source, "-o", "-", "-q")
    assert (done.out, done.err) == (TEXT, "")
    record = json.loads(netdsl("import", source, "--json", "--check", "1").out)
    assert record == {
        "file": "my_model.net",
        "weights": "my_model.safetensors",
        "net": "my_model",
        "lines": 6,
        "blocks": 0,
        "layers": 4,
        "parameters": 432,
        "proved": True,
        "inputs": 1,
        "difference": 0.0,
        "magnitude": 1.0,
        "notes": [],
        "left_out": [],
        "dropped": {},
    }


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["missing.onnx"], 2, "there is no file missing.onnx"),
        (["net.pt"], 2, "torch.onnx.export"),
        (["net.tflite"], 2, "tf2onnx"),
        (["net.txt"], 2, "models are ONNX (.onnx), Caffe"),
        (["my-model.onnx", "--weights", "net.tflite"], 2, "has its weights in it"),
        (["my-model.onnx", "--eps", "1e-6"], 2, "states its own epsilons; --eps is for a Darknet net"),
        (["net.cfg", "--eps", "small"], 2, "`--eps` must be a number such as 1e-5, or `cpu`, not small"),
        (["net.cfg", "--input", "image=3x?"], 2, "is not of the form NAME=SHAPE"),
        (["my-model.onnx", "-o", "out.onnx"], 2, "is no `.net` file"),
        (["my-model.onnx", "-o", "my-model.onnx.net", "--check", "0"], 2, "'0' is not an integer from 1"),
    ],
)
@pytest.mark.usefixtures("source")
def test_wrong_uses_are_told(netdsl: Commands, arguments: list[str], code: int, text: str) -> None:
    for name in ("net.pt", "net.tflite", "net.txt"):
        (netdsl.folder / name).write_bytes(b"some bytes")
    (netdsl.folder / "net.cfg").write_text("[net]\ninputs=4\n[connected]\noutput=2\n")
    before = sorted(path.name for path in netdsl.folder.iterdir())
    done = netdsl("import", *arguments)
    assert done.code == code, done
    assert text in done.err
    assert sorted(path.name for path in netdsl.folder.iterdir()) == before


def test_a_net_that_is_not_proved_is_written_only_if_that_is_accepted(netdsl: Commands, tmp_path: Path) -> None:
    source = model(tmp_path / "m.onnx", [n("Mul", "x zero", "y")], {"zero": np.array(0, "f4")}, 6)
    done = netdsl("import", source)
    assert done.code == 1
    assert "not proved" in done.err
    assert not (netdsl.folder / "m.net").exists()
    assert netdsl("import", source, "--allow-unproved").code == 0
    assert (netdsl.folder / "m.net").read_text().startswith("# Imported by netdsl, unproved, from m.onnx")


def test_a_disk_that_is_full_during_the_proof_is_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("netdsl.importing.proof_net.compile_net", full)
    with pytest.raises(CannotWrite, match=r"cannot write .*imported\.onnx: no space left on device"):
        api.import_model(source, tmp_path / "a.net")
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_weights_that_cannot_be_written_leave_no_text(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("netdsl.app.import_model.write_tensors", full)
    with pytest.raises(CannotWrite, match=r"cannot write .*a\.safetensors: no space left on device"):
        api.import_model(source, tmp_path / "a.net")
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_a_model_without_weights_has_no_file_of_them(netdsl: Commands, tmp_path: Path) -> None:
    done = netdsl("import", model(tmp_path / "m.onnx", [n("Relu", "x", "y")], {}, 6))
    assert done.err.splitlines()[0] == "m.net: 5 lines, 2 layers"
    assert not (netdsl.folder / "m.safetensors").exists()


def test_import_model_returns_the_net_and_its_weights(source: Path, tmp_path: Path) -> None:
    found = api.import_model(source)
    assert found.text == TEXT
    assert repr(found.net) == "<net my_model: 4 layers>"
    x = np.random.default_rng(0).normal(0, 1, (2, 3, 6, 6)).astype("f4")
    ours = found.net.session(weights=found.weights)(x=x)["output"]
    np.testing.assert_allclose(ours, run(source, {"x": x})[0], rtol=1e-5, atol=1e-5)
    assert not list(tmp_path.glob("*.net"))
    found = api.import_model(source, tmp_path / "b.net", name="c", check=1)
    assert (tmp_path / "b.net").read_text() == found.text == TEXT.replace("net my_model", "net c")
    assert found["weights"] == str(tmp_path / "b.safetensors")
    with pytest.raises(UserError, match="must be an integer"):
        api.import_model(source, check="2")  # type: ignore[arg-type]


def test_an_imported_text_has_no_warnings(netdsl: Commands, tmp_path: Path) -> None:
    nodes = [n("Conv", "x w b", "a", strides=[2, 2]), n("BatchNormalization", "a b b b v", "y")]
    arrays = {"w": w(4, 3, 3, 3), "b": w(4), "v": np.ones(4, "f4")}
    assert netdsl("import", model(tmp_path / "m.onnx", nodes, arrays, 3, 8, 8)).code == 0
    assert netdsl("check", "m.net").err == "m.net: ok (m)\n"
    text = (netdsl.folder / "m.net").read_text()
    assert "  conv 3x3 4 stride 2 pad 0; bn  # allow W0301 W0302: as in the model\n" in text
