"""Indices in data that an embedding has no vector for, which are errors before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdsl
from netdsl.train.vocabulary import OutsideVocabulary

NET = "net lm { input tokens 4 dtype i64; embedding 9 3; linear CLASSES }"
LETTERS = "abcdefghij"


def tokens(outside: int) -> np.ndarray:
    x = np.arange(36).reshape(9, 4) % 9
    x[7, 2] = outside
    return x


def text(level: str) -> str:
    Path("letters.txt").write_text(LETTERS * 9)
    return f'text "letters.txt" length 4 level {level}'


@pytest.mark.parametrize(
    ("data", "classes", "where", "fix"),
    [
        (lambda: (tokens(9), tokens(0)), 9, "tokens[7] contains 9 at [2]", "`embedding 10 3`"),
        (lambda: (tokens(-1), tokens(0)), 9, "tokens[7] contains -1 at [2]", "cannot be negative"),
        (lambda: text("byte"), 256, "letters.txt[0] contains 97 at [0]", "`embedding 256 3`"),
        (lambda: text("character"), 10, "letters.txt[2] contains 9 at [1]", "`embedding 10 3`"),
    ],
)
def test_an_index_without_a_vector(
    data: Any, classes: int, where: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    net, given = netdsl.parse(NET.replace("CLASSES", str(classes))), data()
    calls: list[Any] = [lambda: net.fit(data=given, loss="cross_entropy")]
    if isinstance(given, tuple):
        inside = tokens(0), tokens(0)
        calls.append(lambda: net.fit(data=inside, validate=given, loss="cross_entropy"))
    for call in calls:
        with pytest.raises(OutsideVocabulary) as caught:
            call()
        assert caught.value.message.replace(f"{tmp_path}/", "").startswith(
            f"{where}, but `embedding1`, <string>:1:36, has 9 vectors, from 0 to 8"
        )
        assert fix in caught.value.helps[0]
