"""PyTorch's checkpoints from before zip files: one that it wrote, ones that the test writes, and hostile ones."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netdsl.weights.errors import BadWeightFile
from netdsl.weights.file import open_weights
from tests.support.torch_zip import Pickler, View
from tests.weights.test_pth import BOMB, DATA, TORCHS, A, read, refusal

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


class Legacy(Pickler):
    """A storage's identifier has a sixth entry: which part of another storage it is."""

    view_of: Any = None

    def code(self, value: Any) -> bytes:
        is_storage = isinstance(value, tuple) and value[:1] == ("storage",)
        return super().code((*value, self.view_of) if is_storage else value)


def legacy(value: Any, *, version: Any = VERSION, keys: Any = None, view_of: Any = None) -> bytes:
    """A checkpoint's bytes; `keys` stand in the place of its own list."""
    pickler = Legacy()
    pickler.view_of = view_of
    data = pickler.dump(value)
    own = [str(at) for at in range(len(pickler.storages))]
    head = b"".join(pickle.dumps(each, 2) for each in (MAGIC, version, SYSTEM))
    storages = (x.size.to_bytes(8, "little") + x.astype(x.dtype.newbyteorder("<")).tobytes() for x in pickler.storages)
    return head + data + pickle.dumps(own if keys is None else keys, 2) + b"".join(storages)


def written(folder: Path, data: bytes) -> str:
    path = folder / "old.pth"
    path.write_bytes(data)
    return str(path)


def test_a_file_of_pytorchs_own() -> None:
    found = read(str(DATA / "torch_legacy.pth"))
    assert list(found) == list(TORCHS)
    for key, array in TORCHS.items():
        assert found[key].shape == array.shape, key
        assert np.array_equal(found[key], array), key


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_other_protocols(protocol: int, tmp_path: Path) -> None:
    data = legacy(GOOD).removeprefix(pickle.dumps(MAGIC, 2))
    found = read(written(tmp_path, pickle.dumps(MAGIC, protocol) + data))
    assert np.array_equal(found["b"], A[0])


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "i4", "i2", "i1", "u1", "?"])
def test_types_and_shared_storages(dtype: str, tmp_path: Path) -> None:
    flat = np.arange(6).astype(dtype)
    value = {
        "all": View(flat, 0, (2, 3), (3, 1)),
        "turned": View(flat, 0, (3, 2), (1, 3)),
        "last": View(flat, 5, (), ()),
    }
    found = read(written(tmp_path, legacy({"state_dict": value, "epoch": 3})))
    assert np.array_equal(found["all"], flat.reshape(2, 3))
    assert np.array_equal(found["turned"], flat.reshape(2, 3).T)
    assert found["last"] == flat[5]
    assert {array.dtype for array in found.values()} == {np.dtype(dtype)}


GOOD = {"a": A, "b": A[0].copy()}

BAD = {
    "has the unknown version 1002": legacy(GOOD, version=1002),
    "has no list of storages": legacy(GOOD, keys={"0": 1}),
    "are 1 of 2": legacy(GOOD, keys=["0"]),
    "storage 7 that no tensor uses": legacy(GOOD, keys=["0", "7"]),
    "storage 0 that no tensor uses, or lists one twice": legacy(GOOD, keys=["0", "0"]),
    "storage list that no tensor uses": legacy(GOOD, keys=[[], "1"]),
    "expected 12": legacy(GOOD)[: -(12 * 4 + 8)] + (13).to_bytes(8, "little") + bytes(12 * 4),
    "truncated within its storage 1": legacy(GOOD)[:-1],
    "its storages end at byte": legacy(GOOD) + b"\0",
    "refers to a storage in an unknown way": legacy(GOOD, view_of=("1", 0, 3)),
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_damaged(message: str, tmp_path: Path) -> None:
    assert message in refusal(written(tmp_path, BAD[message]))


@pytest.mark.parametrize("place", [1, 4])
def test_what_would_take_for_ever_to_spell_out_is_not(place: int, tmp_path: Path) -> None:
    """Tuples within each other, each twice, in the place of the version and among the storages' keys."""
    bomb = b"\x80\x02](" + BOMB + b"e."
    parts = [*(pickle.dumps(each, 2) for each in (MAGIC, VERSION, SYSTEM, {})), pickle.dumps([], 2)]
    parts[place] = bomb
    assert ["version list", "storage tuple"][place == 4] in refusal(written(tmp_path, b"".join(parts)))


def test_a_storage_of_two_sizes(tmp_path: Path) -> None:
    pickler = Legacy()
    flat = A.reshape(-1)
    first = pickler.code(View(flat, 0, (2,), (1,)))
    pickler.counts[0] = 23
    second = pickler.code(View(flat, 0, (2,), (1,)))
    data = b"\x80\x02](" + first + second + b"e."
    head = b"".join(pickle.dumps(each, 2) for each in (MAGIC, VERSION, SYSTEM))
    assert "its storage 0 has two types or sizes" in refusal(written(tmp_path, head + data))


class Canary:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("place", range(5))
def test_no_pickle_in_it_is_run(place: int, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    parts = [MAGIC, VERSION, SYSTEM, {}, []]
    hidden = [*parts[:place], Canary(canary), *parts[place + 1 :]]
    data = b"".join(pickle.dumps(part, 2) for part in hidden)
    if place:
        assert "refers to `" in refusal(written(tmp_path, data))
        assert "mkdir" in refusal(written(tmp_path, data))
    else:  # then it does not begin as such a file does
        assert "is a pickle, which is never loaded" in refusal(written(tmp_path, data))
    assert not canary.exists()


def test_every_cut_is_refused(tmp_path: Path) -> None:
    data = legacy(GOOD)
    for end in range(len(data)):
        refusal(written(tmp_path, data[:end]))


def test_any_damage_ends_in_words(tmp_path: Path) -> None:
    """This form has no checksums: other numbers are read, of the shapes that the file says."""
    data = legacy(GOOD)
    refused = 0
    places = range(16, len(data), 2)
    for at in places:
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        try:
            file = open_weights(written(tmp_path, bytes(changed)))
            assert all(file.read(key).shape == entry.shape for key, entry in file.entries.items())
        except BadWeightFile:
            refused += 1
    assert len(places) / 3 < refused < len(places)
