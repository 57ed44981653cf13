"""Which providers compute in half precision, and what cannot be combined with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.backend.compile import OPSET
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.ir.graph import HALVES
from netdsl.passes.mixed import BF16_CONV_OPSET, has_bf16_convolutions

if TYPE_CHECKING:
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.graph import Graph
    from netdsl.train.runner import Choices

PROVIDERS = {"cuda": HALVES, "migraphx": ("f16",), "directml": ("f16",), "webgpu": ("f16",)}
"""Types of half precision in which providers compute. Others convert to f32, or choose the type themselves."""

PRODUCT_NODES = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Scan"})
"""Types of the nodes that are products, which no provider may leave to the CPU: it would compute them in f32."""


class NoHalf(UserError, code="E0936", title="a provider without half precision", exit_code=USAGE_IS_WRONG):
    """onnxruntime's CPU provider converts f16 to f32, computes in f32 without rounding, and does not compute in bf16.
    Some others choose the type themselves. `--emulate` rounds as the type does, and computes in f32.

    ```sh
    netdsl train net.net --dtype bf16 --provider cuda
    netdsl train net.net --dtype bf16 --emulate
    ```
    """


class PrecisionClash(UserError, code="E0937", title="options that contradict the type", exit_code=USAGE_IS_WRONG):
    """The step backend `nchwc` computes in f32, and `--emulate` needs a type of half precision.

    ```sh
    netdsl train net.net --dtype f16 --emulate
    ```
    """


def check_precision(recipe: Recipe, choices: Choices) -> None:
    """Raise NoHalf if the provider does not compute in the type of a recipe, and PrecisionClash for choices that
    contradict it."""
    dtype, provider = recipe.dtype, choices.provider.partition(":")[0].strip().lower()
    if dtype == "f32":
        if choices.emulated:
            raise PrecisionClash("--emulate emulates f16 or bf16, but the training is in f32", "add `--dtype bf16`")
        return
    if choices.step_backend == "nchwc":
        raise PrecisionClash(
            f"the step backend `nchwc` computes in f32, but the training has `dtype {dtype}`",
            "leave out `--step-backend nchwc`",
        )
    if choices.emulated or dtype in PROVIDERS.get(provider, ()):
        return
    able = [name for name, types in PROVIDERS.items() if dtype in types]
    raise NoHalf(
        f"the provider `{provider}` does not compute in {dtype}",
        f"choose another: `--provider {able[0]}`" if len(able) == 1 else f"choose one of {', '.join(able)}",
        "`--dtype f32` trains in f32; `--emulate` rounds as the type does, but is slower",
    )


def session_opset(graph: Graph) -> int:
    """Return the opset at which to emit a step for a session: the default one if that has its operators."""
    return BF16_CONV_OPSET if has_bf16_convolutions(graph) else OPSET
