"""Read the classes of modules from the metadata of nodes, as PyTorch's newer exporter writes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from netdsl.importing.scopes import parts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

SCOPES = "pkg.torch.onnx.name_scopes"
"""Key of a node's metadata with the modules that it is in, and its own name."""

CLASSES = "pkg.torch.onnx.class_hierarchy"
"""Key of a node's metadata with the classes of these modules, and its operator."""

CONTAINERS = "torch.nn.modules.container."
"""How the names of classes begin that say nothing about what is in them."""


def module_classes(nodes: Iterable[Any]) -> dict[str, str]:
    """Return the names of classes by those of modules."""
    found: dict[str, str] = {}
    for node in nodes:
        texts = {entry.key: entry.value for entry in node.metadata_props if entry.key in (SCOPES, CLASSES)}
        scopes, classes = (re.findall(r"'([^']*)'", texts.get(key, "")) for key in (SCOPES, CLASSES))
        if len(scopes) != len(classes):
            continue
        for scope, name in zip(scopes[:-1], classes, strict=False):
            if scope and not name.startswith(CONTAINERS):
                found.setdefault(".".join(parts(scope)), name.rpartition(".")[2])
    return found
