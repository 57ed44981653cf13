"""`data text`: windows and their next symbols, bytes and characters, parts, and the names of symbols in models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import netdsl
from netdsl.app.frontend import load_recipe
from netdsl.base.user_error import UserError
from netdsl.data.text_windows import BYTE_NAMES
from netdsl.diagnostics.report import Report
from netdsl.train.open_data import open_data
from netdsl.weights.safetensors import SafetensorsWeights

TEXT = "to be, or not to bé:\nthat ☃ is the question 🙂 " * 20
PLAIN: dict[str, Any] = {"step_backend": "plain", "threads": 1}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_bytes(TEXT.encode())
    return tmp_path


def write(classes: int, data: str, more: str = "", length: int = 8, body: str = "conv 1 CLASSES") -> str:
    body = body.replace("CLASSES", str(classes))
    Path("a.net").write_text(
        f"net a {{ input text {length} dtype i64; embedding {classes} 6; {body} }}\n"
        f"train a {{ data text {data}; loss cross_entropy; batch 4; {more} }}\n"
    )
    return "a.net"


def opened(file: str) -> Any:
    recipe = load_recipe(file, Report())
    assert recipe is not None
    return open_data(recipe)


def arrays(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    (batch,) = dataset.batches(len(dataset), seed=0, epoch=0, shuffle=False)
    return batch["text"], batch["target"]


@pytest.mark.usefixtures("folder")
def test_windows_of_bytes_and_the_bytes_after_them() -> None:
    dataset, _ = opened(write(256, '"a.txt" length 8'))
    x, y = arrays(dataset)
    raw = TEXT.encode()
    assert (x.dtype, y.dtype, len(x)) == (np.int64, np.int64, (len(raw) - 1) // 8)
    assert bytes(x.ravel().astype("u1").tolist()) == raw[: x.size]
    assert bytes(y.ravel().astype("u1").tolist()) == raw[1 : x.size + 1]


@pytest.mark.usefixtures("folder")
def test_without_a_length_windows_are_as_long_as_the_input() -> None:
    given, _ = opened(write(256, '"a.txt" length 8'))
    dataset, _ = opened(write(256, '"a.txt"'))
    for own, other in zip(arrays(dataset), arrays(given), strict=True):
        np.testing.assert_array_equal(own, other)
    assert [problem.code for problem in netdsl.check(Path(write(256, '"a.txt"', length=9)))] == []
    net = "net a { input text 2x8 dtype i64; embedding 256 6; reduce mean (-1); flatten; dense 256 }\n"
    Path("a.net").write_text(net + 'train a { data text "a.txt"; loss cross_entropy }')
    (problem,) = netdsl.check(Path("a.net"))
    assert problem.message().endswith("it has windows of symbols, but the input is 2x8")
    with pytest.raises(UserError, match="a window is a row of symbols, but `text` is 2x8"):
        netdsl.fit("a.net", **PLAIN)


@pytest.mark.usefixtures("folder")
def test_windows_of_characters_and_the_character_after_each() -> None:
    characters = sorted(set(TEXT))
    body = "reduce mean (-1); dense CLASSES"
    dataset, _ = opened(write(len(characters), '"a.txt" length 8 level character part [0.25, 0.75]', body=body))
    x, y = arrays(dataset)
    first, last = round(len(TEXT) * 0.25), round(len(TEXT) * 0.75)
    part = TEXT[first:last]
    assert "".join(characters[k] for k in x.ravel()) == part[: x.size]
    assert y.shape == (len(x),) == ((len(part) - 1) // 8,)
    assert [characters[k] for k in y] == [part[at] for at in range(8, x.size + 1, 8)]
    assert dataset.names.classes == {"target": tuple(characters)}
    assert dataset.name("target", 2, seed=0, epoch=0).startswith("a.txt, symbols ")


@pytest.mark.parametrize("level", ["byte", "character"])
def test_a_model_of_text_knows_its_symbols(folder: Path, level: str) -> None:
    """A validation text is matched by character; the model, its weights and a checkpoint name them in order."""
    names = list(BYTE_NAMES) if level == "byte" else sorted(set(TEXT))
    (folder / "b.txt").write_text("this is the question: to be" * 3)
    data = f'"a.txt" length 8 level {level}'
    file = write(len(names), data, f'validate text "b.txt" length 8 level {level}; optimizer adam lr 0.05; epochs 8')
    found = netdsl.fit(file, out="run", **PLAIN)
    assert found.history[-1]["validation_accuracy"] > 0.3
    x, y = arrays(opened(file)[1])
    scores = found.net.session(weights=found.weights)(text=x)["output"]
    assert (scores.argmax(1) == y).mean() == pytest.approx(found.history[-1]["validation_accuracy"])
    decoded = "".join(names[k] for k in x[0])
    assert decoded == "this is "
    model = {entry.key: entry.value for entry in onnx.load("run/last.onnx").metadata_props}
    checkpoint = next((folder / "run" / "checkpoints").iterdir())
    for metadata in (
        model,
        *(SafetensorsWeights(str(path)).metadata for path in (folder / "run" / "last.safetensors", checkpoint)),
    ):
        assert json.loads(metadata["netdsl.classes.output"]) == names


def test_names_of_bytes_are_distinct_and_reversible() -> None:
    decoded = [name.encode("ascii").decode("unicode_escape") for name in BYTE_NAMES if name != "\\"]
    assert decoded == [chr(code) for code in range(256) if code != ord("\\")]
    assert len(set(BYTE_NAMES)) == 256


ERRORS = [
    (60, '"a.txt" length 8 level character', "", "E0836", f"give its output {len({*TEXT})} channels, or read bytes"),
    (60, '"a.txt" length 8 level character', "", "E0836", "different characters ('\\n', ' ', ',', ':', "),
    (100, '"a.txt" length 8', "", "E0832", "but a label must be an integer from 0 to 99"),
    (256, '"a.txt" length 8 part [0.5, 0.501]', "", "E0830", "contain no window of 8 symbols"),
    (256, '"latin.txt" length 8 level character', "", "E0888", "latin.txt is not UTF-8: byte 4 is 0xe9"),
    (256, '"none.txt" length 8', "", "E0601", ""),
    (
        len({*TEXT}),
        '"a.txt" length 8 level character',
        'validate text "other.txt" length 8 level character',
        "E0836",
        "other.txt has characters that the training text lacks: 'X'",
    ),
]


@pytest.mark.parametrize(("classes", "data", "more", "code", "said"), ERRORS, ids=[f"{r[3]} {r[1]}" for r in ERRORS])
def test_texts_that_do_not_fit(folder: Path, classes: int, data: str, more: str, code: str, said: str) -> None:
    (folder / "latin.txt").write_bytes("to bé".encode("latin1") * 9)
    (folder / "other.txt").write_text("to be X or not to be")
    with pytest.raises(UserError) as caught:
        opened(write(classes, data, more))
    assert caught.value.code == code
    assert said in str(caught.value)


@pytest.mark.usefixtures("folder")
def test_an_input_of_other_than_numbers_of_symbols() -> None:
    Path("a.net").write_text(
        "net a { input text 8; dense 256 }\ntrain a { data text 'a.txt' length 8; loss cross_entropy }\n".replace(
            "'", '"'
        )
    )
    with pytest.raises(UserError) as caught:
        opened("a.net")
    assert caught.value.code == "E0803"
    assert "`text` takes f32" in caught.value.message


NET = "net a { input text 8 dtype i64; embedding 256 4; conv 1 256 }\n"
MISTAKES = [
    ('data text "a.txt" length 9', "E0348"),
    ('data text "a.txt"', ""),
    ('data text "a.txt" length 8 part [0.9, 0.1]', "E0401"),
    ('data text "a.txt" length 8 part [0, 2]', "E0401"),
    ('data text "a.txt" length 8 part 0.5', "E0401"),
    ('data text "a.txt" length 8 level word', "E0418"),
    ('data text "a.txt" length 8; validate text "a.txt" length 8', "W0311"),
    ('data text "a.txt" length 8 part [0, 0.9]; validate text "a.txt" length 8', "W0312"),
    ('data text "a.txt" length 8; validate text "a.txt" length 8 level character', "W0312"),
    ('data text "a.txt" length 8 part [0, 0.9]; validate text "a.txt" length 8 part [0.9, 1]', ""),
    ('data text "a.txt" length 8; validate text "b.txt" length 8', ""),
    ('data text "a.txt" length 8; validate 0.1', ""),
]


@pytest.mark.parametrize(("lines", "code"), MISTAKES, ids=[row[0] for row in MISTAKES])
@pytest.mark.usefixtures("folder")
def test_what_check_says_without_the_text(lines: str, code: str) -> None:
    from netdsl.app.analyse import check_file

    Path("a.txt").unlink()
    Path("a.net").write_text(f"{NET}train a {{ {lines}; loss cross_entropy }}\n")
    report = Report()
    check_file("a.net", report)
    assert [problem.code for problem in report] == [code] * bool(code)


@pytest.mark.usefixtures("folder")
def test_a_text_from_python() -> None:
    net = netdsl.parse(NET)
    found = net.fit(data='text "a.txt" length 8', loss="cross_entropy", validate=0.2, batch=4, epochs=1, **PLAIN)
    assert found.net.class_names == {"output": BYTE_NAMES}
