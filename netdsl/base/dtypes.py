"""Element types by NumPy's names, and their names in file formats. No NumPy is imported here.

`bfloat16` and the floats of 8 bits or fewer, which NumPy lacks, have the names of the `ml_dtypes` package.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import dtype
    from numpy.typing import NDArray

    Array = NDArray[Any]
    DType = dtype[Any]

NUMPY_NAMES = {"f16": "float16", "f32": "float32", "u8": "uint8", "i64": "int64"}
"""NumPy's names of the element types of an input."""

FLOATS = ("float16", "bfloat16", "float32", "float64")
"""Types that a weight can have in a file; all are converted to float32."""

# name, safetensors, ONNX's TensorProto, storage in PyTorch
_TABLE = (
    ("bool", "BOOL", 9, "BoolStorage"),
    ("uint8", "U8", 2, "ByteStorage"),
    ("int8", "I8", 3, "CharStorage"),
    ("uint16", "U16", 4, ""),
    ("int16", "I16", 5, "ShortStorage"),
    ("uint32", "U32", 12, ""),
    ("int32", "I32", 6, "IntStorage"),
    ("uint64", "U64", 13, ""),
    ("int64", "I64", 7, "LongStorage"),
    ("float16", "F16", 10, "HalfStorage"),
    ("bfloat16", "BF16", 16, "BFloat16Storage"),
    ("float32", "F32", 1, "FloatStorage"),
    ("float64", "F64", 11, "DoubleStorage"),
    ("complex64", "C64", 0, ""),
    ("float4_e2m1", "F4", 23, ""),
    ("float6_e2m3", "F6_E2M3", 0, ""),
    ("float6_e3m2", "F6_E3M2", 0, ""),
    ("float8_e4m3", "F8_E4M3", 0, ""),
    ("float8_e4m3fn", "", 17, ""),
    ("float8_e4m3fnuz", "F8_E4M3FNUZ", 18, ""),
    ("float8_e5m2", "F8_E5M2", 19, ""),
    ("float8_e5m2fnuz", "F8_E5M2FNUZ", 20, ""),
    ("float8_e8m0", "F8_E8M0", 24, ""),
)

SAFETENSORS = {there: name for name, there, _, _ in _TABLE if there}
ONNX = {there: name for name, _, there, _ in _TABLE if there}
TORCH = {there: name for name, _, _, there in _TABLE if there}


def byte_size(dtype: str, shape: tuple[int, ...]) -> int:
    """Return the size of an array in bytes. The first number in a type's name is the bits of an element."""
    bits = re.search(r"\d+", dtype)
    return -(-math.prod(shape) * (int(bits[0]) if bits else 8) // 8)


def stored(dtype: str) -> str:
    """Return the type by which NumPy reads elements of a type: for bfloat16, that of their bits."""
    return "uint16" if dtype == "bfloat16" else dtype


def widened(array: Array, dtype: str) -> Array:
    """Return an array read as `stored(dtype)` with its values: bfloat16, the upper half of a float32, as float32."""
    return (array.astype("uint32") << 16).view("float32") if dtype == "bfloat16" else array


def bfloat16_bits(array: Array) -> Array:
    """Return the bits of an array of float32 rounded to bfloat16, to the nearest and of two such to the even one."""
    bits = array.astype("float32").view("uint32")
    found: Array = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("uint16")
    found[array != array] = 0x7FC0
    return found
