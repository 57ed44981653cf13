"""Checks of half precision and int8: the error of the outputs, and how often a classifier names another class."""

from __future__ import annotations

from functools import partial
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from netdsl.app.verify.child import Failed
from netdsl.app.verify.outcome import Inapplicable, Outcome, Skip, judged
from netdsl.base.user_error import UserError

if TYPE_CHECKING:
    from netdsl.app.verify.model_checks import Work
    from netdsl.app.verify.subject import Arrays, Inputs, Subject


def f16(subject: Subject) -> Work:
    """Compare the net compiled with `--dtype f16`."""
    yield "f16", "error", partial(_error, subject, "f16")
    if len(subject.inputs) > 1 and _classes(subject.inputs[-1].outputs):
        yield "f16", "first class", partial(_disagreement, subject, "f16")


def int8(subject: Subject) -> Work:
    """Compare the net quantized to int8, with ranges calibrated on the data."""
    yield "int8", "error", partial(_error, subject, "int8")
    if len(subject.inputs) > 1 and _classes(subject.inputs[-1].outputs):
        yield "int8", "first class", partial(_disagreement, subject, "int8")


def _error(subject: Subject, kind: str) -> Outcome:
    _require_net(subject)
    subject.bound()
    found, wanted = _outputs(subject, kind)
    tolerance = {"f16": subject.options.f16_tolerance, "int8": subject.options.int8_tolerance}[kind]
    worst = max(_relative(found[name], wanted.outputs[name]) for name in wanted.outputs)
    note = f"for {wanted.name} inputs" if isfinite(worst) else "an output has a number that is not finite"
    return judged(kind, "error", worst, tolerance, note)


def _disagreement(subject: Subject, kind: str) -> Outcome:
    _require_net(subject)
    subject.check_finite()
    found, wanted = _outputs(subject, kind)
    name = _classes(wanted.outputs)
    if not np.isfinite(found[name]).all():
        raise Failed(f"the output `{name}` has a number that is not finite")
    other = float((found[name].argmax(1) != wanted.outputs[name].argmax(1)).mean())
    count = len(wanted.outputs[name])
    return judged(kind, "first class", other, subject.options.disagreement, f"of {count:,} examples")


def _require_net(subject: Subject) -> None:
    if subject.net is None:
        raise Inapplicable("a model has its precision; a net can be compiled in another")


def _outputs(subject: Subject, kind: str) -> tuple[Arrays, Inputs]:
    """Return the outputs of the last inputs in another precision, and in float32."""
    inputs = subject.inputs[-1]
    if kind == "int8":
        if len(subject.inputs) < 2:
            raise Skip("examples to calibrate on are missing: --data")
        model = subject.file("int8.onnx")
        subject.child.call("quantize", model=subject.model(), feeds=inputs.path, out=model)
    else:
        model = subject.file("rounded.onnx")
        try:
            subject.child.call("round_half", model=subject.model(dtype="f16"), out=model)
        except UserError as error:
            raise Skip(error.message) from None
    return subject.run("onnxruntime", inputs.path, model), inputs


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the norm of the error relative to that of the values; of integers, the share that is not equal."""
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    if wanted.dtype.kind != "f":
        return float((found != wanted).mean())
    wide = wanted.astype(np.float64)
    norm = float(np.linalg.norm(wide))
    return float(np.linalg.norm(found.astype(np.float64) - wide)) / norm if norm else float("inf")


def _classes(outputs: Arrays) -> str:
    """Return the first output with a score for each of several classes; an empty text if there is none."""
    return next((name for name, y in outputs.items() if y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind == "f"), "")
