"""What a command line names as a model's inputs, and what a model says of its pictures."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from netdsl.app.compile import _Batches
from netdsl.app.feeds import expand, picture_of
from netdsl.app.reporter import Reporter
from netdsl.backend.session import BadModel
from netdsl.base.user_error import UserError
from netdsl.data.column import ArrayReader
from netdsl.data.picture import Picture, parse_picture


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("some").mkdir()
    Path("empty").mkdir()
    for name in ("b.png", "a.png", "c.jpg"):
        Image.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "some" / name)
    (tmp_path / "some" / "notes.txt").write_text("none")
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_folder_stands_for_its_pictures_with_a_name_and_without() -> None:
    pictures = [str(Path("some") / name) for name in ("a.png", "b.png", "c.jpg")]
    assert expand(["some"]) == pictures
    assert expand(["image=some"]) == [f"image={picture}" for picture in pictures]
    assert expand(["x.npy", "y=some", "z=w.npz", "=", "none"]) == [
        "x.npy",
        *(f"y={picture}" for picture in pictures),
        "z=w.npz",
        "=",
        "none",
    ]


@pytest.mark.usefixtures("folder")
def test_a_folder_that_has_an_equals_sign_in_its_name_is_one() -> None:
    Path("some").rename("a=b")
    assert expand(["a=b"]) == [str(Path("a=b") / name) for name in ("a.png", "b.png", "c.jpg")]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("argument", ["empty", "x=empty"])
def test_a_folder_without_pictures_is_an_error(argument: str) -> None:
    with pytest.raises(UserError, match="empty"):
        expand([argument])


INPUTS = {"image": SimpleNamespace(shape=(None, 3, 224, 224))}
GOOD = {
    "{}": Picture(None, None, "bilinear", "rgb"),
    '{"resize": 256, "crop": 224}': Picture(256, 224, "bilinear", "rgb"),
    '{"filter": "bicubic", "order": "bgr"}': Picture(None, None, "bicubic", "bgr"),
    '{"resize": [9, 8], "letterbox": 114, "crop": [7, 5]}': Picture((9, 8), (7, 5), letterbox=114),
    '{"mean": [1, 2.5, 3], "std": [2]}': Picture(mean=(1, 2.5, 3), std=(2,)),
}
BAD = [
    "",
    "{",
    "3",
    "null",
    "[]",
    '["resize"]',
    '"resize"',
    "true",
    "[" * 100_000,
    '{"size": 3}',
    '{"resize": 3, "x": 1}',
]
BAD += ['{"resize": 0}', '{"resize": -1}', '{"crop": 2.5}', '{"crop": "9"}', '{"crop": true}', '{"filter": "best"}']
BAD += ['{"order": "grb"}', '{"filter": null}', '{"order": 3}', '{"resize": [1, 2, 3]}', '{"resize": [1, "2"]}']
BAD += ['{"letterbox": 3}', '{"resize": 9, "letterbox": 3}', '{"mean": [1, 2]}', '{"mean": []}', '{"std": 0}']
BAD += ['{"mean": [NaN]}', '{"std": [1, [2], 3]}', '{"resize": {"a": 1}}', '{"dtype": "f16"}', '{"sizes": [3, 4, 5]}']


@pytest.mark.parametrize("advice", GOOD)
def test_a_model_says_how_pictures_are_framed(advice: str) -> None:
    found, wanted = parse_picture(advice, 3), GOOD[advice]
    assert [getattr(found, key) for key in Picture.__slots__] == [getattr(wanted, key) for key in Picture.__slots__]
    session = SimpleNamespace(name="m.onnx", inputs=INPUTS, metadata={"netdsl.input.image": advice})
    assert str(picture_of(session, "image")) == str(wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("advice", BAD, ids=range(len(BAD)))
def test_what_a_model_says_otherwise_is_an_error(advice: str) -> None:
    session = SimpleNamespace(name="m.onnx", inputs=INPUTS, metadata={"netdsl.input.image": advice})
    with pytest.raises(BadModel, match=r"m\.onnx has invalid preprocessing metadata"):
        picture_of(session, "image")  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "size"), [(7, 3), (6, 3), (2, 5)])
def test_progress_counts_the_examples_that_calibration_has_seen(count: int, size: int) -> None:
    shown: list[int] = []

    class Recorder(Reporter):
        def progress(self, unit: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
            assert (unit, total) == ("examples", count)
            return nullcontext(shown.append)

    readers = {name: ArrayReader("x", np.zeros((count, 2), np.float32), "f32") for name in ("a", "b")}
    seen = [0]
    for batch in _Batches(readers, size, Recorder()):
        assert shown[-1] == seen[-1]
        seen.append(seen[-1] + len(batch["a"]))
    assert seen[-1] == count
