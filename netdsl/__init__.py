"""netdsl: neural networks as short as the table in their paper, compiled to ONNX.

```python
net = netdsl.load("resnet", depth=101, classes=10)
net.save("resnet101.onnx", weights="resnet101.safetensors")
outputs = net.session()(image=array)
```
"""

from __future__ import annotations

import os

os.environ.setdefault(
    "ORT_DISABLE_TELEMETRY", "1"
)  # onnxruntime 1.32 reports its use unless this is set before the import

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netdsl.api import *  # noqa: F403

    __version__: str
else:

    def __getattr__(name: str) -> object:
        """The names of the Python API, imported on first use."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from netdsl import api

        value = globals()[name] = getattr(api, name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [  # noqa: F405
    "Error",
    "Layer",
    "Net",
    "NetError",
    "NetWarning",
    "Parameter",
    "Picture",
    "Problem",
    "Problems",
    "Result",
    "Session",
    "Summary",
    "Table",
    "Trained",
    "UserError",
    "Value",
    "Zoo",
    "ZooEntry",
    "__version__",
    "check",
    "compare",
    "diff",
    "evaluate",
    "fit",
    "format",
    "import_model",
    "load",
    "load_ipython_extension",
    "parse",
    "tensors",
    "verify",
    "zoo",
]
