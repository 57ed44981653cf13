"""What stands beside the tensors of a checkpoint: the options of a training, counts, paths. None of it is made.

Nothing here keeps what it is given, so that no program makes more than it is long.
"""

from __future__ import annotations

import re

from netdsl.weights.pickle_machine import Function, Inert, Refused, shown

TYPE = re.compile(r"[<>|=]?([biufcmMSU])(\d{1,9})")
"""NumPy's types of numbers, times and texts: `f8`; and none of objects, or of fields."""


class NumpyType(Inert):
    """A type of NumPy's, and the bytes of a value."""

    __slots__ = ("width",)

    def __init__(self, width: int) -> None:
        self.width = width


def _type(code: object, *_: object) -> NumpyType:
    if not isinstance(code, str) or not (found := TYPE.fullmatch(code)):
        raise Refused(f"it has a NumPy type `{shown(code)}`, which is none of numbers and texts")
    return NumpyType(int(found[2]) * (4 if found[1] == "U" else 1))


def _scalar(kind: object, data: object) -> Inert:
    if not isinstance(kind, NumpyType) or not isinstance(data, bytes | str) or len(data) != kind.width:
        raise Refused("a number of NumPy's has not the bytes of its type")
    return Inert()


def _encoded(text: object, encoding: object) -> str:
    """How the oldest protocols write bytes; the text has as many characters."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("it has bytes that are written in an unknown way")
    return text


def _default_dict(*_: object) -> dict[object, object]:
    return {}


def _unused(*_: object) -> Inert:
    return Inert()


UNUSED = Function(_unused)
TYPES = ("int", "float", "str", "bool", "list", "dict")
ARRAYS = ("multiarray._reconstruct", "numeric._frombuffer")
CALLED = ("set", "frozenset", "complex", "bytearray")
TORCH_TYPES = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128"

BYSTANDERS: dict[str, object] = {
    "_codecs.encode": Function(_encoded),
    "argparse.Namespace": UNUSED,
    "collections.Counter": UNUSED,
    "collections.defaultdict": Function(_default_dict),
    "numpy.dtype": Function(_type),
    **{f"numpy.{core}.multiarray.scalar": Function(_scalar) for core in ("core", "_core")},
    **{f"numpy.{core}.{make}": UNUSED for core in ("core", "_core") for make in ARRAYS},
    "numpy.ndarray": Inert(),
    "torch.device": UNUSED,
    "torch.serialization._get_layout": UNUSED,
    **{f"torch.{name}": Inert() for name in TORCH_TYPES.split()},
    **{f"{module}.{name}": Inert() for module in ("builtins", "__builtin__") for name in TYPES},
    **{f"{module}.{name}": UNUSED for module in ("builtins", "__builtin__") for name in CALLED},
    **{
        f"{module}.{pure}{system}Path": UNUSED
        for module in ("pathlib", "pathlib._local")
        for pure in ("", "Pure")
        for system in ("", "Posix", "Windows")
    },
}
"""What a pickle may ask for besides tensors; the types are what a `defaultdict` has for its missing values."""
