"""Read sharded checkpoints: a JSON index with the file name of each tensor, as written by Hugging Face's libraries.

The index is called `model.safetensors.index.json` or `pytorch_model.bin.index.json`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from netdsl.base.files import beneath, open_file
from netdsl.weights.errors import BadWeightFile
from netdsl.weights.file import Entry, WeightFile, open_weights

if TYPE_CHECKING:
    from netdsl.base.dtypes import Array

MAX_INDEX_BYTES = 2**26
MAX_SHARDS_SHOWN = 5


class ShardedWeights(WeightFile):
    """The tensors of all files in an index."""

    __slots__ = ("_shards",)

    def __init__(self, path: str) -> None:
        self.path = path
        places = self._read_index()
        shards = {name: open_weights(self._file(name), shard=True) for name in dict.fromkeys(places.values())}
        for name, shard in shards.items():
            for key in shard.entries.keys() - places.keys():
                raise self.damaged(f"{name} contains `{key}`, which is not in the index")
            for key in shard.entries:
                if places[key] != name:
                    raise self.damaged(f"`{key}` is in {name}, expected in {places[key]}")
        if lost := [key for key, name in places.items() if key not in shards[name].entries]:
            raise self.damaged(f"`{lost[0]}` is not in {places[lost[0]]}")
        self._shards = {key: shards[name] for key, name in places.items()}
        self.entries: dict[str, Entry] = {key: shard.entries[key] for key, shard in self._shards.items()}

    def _read_index(self) -> dict[str, str]:
        """Return the file name of each tensor."""
        with open_file(self.path) as file:
            text = file.read(MAX_INDEX_BYTES + 1)
        if len(text) > MAX_INDEX_BYTES:
            raise self.damaged(f"an index has at most {MAX_INDEX_BYTES:,} bytes")
        index = self.parse_json(text, "it")
        match index:
            case {"weight_map": dict(places)} if places:
                pass
            case _:
                raise BadWeightFile(f"{self.path} is JSON without a `weight_map`, not an index of weights")
        if all(isinstance(name, list) or str(name).endswith(".weights.h5") for name in places.values()):
            raise BadWeightFile(
                f"{self.path} is the index of sharded Keras weights, which are not supported",
                "save them in one file, without `max_shard_size`",
            )
        names = {key: name for key, name in places.items() if isinstance(name, str)}
        if len(names) < len(places):
            raise self.damaged("its `weight_map` contains something other than file names")
        return names

    def _file(self, name: str) -> str:
        """Return the path of a shard, which must be in the folder of the index. Raises BadWeightFile.

        In Hugging Face's cache, index and shards are links; a shard may then link to the folder that the index links
        to.
        """
        folder = os.path.abspath(os.path.dirname(self.path))
        path = beneath(folder, name) or beneath(os.path.dirname(os.path.realpath(self.path)), f"{folder}/{name}")
        if os.path.basename(name) != name or path is None:
            raise self.damaged(f"its shard {name or 'without a name'} is not in its folder")
        if not os.path.exists(path):
            raise BadWeightFile(f"{self.path} needs {name}, which is missing", "download all shards")
        return path

    def read(self, key: str) -> Array:
        return self._shards[key].read(key)
