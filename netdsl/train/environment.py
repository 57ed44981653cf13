"""What a run depends on besides its net and recipe: the values of the data, versions and the processor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnxruntime

from netdsl.base.version import VERSION
from netdsl.ir.names import OWN
from netdsl.train.folder import OtherRun
from netdsl.train.tune import processor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdsl.train.loop import Trainer

DATA, MADE_WITH = "data", "made_with"
WORDS = {"netdsl": "netdsl", "onnxruntime": "onnxruntime", "processor": "the processor"}


def surroundings(trainer: Trainer) -> dict[str, dict[str, str]]:
    """Return the description of the environment that a checkpoint keeps."""
    data = {f"the training's `{name}`": digest for name, digest in trainer.dataset.digests().items()}
    if trainer.validation is not None:
        found = trainer.validation[1].digests()
        data |= {f"the validation's `{name}`": digest for name, digest in found.items()}
    data |= {f"the training's `{key.removeprefix(OWN)}`": text for key, text in trainer.names.metadata.items()}
    made_with = {"netdsl": VERSION, "onnxruntime": onnxruntime.__version__, "processor": processor()}
    return {DATA: data, MADE_WITH: made_with}


def check_data(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise OtherRun if the values of the data have changed. What the checkpoint does not record is not compared."""
    for name, digest in now[DATA].items():
        if then.get(DATA, {}).get(name, digest) != digest:
            raise OtherRun(
                f"the data have changed: {name} is not what it was when the checkpoint was made",
                "--out names another folder for another run, and --force begins this one anew",
            )


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return sentences about versions and processors that differ: a run resumes anyway, with possibly other bits."""
    before, after = then.get(MADE_WITH, {}), now[MADE_WITH]
    changed = [
        f"{WORDS[key]} was {before[key]} and is {after[key]}"
        for key in WORDS
        if before.get(key, after[key]) != after[key]
    ]
    return [f"{each}: the last bits may differ from an unbroken run's" for each in changed]
