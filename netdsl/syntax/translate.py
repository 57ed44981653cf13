"""Translate calls of PyTorch and Keras, `nn.Conv2d(1, 32, 3)`, into statements; for suggestions alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.diagnostics import foreign

if TYPE_CHECKING:
    from collections.abc import Sequence

    Given = Sequence[tuple[str, str]]
    """The arguments of a call, each with its keyword or an empty text."""

PLACES = {
    "conv": ("kernel", "channels"),
    "dwconv": ("kernel",),
    "deconv": ("kernel", "channels"),
    "dense": ("units",),
    "linear": ("units",),
    "embedding": ("vocabulary", "size"),
    **dict.fromkeys(("rnn", "gru", "lstm"), ("hidden",)),
    "maxpool": ("kernel",),
    "avgpool": ("kernel",),
    "adaptive_avgpool": ("sizes",),
    "dropout": ("p",),
    "drop_path": ("p",),
    "leaky_relu": ("slope",),
    "elu": ("alpha",),
    "celu": ("alpha",),
    "threshold": ("threshold",),
    "hard_shrink": ("limit",),
    "soft_shrink": ("limit",),
    "groupnorm": ("groups",),
    "upsample": ("factor", "how"),
    "pixel_shuffle": ("factor",),
    "pixel_unshuffle": ("factor",),
}
"""Our layers with positional arguments that can be translated, and these arguments."""

PYTORCH = {
    "conv": "- channels kernel stride pad dilation groups bias",
    "deconv": "- channels kernel stride pad output_pad groups bias dilation",
    "dense": "- units bias",
    "linear": "- units bias",
    "embedding": "vocabulary size",
    "rnn": "- hidden layers act bias - dropout bidirectional",
    **dict.fromkeys(("gru", "lstm"), "- hidden layers bias - dropout bidirectional"),
    "maxpool": "kernel stride pad dilation - ceil",
    "avgpool": "kernel stride pad ceil count_pad",
    "adaptive_avgpool": "sizes",
    "bn": "- eps momentum affine",
    "instancenorm": "- eps momentum affine",
    "layernorm": "- eps affine",
    "groupnorm": "groups - eps affine",
    "dropout": "p -",
    "drop_path": "p",
    "gelu": "tanh",
    "leaky_relu": "slope -",
    "elu": "alpha -",
    "celu": "alpha -",
    "threshold": "threshold value -",
    "hard_shrink": "limit",
    "soft_shrink": "limit",
    "glu": "dim",
    "prelu": "shared",
    "pixel_shuffle": "factor",
    "pixel_unshuffle": "factor",
    "upsample": "? factor how",
    "softmax": "dim",
    "log_softmax": "dim",
    "flatten": "start_dim end_dim",
    "adam": "- lr",
    "adamw": "- lr",
    "sgd": "- lr momentum",
    "rmsprop": "- lr",
}
"""The order of PyTorch's positional arguments in our words; `-` has no counterpart, and is left out."""

KERAS = {
    "conv": "channels kernel stride pad",
    "dwconv": "kernel stride pad",
    "deconv": "channels kernel stride pad",
    "dense": "units activation",
    "linear": "units activation",
    "embedding": "vocabulary size",
    **dict.fromkeys(("rnn", "gru", "lstm"), "hidden activation ? return_sequences dropout"),
    "maxpool": "kernel stride pad",
    "avgpool": "kernel stride pad",
    "dropout": "p",
    "gelu": "tanh",
    "leaky_relu": "slope",
    "elu": "alpha",
    "groupnorm": "groups",
    "upsample": "factor",
    "adam": "lr beta1 beta2 eps",
    "adamw": "lr decay beta1 beta2 eps",
    "sgd": "lr momentum nesterov",
    "rmsprop": "lr",
}
"""The order of Keras' positional arguments in our words."""

_OURS = {name: " ".join(places) for name, places in PLACES.items()}

_INITIALISERS = {
    "glorot_uniform": "xavier_uniform",
    "glorot_normal": "xavier_normal",
    "kaiming_normal": "he_normal",
    "kaiming_uniform": "he_uniform",
}
_IGNORED = foreign.words(
    "in_channels in_features num_features num_channels input_shape input_dim input_size batch_first inplace device "
    "data_format from_logits"
)
"""Keywords whose meaning is ours without them."""

_DEFAULTS = {
    "dim": "1",
    "axis": "-1",
    "start_dim": "1",
    "end_dim": "-1",
    "return_indices": "False",
    "track_running_stats": "True",
    "trainable": "True",
    "dtype": "float32",
}
"""Keywords whose meaning is ours with this value; others have no translation."""

_MODES = {"replicate": "edge", "circular": "wrap"}
"""PyTorch's names of paddings that are called otherwise here."""

_PADS = ("F.pad", "nn.functional.pad", "torch.nn.functional.pad")
_PAD_MODES = {"constant": "", "reflect": " mode reflect", "replicate": " mode edge", "circular": " mode wrap"}
"""The modes of PyTorch's F.pad, and ours."""

_BORDERS = {
    "zeropad": "",
    "zeropadding": "",
    "constantpad": "",
    "reflectionpad": "mode reflect",
    "replicationpad": "mode edge",
    "circularpad": "mode wrap",
}
"""Layers that pad, in the spelling of `foreign.plain`, and the keyword of `pad` that each needs."""

_UNTRANSLATED = foreign.words(
    """
    reshape permute concat slice select pad crop input scale normalize attention matmul grid_sample roi_align argmax
    rope
    """
)
"""Our layers whose arguments elsewhere count the batch, or are values."""

KEYWORDS = foreign.words(
    """
    stride pad pad_mode dilation bias init bias_init groups ceil count_pad eps momentum affine spatial output_pad
    multiplier how lr decay nesterov beta1 beta2 smoothing
    """
)
"""Our keywords that a call may have."""


def statement(called: str, given: Given, *, choice: bool = False, label: str = "") -> str | None:
    """Return the statement, or with `choice` the words in a `train` block, that a call means; None where it is unclear.

    `called` is the name with its dots, `label` what an input is called. Activations become statements of their own.
    """
    last = called.rpartition(".")[2]
    if foreign.plain(last) in _BORDERS:
        return _border(last, given)
    if foreign.plain(last) in ("interpolate", "upsamplingnearest", "upsamplingbilinear") or (
        last == "Upsample" and any(keyword == "size" for keyword, _ in given)
    ):
        return _resizing(foreign.plain(last), given)
    if last == "Activation" and len(given) == 1:
        return (_activation(given[0][1].strip("\"'")) or "").removeprefix("; ") or None
    if last == "MultiheadAttention":
        return _attention(given)
    name = _choice(last) if choice else foreign.called(last, foreign.OURS)
    if name is None or (foreign.instead(last) is not None and not choice):
        return None
    if name == "input":
        shape = channels_first_dims(next((value for keyword, value in given if keyword in ("", "shape")), ""))
        return f"input {label or 'image'} {shape}" if shape else None
    given = _with_activation(given)
    dialect = _dialect(called, given)
    if name == "drop_path":
        given = [(keyword, text) for keyword, text in given if text.strip("\"'") != "row"]
    if not given and (name == "glu" or (called == last and name in ("leaky_relu", "prelu"))):
        return None  # PyTorch and Keras have other defaults
    if name == "upsample" and dialect == "keras":
        given = [("scale_factor" if keyword == "size" else keyword, value) for keyword, value in given]
    if name in ("layernorm", "rmsnorm") and dialect == "pytorch":
        return None  # of the last axis, where the channels are the first
    if called.rpartition(".")[0] in ("F", "torch", "nn.functional") and not choice:
        given = given[1:] if name not in ("conv", "deconv", "linear", "bn") else [("", "?")]
        order = KERAS.get(name, "") if name not in ("avgpool", "maxpool") else PYTORCH[name]
    else:
        order = {"pytorch": PYTORCH, "keras": KERAS, "ours": _OURS}[dialect].get(name, "")
    if name in ("softmax", "log_softmax") and dialect == "pytorch" and (axis := _axis(given)):
        return f"{name} axis {axis}"
    found = _arguments(order, given)
    if found is None:
        return None
    activation = "" if name in _RECURRENT else _activation(found.pop("activation", ""))
    if activation is None or not _settle(name, dialect, found):
        return None
    words = [name.removesuffix(" affine off")]
    if name in _RECURRENT and dialect == "keras" and (drop := found.pop("dropout", "0")) != "0":
        words.insert(0, f"dropout {drop} spatial on;")  # of the inputs, alike at all places
    for place in PLACES.get(name, ()):
        if place in found:
            words.append(found.pop(place))
        elif place not in ("slope", "alpha", "limit", "how"):
            return None
    for keyword, value in found.items():
        words += [keyword, value]
    return " ".join(words) + activation


def _border(last: str, given: Given) -> str | None:
    """Return the `pad` that a padding layer means: PyTorch begins with the last axis, Keras with the first."""
    axes = re.search(r"([123])[dD]$", last)
    unnamed = [text for keyword, text in given if not keyword]
    words = dict(zip(("padding", "value"), unnamed, strict=False)) | {word: text for word, text in given if word}
    text = words.pop("padding", "")
    value = _value(words.pop("value", "0")) if foreign.plain(last) == "constantpad" else "0"
    if axes is None or words.keys() - {"data_format"} or value is None or not re.fullmatch(r"[\d, ()\[\]]+", text):
        return None
    numbers, rank = re.findall(r"\d+", text), int(axes[1])
    if len(numbers) == 1:
        sides = numbers[0]
    else:
        if len(numbers) == rank and axes[0][1] == "D":
            numbers = [number for number in numbers for _ in range(2)]
        if len(numbers) != 2 * rank:
            return None
        step = 1 if axes[0][1] == "D" else -1
        sides = f"[{', '.join([*numbers[::2][::step], *numbers[1::2][::step]])}]"
    return " ".join(filter(None, ("pad", sides, _BORDERS[foreign.plain(last)], f"value {value}" * (value != "0"))))


def paddings(called: str, given: Given) -> list[str]:
    """Return what PyTorch's `F.pad(x, (1, 1))` can mean, on one to three axes. It begins with the last axis, and leaves
    out the first ones."""
    unnamed = [text for keyword, text in given if not keyword]
    places = dict(zip(("input", "pad", "mode", "value"), unnamed, strict=False))
    words = places | {word: text for word, text in given if word}
    mode, value = words.get("mode", "constant").strip("\"'"), _value(words.get("value", "0"))
    numbers = re.findall(r"\d+", words.get("pad", ""))
    plain = re.fullmatch(r"[(\[][\d, ]+[)\]]", words.get("pad", "")) and len(numbers) % 2 == 0
    if called not in _PADS or not plain or value is None or mode not in _PAD_MODES:
        return []
    found = []
    for rank in range(len(numbers) // 2, 4):
        full = [*numbers, *["0"] * (2 * rank - len(numbers))]
        begins, ends = full[-2::-2], full[::-2]
        sides = full[0] if len(set(full)) == 1 else f"[{', '.join([*begins, *ends])}]"
        found.append(f"pad {sides}{_PAD_MODES[mode]}{f' value {value}' * (value not in ('0', ''))}")
    return found


def _attention(given: Given) -> str | None:
    """Return the layers that PyTorch's MultiheadAttention of one value means, without those of its arguments that have
    other defaults."""
    unnamed = [text for keyword, text in given if not keyword]
    words = dict(zip(("embed_dim", "num_heads"), unnamed, strict=False)) | {word: text for word, text in given if word}
    size, heads = words.pop("embed_dim", ""), words.pop("num_heads", "")
    drop = words.pop("dropout", "")
    words.pop("batch_first", "")
    if words or len(unnamed) > 2 or not (size.isidentifier() or size.isdecimal()) or not heads.isdecimal():
        return None
    return f"linear 3 * {size}; attention {heads}{f' dropout {drop}' if drop else ''}; linear {size}"


def _axis(given: Given) -> str:
    """Return the axis that a softmax of PyTorch is over; its `dim` counts the batch. Empty for the channels."""
    dims = [text for keyword, text in given if keyword in ("", "dim") and re.fullmatch(r"-\d+|[2-9]", text)]
    if len(given) != 1 or not dims:
        return ""
    return f"({dims[0]})" if dims[0].startswith("-") else str(int(dims[0]) - 1)


_INTERPOLATIONS = {
    "nearest": "nearest",
    "nearest-exact": "nearest_exact",
    "linear": "bilinear",
    "bilinear": "bilinear",
    "trilinear": "bilinear",
    "bicubic": "bicubic",
}
"""PyTorch's modes of interpolate, and ours."""


def _resizing(name: str, given: Given) -> str | None:
    """Return the `resize` or `upsample` that a call of PyTorch's interpolate or Upsample means."""
    places = ("input",) * (name == "interpolate") + ("size", "scale_factor", "mode", "align_corners")
    unnamed = [text for keyword, text in given if not keyword]
    words = dict(zip(places, unnamed, strict=False)) | {word: text for word, text in given if word}
    bilinear = name == "upsamplingbilinear"
    mode = _INTERPOLATIONS.get(words.pop("mode", "bilinear" if bilinear else "nearest").strip("\"'"))
    corners = words.pop("align_corners", str(bilinear)) == "True"
    size, factor = (_value(words.pop(word, "None")) for word in ("size", "scale_factor"))
    if mode is None or words.keys() - {"input"} or (corners and mode.startswith("nearest")):
        return None
    if size and not factor and re.fullmatch(r"\d+(x\d+)*", size):
        how = f" mode {mode}" * (mode != "nearest")
        return f"resize {size}{how}{' align_corners on' * corners}"
    if factor and not size and mode in ("nearest", "bilinear") and re.fullmatch(r"\d+(x\d+)*", factor):
        return f"upsample {factor}{' bilinear' * (mode == 'bilinear')}{' align on' * corners}"
    return None


def channels_first_dims(text: str) -> str:
    """Return the dims that `1x28x28`, `(1, 28, 28)` or `(shape=(28, 28, 1))` mean, channels first; else nothing."""
    found = re.fullmatch(r"(?:\(? *(?:(?:input_)?shape *=)? *[(\[]?) *(\d+(?:[x, ]+\d+)*) *,? *[)\]]*(.*)", text)
    if not found or "=" in found[2] or "(" in found[2]:
        return ""
    numbers = re.findall(r"\d+", found[1])
    if len(numbers) == 3 and numbers[2] in ("1", "3") and "x" not in found[1] and int(numbers[0]) > 3:
        numbers = [numbers[2], *numbers[:2]]
    return "x".join(numbers) + (f" {found[2].strip()}" if found[2].strip() else "")


def _choice(word: str) -> str:
    plain = word.casefold().replace("_", "")
    return foreign.CHOICES.get(plain, word.lower())


def _dialect(called: str, given: Given) -> str:
    """Return whose order the positional arguments have."""
    before, _, last = called.rpartition(".")
    if last.lower() in ("adam", "adamw", "sgd", "rmsprop"):
        return "keras" if given and not given[0][0] and given[0][1][:1].isdecimal() else "pytorch"
    numbers = [value for keyword, value in given if not keyword]
    if any(re.fullmatch(r"\d+(x\d+)+", text) for text in numbers):
        return "ours"
    plain = all(number.isdecimal() for number in numbers)
    is_conv = last[0].islower() and not before and foreign.called(last, foreign.OURS) in ("conv", "deconv")
    if is_conv and plain and len(numbers) == 2 and int(numbers[0]) > int(numbers[1]):
        return "keras"
    if re.search(r"[123]d$", last) or before in (
        "nn",
        "F",
        "torch",
        "torch.nn",
        "nn.functional",
        "optim",
        "torch.optim",
    ):
        return "pytorch"
    if (
        re.search(r"[123]D(Transpose)?$", last)
        or last in ("Dense", "BatchNormalization", "LayerNormalization")
        or before
    ):
        return "keras"
    if foreign.called(last, foreign.OURS) in _RECURRENT and last[0].isupper():
        quoted = len(numbers) > 1 and numbers[1][:1] in ("'", '"')
        keras = len(numbers) == 1 or quoted or any(word == "units" for word, _ in given)
        return "keras" if keras else "pytorch"
    if last[0].isupper():
        return "keras" if last.endswith("ization") or last == "Embedding" else "pytorch"
    return "pytorch" if last == "linear" or (is_conv and len(numbers) > 2) else "ours"


def _with_activation(given: Given) -> Given:
    """Return the arguments with an activation at the end as a keyword: `(10, relu)` is `(10, activation=relu)`."""
    if len(given) < 2 or given[-1][0]:
        return given
    word = given[-1][1].strip("\"'")
    is_one = foreign.called(word, foreign.OURS) in (*foreign.ACTIVATIONS, "relu", "sigmoid", "leaky_relu", "silu")
    return [*given[:-1], ("activation", word)] if is_one else given


def _arguments(order: str, given: Given) -> dict[str, str] | None:
    """Return the values by our names of the arguments; None where one has no translation."""
    places = order.split()
    found: dict[str, str] = {}
    place = 0
    for keyword, text in _without_pairs(given):
        if not keyword:
            if place == len(places):
                return None
            name, place = places[place], place + 1
        else:
            name = _keyword(keyword, order)
        if name in _DEFAULTS and text.strip("\"'") != _DEFAULTS[name]:
            return None
        if name in ("-", "") or name in _DEFAULTS:
            continue
        if name == "pad_mode":
            text = _MODES.get(text.strip("\"'"), text)
        drawn = _INITIALISERS.get(text.strip("\"'")) if name in ("init", "bias_init") else None
        value = drawn or _value(text)
        if value is None or name == "?" or name in found:
            return None
        if value:
            found[name] = value
    return found


def _without_pairs(given: Given) -> Given:
    """Return the arguments with `betas=(0.9, 0.999)` as two."""
    found: list[tuple[str, str]] = []
    for keyword, text in given:
        betas = re.fullmatch(r"[(\[] *([\w.-]+) *, *([\w.-]+) *[)\]]", text) if keyword == "betas" else None
        found += [("beta1", betas[1]), ("beta2", betas[2])] if betas else [(keyword, text)]
    return found


def _keyword(keyword: str, order: str) -> str:
    """Return our name of a keyword; empty where it is left out, `?` where it has no translation."""
    word = keyword.casefold()
    if word in ("activation", "act"):
        return "activation"
    if word in _IGNORED or word in _DEFAULTS:
        return word if word in _DEFAULTS else ""
    places = order.split()
    if word in (*places, *KEYWORDS):
        return word
    return foreign.argument(word, places) or foreign.argument(word, KEYWORDS) or "?"


def _value(text: str) -> str | None:
    """Return a value in our notation, empty for `None`; None where it has none."""
    switch = {"True": "on", "true": "on", "False": "off", "false": "off", "None": ""}.get(text)
    if switch is not None:
        return switch
    if sizes := re.fullmatch(r"[(\[] *(\d+(?: *, *\d+)*) *,? *[)\]]", text):
        return "x".join(re.split(r" *, *", sizes[1]))
    if quoted := re.fullmatch(r"""["']([A-Za-z_]\w*)["']""", text):
        return quoted[1].lower()
    if re.fullmatch(r"-\d[\w.]*", text):
        return f"({text})"
    return text if re.fullmatch(r"[\w.]+|[\d.]+e[+-]\d+|\([^()]*\)|\[[^\[\]]*\]", text) else None


def _activation(word: str) -> str | None:
    """Return the statement of an activation after a layer; None for one that netdsl lacks."""
    last = word.rpartition(".")[2]
    if last in ("", "linear"):
        return ""
    name = foreign.called(last, foreign.OURS)
    return f"; {name}" if name and foreign.instead(last) is None else None


_RECURRENT = ("rnn", "gru", "lstm")


def _settle_recurrent(dialect: str, found: dict[str, str]) -> bool:
    """Make Keras' default, the last place only, explicit; its other activations have no counterpart."""
    if dialect != "keras":
        return True
    if found.pop("return_sequences", "off") == "off":
        found["last"] = "on"
    return found.pop("activation", "tanh") == "tanh"


def _settle(name: str, dialect: str, found: dict[str, str]) -> bool:
    """Make defaults explicit that are not ours; return whether that could be done."""
    if name in _RECURRENT and not _settle_recurrent(dialect, found):
        return False
    if name in ("conv", "dwconv", "deconv") and dialect != "ours":
        found.setdefault("pad", "0")
    if dialect == "keras" and found.get("pad") == "same":
        even = any(int(k) % 2 == 0 for k in re.findall(r"\d+", found.get("kernel", "")))
        if found.get("stride", "1") not in ("1", "1x1") or even:
            found["pad"] = "same_upper"
    if dialect == "keras" and name == "bn":
        found.setdefault("eps", "1e-3")
        found["momentum"] = f"1 - {found['momentum']}" if "momentum" in found else "0.01"
        found["momentum"] = f"({found['momentum']})" if " " in found["momentum"] else found["momentum"]
    if dialect == "keras" and name in ("layernorm", "groupnorm"):
        found.setdefault("eps", "1e-3")
    if dialect == "keras" and name == "leaky_relu":
        found.setdefault("slope", "0.3")
    if dialect == "pytorch" and name == "instancenorm":
        found.setdefault("affine", "off")
        found.pop("momentum", None)
    if dialect == "pytorch" and name == "avgpool" and "pad" in found:
        found.setdefault("count_pad", "on")
    if name == "gelu" and found.pop("tanh", "off") not in ("off", "none"):
        found["tanh"] = "on"
    if dialect == "pytorch" and name == "prelu":
        found["shared"] = "on" if found.get("shared", "1") == "1" else "off"
    return name not in _UNTRANSLATED
