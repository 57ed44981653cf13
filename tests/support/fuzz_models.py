"""Random files of other tools' models: mutants of small ones, and ones that ask for much in few bytes.

All of a case is drawn from one `random.Random`, so that a number stands for it.
"""

from __future__ import annotations

import copy
import io
import json
import re
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.foreign_models import CAFFE, DARKNET, caffe_weights, caffemodel, darknet_weights, field
from tests.support.fuzz_bytes import NAMES, NUMBERS, REALS, WORDS, Case, changed_bytes, changed_message
from tests.support.fuzz_onnx import onnx_case
from tests.support.paths import DATA


def case(seed: int) -> Case:
    """Return the case of a number."""
    random = Random(seed)
    return random.choice([onnx_case, onnx_case, onnx_case, _caffe, _darknet, _keras])(random)


TOKENS = re.compile(r"[A-Za-z_]\w*|[-+]?[\d.]+|\"[^\"\n]*\"|\s+|.", re.DOTALL)


@cache
def _vocabulary(kind: str) -> list[str]:
    texts = CAFFE if kind == "caffe" else DARKNET
    return sorted({token for text in texts.values() for token in TOKENS.findall(text)})


def _text(random: Random, kind: str, text: str) -> str:
    """Return a text with a few tokens or lines that are others, gone, moved, or there many times."""
    tokens = TOKENS.findall(text)
    for _ in range(random.choice([1, 1, 2, 5])):
        if not tokens:
            break
        at = random.randrange(len(tokens))
        match random.randrange(7):
            case 0 | 1:
                numbers = [i for i, token in enumerate(tokens) if token.lstrip("-+").replace(".", "").isdigit()]
                tokens[random.choice(numbers or [at])] = random.choice(WORDS)
            case 2:
                tokens[at] = random.choice(_vocabulary(kind))
            case 3:
                del tokens[at : at + random.choice([1, 1, 5])]
            case 4:
                other = random.randrange(len(tokens))
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case 5:
                end = at + random.choice([1, 12, 60])
                tokens[at:at] = tokens[at:end] * random.choice([1, 2, 200])
            case _:
                tokens[at:at] = [random.choice([*WORDS, *NAMES])] * random.choice([1, 1, 60, 20_000])
    return "".join(tokens)


@cache
def caffe_files() -> list[tuple[str, bytes, bytes]]:
    """Return nets of Caffe, each with its weights in both versions."""
    found = []
    with TemporaryDirectory() as folder:
        for text in CAFFE.values():
            path = Path(folder, "m.prototxt")
            path.write_text(text)
            arrays = caffe_weights(path)
            found.append((text, caffemodel(arrays), caffemodel(arrays, version=1, packed=False, legacy=True)))
    return found


def _caffe(random: Random) -> Case:
    text, *weights = random.choice(caffe_files())
    files = {}
    what = random.randrange(5)
    if what < 3:
        text = _text(random, "caffe", text) if what else random.choice(CAFFE_HUNGRY)(random)
    data = random.choice(weights)
    if what in (0, 3):
        data = random.choice([changed_bytes, changed_message])(random, data)
    if what == 4:
        data = changed_message(random, field(100, field(1, b"fc") + data) + data)
    files["m.prototxt"] = text.encode("utf-8", "replace")
    if random.randrange(3):
        files["m.caffemodel"] = data
        return Case("caffe", "m.prototxt", files, weights="m.caffemodel")
    return Case("caffe", "m.prototxt", files)


def _caffe_layers(random: Random) -> str:
    """Many layers, in a chain that may be a cycle."""
    head = f'input: "data" input_dim: 1 input_dim: {random.choice([1, 3, 4096])} input_dim: 8 input_dim: 8\n'
    count = random.choice([50, 2000])
    size = random.choice([1, 64, 2**14, 2**30])
    kinds = [
        'type: "ReLU"',
        'type: "Eltwise" bottom: "v0"',
        'type: "Concat" bottom: "v0"',
        f'type: "InnerProduct" inner_product_param {{ num_output: {size} }}',
        f'type: "Convolution" convolution_param {{ num_output: 2 kernel_size: 1 pad: {size} }}',
        f'type: "Upsample" upsample_param {{ scale: {size} }}',
        f'type: "Tile" tile_param {{ axis: 1 tiles: {size} }}',
    ]
    kind, cycle = random.choice(kinds), random.randrange(4) == 0
    names = ["data", *(f"v{at % 40 if cycle else at}" for at in range(count))]
    ends = (f'bottom: "{names[at]}" top: "{names[at + 1]}"' for at in range(count))
    return head + "".join(f'layer {{ name: "l{at}" {kind} {each} }}\n' for at, each in enumerate(ends))


CAFFE_HUNGRY: list[Callable[[Random], str]] = [
    _caffe_layers,
    lambda random: "a {" * random.choice([40, 51, 5000, 100_000]) + "}" * random.choice([0, 60]),
    lambda random: "a: [" * random.choice([2, 100_000]),
    lambda random: 'input: "data" ' + "input_dim: 1 " * random.choice([33, 100_000]),
]


@cache
def darknet_files() -> list[tuple[str, bytes]]:
    found = []
    with TemporaryDirectory() as folder:
        for text in DARKNET.values():
            path = Path(folder, "m.cfg")
            path.write_text(text)
            found.append((text, darknet_weights(path)))
    return found


def _darknet(random: Random) -> Case:
    text, data = random.choice(darknet_files())
    what = random.randrange(4)
    if what:
        text = _text(random, "darknet", text) if what < 3 else _darknet_sections(random)
    if what != 1:
        header = b"".join(random.choice(NUMBERS).to_bytes(8, "little", signed=True)[:4] for _ in range(4))
        data = random.choice([changed_bytes(random, data), header + data[16:], data[: random.randrange(40)]])
    files = {"m.cfg": text.encode("utf-8", "replace")}
    options = {"eps": random.choice([None, "cpu", "1e-6", "nan", "-1", "1e999"])}
    if random.randrange(3):
        files["m.weights"] = data
        options["weights"] = "m.weights"
    return Case("darknet", "m.cfg", files, **options)


def _darknet_sections(random: Random) -> str:
    size = random.choice([1, 8, 2**12, 2**31, 10**17])
    sections = [
        f"[convolutional]\nfilters={size}\nsize=1\nstride=1\n",
        "[shortcut]\nfrom=-1\n",
        f"[route]\nlayers={','.join(['-1'] * random.choice([2, 4, 3000]))}\n",
        f"[upsample]\nstride={size}\n",
        f"[maxpool]\nsize={size}\nstride=1\n",
        f"[connected]\noutput={size}\n",
        f"[convolutional]\nfilters=2\nsize=1\npadding={size}\nshare_index=0\n",
        "[route]\nlayers=1,0\n",
        f"[reorg]\nstride={size}\n",
    ]
    body = [random.choice(sections) for _ in range(random.choice([1, 3]))]
    height = random.choice([1, 8, size])
    return f"[net]\nheight={height}\nwidth={height}\nchannels=3\n" + "".join(body) * random.choice([1, 30, 3000])


# --- Keras ---


@cache
def keras_files() -> list[dict[str, bytes]]:
    """Return the members of models that Keras wrote."""
    found = []
    for path in sorted(DATA.glob("keras_*.keras")):
        with zipfile.ZipFile(path) as archive:
            found.append({name: archive.read(name) for name in archive.namelist()})
    return found


def _keras(random: Random) -> Case:
    members = dict(random.choice(keras_files()))
    what = random.randrange(5)
    if what < 3:
        config = json.loads(members["config.json"])
        try:
            for _ in range(random.choice([1, 1, 2, 4])):
                _change_json(random, config)
            members["config.json"] = json.dumps(config).encode()
        except RecursionError:
            members["config.json"] = b"[" * 100_000
    elif what == 3:
        name = random.choice(sorted(members))
        members[name] = changed_bytes(random, members[name])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", random.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        if random.randrange(12) == 0:
            archive.writestr(random.choice(["../x", "/x", "x\x00y", "assets/x"]), bytes(random.choice([1, 10**7])))
    whole = buffer.getvalue()
    return Case("keras", "m.keras", {"m.keras": changed_bytes(random, whole) if what == 4 else whole})


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return all containers of a configuration with each of their keys."""
    found, waiting = [], [value]
    while waiting and len(found) < 20_000:
        each = waiting.pop()
        items = list(each.items()) if isinstance(each, dict) else list(enumerate(each))
        found += [(each, key) for key, _ in items]
        waiting += [inner for _, inner in items if isinstance(inner, (dict, list))]
    return found


def _change_json(random: Random, config: Any) -> None:
    places = _places(config)
    if not places:
        return
    holder, key = random.choice(places)
    match random.randrange(7):
        case 0:
            del holder[key]
        case 1 | 2:
            other, another = random.choice(places)
            holder[key] = copy.deepcopy(other[another])
        case 3:
            holder[key] = random.choice([*NUMBERS, *REALS, None, True, [], {}, [None] * 4, 10**400])
        case 4:
            holder[key] = random.choice([*NAMES, "valid", "same", "channels_first", "channels_last", "relu", "Lambda"])
        case 5 if isinstance(holder, list):
            holder.extend(copy.deepcopy(holder[key]) for _ in range(random.choice([1, 3, 300])))
        case _:
            inner: Any = holder[key]
            for _ in range(random.choice([1, 5, 90, 400])):
                inner = {"class_name": "Sequential", "config": {"layers": [inner]}} if random.randrange(2) else [inner]
            holder[key] = inner
