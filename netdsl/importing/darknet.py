"""Read a Darknet net, of pjreddie's or AlexeyAB's, with or without its .weights.

Sources: src/parser.c and src/*_layer.c of both. A layer of theirs is a section, numbered from 0 behind [net].
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from netdsl.base.user_error import WrongArgumentValue
from netdsl.importing.calls import refused
from netdsl.importing.darknet_cfg import read_cfg
from netdsl.importing.darknet_sections import SECTIONS
from netdsl.importing.darknet_weights import DarknetWeights, RandomDarknetWeights, StoredDarknetWeights
from netdsl.importing.flat import FlatNet, Trial
from netdsl.importing.training import darknet_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.importing.darknet_cfg import Section
    from netdsl.importing.flat import FlatLayer, FlatWeight, Value
    from netdsl.importing.readers import SourceOptions

EPS = 1e-5
"""Darknet's epsilon on a GPU, where both computed (x - mean) / sqrt(var + 1e-5)."""
CPU = "cpu"
"""The value of `--eps` for pjreddie's code for processors: (x - mean) / (sqrt(var) + 1e-6)."""

HEADS = {
    "Gaussian_yolo": "boxes from scores",
    "contrastive": "a loss",
    "detection": "boxes from scores",
    "iseg": "masks from scores",
    "region": "boxes from scores",
    "yolo": "boxes from scores",
}
"""Sections at which a net ends, and what they compute."""

UNKNOWN = {
    "conv_lstm": "a recurrent convolution",
    "crnn": "a recurrent convolution",
    "gru": "its reset gate applies before the product, and its last activation is the logistic function",
    "history": "earlier images",
    "implicit": "learned values that other sections use",
    "l2norm": "its epsilon is 0",
    "local": "a convolution with other weights at each place",
    "lstm": "its state stays from one run to the next",
    "normalization": "Darknet leaves one channel out of its sums",
    "rnn": "it applies its activation to both terms before their sum",
}

ONLY_TRAINING = frozenset(
    [
        *("learning_rate_scale", "stopbackward", "onlyforward", "train_only_bn", "dontsave", "dontload"),
        *("dontloadscales", "burnin_update", "jitter", "random", "assisted_excitation", "grad_centr", "angle"),
        *("reverse", "stream", "wait_stream", "dot"),
    ]
)
"""Options without effect on the results of a trained net."""


def read(path: str, options: SourceOptions) -> FlatNet:
    """Return the net of a .cfg file. Raises BadImport, BadWeightFile, WrongArgumentValue."""
    sections, eps, sizes = read_cfg(path), epsilon(options.eps), options.inputs.get("image")
    stored = StoredDarknetWeights(options.weights) if options.weights else DarknetWeights()
    net = Conversion(path, sections, stored, eps, sizes).net
    if stored.rest() and not len(net.refused):
        net.refuse("the weights", "", stored.rest())
    net.training = list(darknet_lines(sections))
    net.reference = partial(_trial, path, sections, options.weights, eps, sizes)
    return net


def epsilon(given: str | None) -> float | None:
    """Return a number, or None for pjreddie's CPU code."""
    if given == CPU:
        return None
    try:
        found = EPS if given is None else float(given)
    except ValueError:
        found = 0.0
    if not 1e-30 < found < 1:
        raise WrongArgumentValue(f"`--eps` must be a number such as 1e-5, or `{CPU}`, not {given}")
    return found


def _trial(
    path: str,
    sections: list[Section],
    weights: str | None,
    eps: float | None,
    sizes: tuple[int, ...] | None,
    seed: int | None,
) -> Trial:
    """Return the net with random weights, or those of the file, and a program in NumPy for the same file."""
    from netdsl.importing.darknet_reference import DarknetReference

    def arrays() -> DarknetWeights:
        return RandomDarknetWeights(seed or 0) if seed is not None or not weights else StoredDarknetWeights(weights)

    conversion = Conversion(path, sections, arrays(), eps, sizes)
    reference = DarknetReference(sections, arrays(), eps)
    return Trial(conversion.net, partial(reference.run, conversion.places))


class Conversion:
    """A Darknet net as a flat list. `places` are the sections whose results are those of layers."""

    def __init__(
        self,
        path: str,
        sections: Sequence[Section],
        weights: DarknetWeights,
        eps: float | None,
        sizes: tuple[int, ...] | None,
    ) -> None:
        name = os.path.splitext(os.path.basename(path))[0]
        self.net = FlatNet(name, path)
        self.weights = weights
        self.eps = eps
        self.values: list[Value] = []
        self.cut: set[int] = set()
        self.used: set[int] = set()
        self.places: dict[FlatLayer, int] = {}
        self.shared: dict[int, tuple[FlatLayer | None, FlatLayer | None]] = {}
        self.heads: dict[str, int] = {}
        self.index = 0
        self.section = sections[0]
        current = self._input(sizes)
        for index, section in enumerate(sections[1:]):
            self.index, self.section = index, section
            current = self._convert(current)
            self.values.append(current)
            if current is not None:
                self.places[current] = index
        self._declare_outputs()

    @property
    def place(self) -> str:
        return self.section.place

    def refuse(self, what: str, why: str = "") -> Value:
        return refused(self.net, what, self.place, why)

    def add(
        self,
        kind: str,
        operands: Sequence[Value],
        arguments: Mapping[str, object] | None = None,
        weights: Mapping[str, FlatWeight] | None = None,
        shares: FlatLayer | None = None,
    ) -> Value:
        return self.net.add(kind, operands, arguments, weights, shares=shares, place=self.place)

    def _input(self, sizes: tuple[int, ...] | None) -> Value:
        """Declare the input; Darknet reads pixels from 0 to 1."""
        net = self.section
        stated = tuple(net.integer(name, 0) for name in ("channels", "height", "width"))
        sizes = sizes or (stated if all(stated) else (net.integer("inputs", 0),))
        if min(sizes) < 1:
            return self.refuse("the input", "[net] states no size")
        image = len(sizes) == 3 and sizes[0] in (1, 3)
        value = self.net.input("image" if image else "x", sizes, self.place, **({"std": 255.0} if image else {}))
        if value is not None:
            self.places[value] = -1
        return value

    def _convert(self, x: Value) -> Value:
        name, previous = self.section.name, self.index - 1
        if name == "cost":
            self.net.leave_out("[cost]", self.place, "a loss")
            return x
        reads_previous = name != "route"
        if reads_previous:
            self.used.add(previous)
            if previous in self.cut:
                self._leave_out_behind_a_head()
                return None
        if name in HEADS or (name == "softmax" and self.section.text("tree")):
            self._end_at_a_head(x)
            return None
        if name in UNKNOWN:
            return self.refuse(f"[{name}]", UNKNOWN[name])
        if name not in SECTIONS:
            return self.refuse(f"[{name}]", "netdsl does not know it")
        try:
            y = SECTIONS[name](self, x) if x is not None or not reads_previous else None
        except (ValueError, IndexError, ZeroDivisionError, OverflowError):
            y = self.refuse(f"[{name}] with these options or inputs")
        if name not in ("softmax", "dropout"):
            for key in self.section.unread:
                if key not in ONLY_TRAINING:
                    self.net.leave_out(f"the option {key} of [{name}]", self.place, "netdsl knows no effect of it")
        return y

    def _leave_out_behind_a_head(self) -> None:
        self.cut.add(self.index)
        if self.section.name not in HEADS:
            self.net.leave_out("sections behind a head", self.place)

    def _end_at_a_head(self, x: Value) -> None:
        """End the net in front of a head, and keep its anchors."""
        section = self.section
        self.cut.add(self.index)
        self.heads[section.name] = number = self.heads.get(section.name, 0) + 1
        label = f"{section.name.lower()}{number}"
        self.net.output(label, x)
        end = f"`{label}`, in front of it"
        self.net.leave_out(
            f"[{section.name}]", self.place, f"{HEADS.get(section.name, 'a tree of classes')}; the net ends in {end}"
        )
        anchors, mask = section.numbers("anchors"), section.integers("mask")
        if anchors:
            pairs = list(zip(anchors[::2], anchors[1::2], strict=False))
            kept = [pairs[at] for at in mask if 0 <= at < len(pairs)] or pairs
            self.net.about[f"{label}_anchors"] = tuple(number for pair in kept for number in pair)
        if section.text("classes"):
            self.net.about[f"{label}_classes"] = section.integer("classes", 20)

    def _declare_outputs(self) -> None:
        """Declare the last result, and those that no section reads, unless a head does."""
        for index, value in enumerate(self.values):
            last = value is self.values[-1]
            if value is None or index in self.cut or (index in self.used and not last):
                continue
            if value not in self.net.outputs.values() and value.kind != "input":
                self.net.output("output" if last else f"output{index}", value)
        if not self.net.outputs and not len(self.net.refused):
            self.net.refuse("the net", self.net.file, "nothing of it is left")

    def earlier(self, at: int) -> Value:
        """Return the result of a section by its number, or how many sections it is before."""
        at = at if at >= 0 else self.index + at
        if not 0 <= at < self.index:
            return self.refuse(f"[{self.section.name}] of section {at}", f"it is section {self.index} itself")
        self.used.add(at)
        if at in self.cut:
            return self.refuse(f"[{self.section.name}] of a head")
        return self.values[at]
