"""The result of a profile: the costs of kernels with their places in a source, and their totals."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from netdsl.base.record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.base.shape import Shape
    from netdsl.base.text import Source


FASTER, LONG = 1.05, 0.02
"""Speed relative to the measured peak above which an operator contradicts it, if it takes this share of the time."""


class Place(NamedTuple):
    """A layer and its place in a source.

    `layer` is its path, `layer1.0.conv1`, or the name of a node of a model that netdsl did not write; `kind` its kind,
    or the node's operator. `file` is empty and `line` is 0 if no source is known. `block` is the innermost block that
    the layer is in, and `shape` that of its result without the batch axis.
    """

    layer: str
    kind: str
    file: str = ""
    line: int = 0
    column: int = 0
    block: str = ""
    shape: Shape = ()

    @property
    def scope(self) -> str:
        """The path without its last part: `layer1.0`."""
        found = re.fullmatch(r"(.*)[./][^./]*", self.layer)
        return found[1] if found else ""


class Cost(Record):
    """What a kernel costs in one run.

    `place` is that of the layer which costs most of those it computes, and `joined` are the places of the others; None
    if it is unknown. `op` is onnxruntime's operator, and `name` the kernel's name. `flops` counts two for each
    multiply-accumulate, and is None if it is unknown; `moved` are the bytes of inputs, weights and outputs. `layout` is
    set if the kernel only converts the value to another layout. `phase` is that of a training step: `forward`, …
    """

    place: Place | None
    name: str
    op: str
    seconds: float
    flops: float | None = 0.0
    moved: int = 0
    joined: Sequence[Place] = ()
    layout: bool = False
    phase: str = ""


class Peaks(NamedTuple):
    """The speed of the machine with the threads of the session: floating-point operations and bytes copied, in a
    second."""

    flops: float
    bandwidth: float


class Profile(Record):
    """A profile of a model on the machine it ran on.

    `name` is the model's, `sources` are the texts that places are in by their names, the net's own first. `seconds` is
    the median time of a run without profiling, and `profiled` with it, on which shares are based: it is the sum of all
    costs and of the time `between` them. `peaks` are None if they were not measured. `memory` is the most bytes in use,
    0 if unknown. `launches` is set if the times of kernels are those of launches on another device. `warnings` say why
    the figures are to be doubted.
    """

    name: str
    batch: int
    threads: int
    provider: str
    runs: int
    seconds: float
    between: float
    costs: Sequence[Cost]
    sources: Mapping[str, Source]
    peaks: Peaks | None = None
    memory: int = 0
    launches: bool = False
    warnings: Sequence[str] = ()
    unit: str = "run"
    """What is measured: a `run`, or a `step` of a training."""
    notes: Sequence[str] = ()
    """How the run was prepared, for the reader."""

    @property
    def profiled(self) -> float:
        return sum(cost.seconds for cost in self.costs) + self.between

    @property
    def scale(self) -> float:
        """What a time is multiplied by, so that all add up to the time of a run without profiling."""
        return self.seconds / self.profiled if self.profiled else 0.0

    @property
    def flops(self) -> float | None:
        """The floating-point operations of a run; None if those of a kernel are unknown."""
        known = [cost.flops for cost in self.costs if cost.flops is not None]
        return sum(known) if len(known) == len(self.costs) else None

    @property
    def doubts(self) -> list[str]:
        """The warnings, and one if operators that take much of the time are faster than the measured peak."""
        if self.peaks is None or self.launches:
            return [*self.warnings]
        limit = FASTER * self.peaks.flops * self.scale
        fast = [x for x in self.costs if x.seconds > LONG * self.profiled and (x.flops or 0) > limit * x.seconds]
        found = ["operators are faster than the measured peak: the machine was busy while it was measured"]
        return [*self.warnings, *(found if fast else [])]

    @property
    def has_lines(self) -> bool:
        return any(cost.place and cost.place.line for cost in self.costs)
