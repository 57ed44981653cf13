"""Checks of a model in any form: onnx's checker, shapes, and the same outputs wherever and however it runs."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from netdsl.app.verify.child import Failed
from netdsl.app.verify.outcome import OK, Inapplicable, Outcome, Skip, judged
from netdsl.app.verify.subject import difference
from netdsl.app.verify.tools import AGAINST, is_installed
from netdsl.app.verify.worker import read_arrays, write_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netdsl.app.verify.subject import Arrays, Subject

    Work = Iterator[tuple[str, str, Callable[[], Outcome]]]
    """What is to be checked: the check, its subject, and what does it."""


def checker(subject: Subject) -> Work:
    """Check each opset by onnx's checker, and load and run it in onnxruntime."""
    opsets = subject.options.opsets if subject.net is not None else (None,)
    for opset in opsets:
        name = "its own opset" if opset is None else f"opset {opset}"
        yield "checker", name, partial(_checked, subject, opset, name)


def _checked(subject: Subject, opset: int | None, name: str) -> Outcome:
    model = subject.model(opset)
    subject.child.call("check", model=model)
    subject.check_runs()
    outputs = subject.run("onnxruntime", subject.inputs[0].path, model)
    for key, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Failed(f"the output `{key}` is not finite for random inputs")
    return Outcome("checker", name, OK)


def shapes(subject: Subject) -> Work:
    """Compare the shapes of the outputs, as declared and as onnx infers them, with those that onnxruntime returns."""
    for which in ("declared", "inferred"):
        yield "shapes", which, partial(_shaped, subject, which)


def _shaped(subject: Subject, which: str) -> Outcome:
    found: dict[str, list[Any] | None] = subject.child.call("shapes", model=subject.model())[which]
    subject.check_runs()
    for name, array in subject.inputs[0].outputs.items():
        sizes = found.get(name)
        if sizes is None:
            raise Inapplicable(f"there is no {which} shape of the output `{name}`")
        wrong = any(isinstance(size, int) and size != own for size, own in zip(sizes, array.shape, strict=False))
        if len(sizes) != array.ndim or wrong:
            raise Failed(f"the output `{name}` has the shape {list(array.shape)}, and the {which} one is {sizes}")
    return Outcome("shapes", which, OK)


def opsets(subject: Subject) -> Work:
    """Compare the outputs of each opset with those of the default."""
    others = [opset for opset in subject.options.opsets if opset != subject.opset]
    if subject.net is None:
        yield "opsets", "all", partial(_inapplicable, "a model has one opset")
        return
    for opset in others:
        name = f"{opset} against {subject.opset}"
        yield "opsets", name, partial(compared, subject, "opsets", name, partial(_at_opset, subject, opset))


def _at_opset(subject: Subject, opset: int, path: str) -> Arrays:
    return subject.run("onnxruntime", path, subject.model(opset))


def optimizer(subject: Subject) -> Work:
    """Compare onnxruntime's optimizations with the model node by node."""
    found = partial(compared, subject, "optimizer", "onnxruntime", partial(subject.run, "unoptimized"))
    yield "optimizer", "onnxruntime", found


def batch(subject: Subject) -> Work:
    """Compare a batch with its examples one by one."""
    name = f"1 against {subject.options.batch}"
    yield "batch", name, partial(_batched, subject, name)


def _batched(subject: Subject, name: str) -> Outcome:
    subject.check_runs()
    if not subject.batched:
        raise Inapplicable("the model has no axis of examples of any number")
    if subject.options.batch < 2:
        raise Skip("--batch 1 has nothing to compare")
    for key, array in subject.inputs[0].outputs.items():
        if not array.ndim or len(array) != subject.options.batch:
            raise Inapplicable(f"the output `{key}` has no axis of examples")
    return compared(subject, "batch", name, partial(_one_by_one, subject))


def _one_by_one(subject: Subject, path: str) -> Arrays:
    whole = read_arrays(path)
    rows = []
    for at in range(len(next(iter(whole.values())))):
        one = subject.file("one.npz")
        write_arrays(one, {name: array[at : at + 1] for name, array in whole.items()})
        rows.append(subject.run("onnxruntime", one))
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def runtimes(subject: Subject) -> Work:
    """Compare onnxruntime on the CPU with other programs: those that are named, or all that are installed."""
    asked = subject.options.against
    for tool in AGAINST if asked is None else asked:
        if asked is None and not is_installed(tool):
            continue
        yield "runtimes", tool, partial(_against, subject, tool, required=asked is not None)


def _against(subject: Subject, tool: str, *, required: bool) -> Outcome:
    """Compare a tool. One that is not named may refuse the model."""

    def outputs(path: str) -> Arrays:
        try:
            return subject.run(tool, path)
        except Failed as error:
            if required:
                raise
            raise Skip(f"{tool} does not run the model: {error}") from None

    return compared(subject, "runtimes", tool, outputs)


def compared(subject: Subject, check: str, name: str, outputs: Callable[[str], Arrays]) -> Outcome:
    """Judge the largest difference of outputs from those of onnxruntime, over all inputs."""
    bound, worst, note = subject.bound(), 0.0, ""
    for inputs in subject.inputs:
        found = difference(outputs(inputs.path), inputs.outputs)
        if found > worst:
            worst, note = found, f"for {inputs.name} inputs" if len(subject.inputs) > 1 else ""
    if worst == inf:
        note = "an output has another name or shape, or a number that is not finite"
    return judged(check, name, worst, bound, note)


def _inapplicable(why: str) -> Outcome:
    raise Inapplicable(why)
