"""Where in a checkpoint the weights are: a dictionary from names to tensors, often among others."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from netdsl.diagnostics.terminal import escape
from netdsl.weights.errors import BadWeightFile

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

USUAL = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params")
"""What people call the weights in a checkpoint that holds more, the most telling first."""

OTHERS = ("optim", "sched", "scaler", "lr_")
"""What the state of a training is called by."""

SHOWN = 10
DEEPEST = 20
"""Dictionaries within each other; what lies deeper is nobody's weights."""


def find(root: object, kind: type[T], path: str) -> dict[str, T]:
    """The tensors by name of a dictionary, or of the one inside it that holds weights; what else is beside them, such
    as an epoch's number, is passed over. Raises BadWeightFile where there is none, or more than one that it may be."""
    if isinstance(root, kind):
        raise BadWeightFile(f"{escape(path)} is a single tensor without a name")
    found = list(_candidates(root, kind))
    if not found:
        raise BadWeightFile(f"{escape(path)} holds no tensors by name")
    best = min(_rank(name) for name, _ in found)
    chosen = [(name, tensors) for name, tensors in found if _rank(name) == best]
    if len(chosen) > 1:
        names = ", ".join(escape(".".join(name)) for name, _ in chosen[:SHOWN]) + ", …" * (len(chosen) > SHOWN)
        raise BadWeightFile(
            f"{escape(path)} holds {len(chosen)} sets of weights: {names}", "save the one that is meant in its own file"
        )
    return chosen[0][1]


def _candidates(root: object, kind: type[T]) -> Iterator[tuple[tuple[str, ...], dict[str, T]]]:
    """Each dictionary with tensors in it, and the path of names to it."""
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], object]] = [((), root)]
    for name, value in waiting:  # which grows
        if not isinstance(value, dict) or id(value) in seen:
            continue
        seen.add(id(value))
        tensors = {key: item for key, item in value.items() if isinstance(item, kind) and isinstance(key, str)}
        if tensors:
            yield name, tensors
        if len(name) < DEEPEST:
            waiting += [((*name, str(key)), item) for key, item in value.items() if isinstance(item, dict)]


def _rank(name: tuple[str, ...]) -> tuple[bool, int, int]:
    """Lower is likelier: what is called as weights are, and then what lies outermost."""
    words = [word.lower() for word in name]
    training = any(word.startswith(OTHERS) for word in words)
    usual = min((USUAL.index(word) for word in words if word in USUAL), default=len(USUAL))
    return training, usual, len(name)
