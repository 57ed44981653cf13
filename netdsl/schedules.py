"""Learning rate schedules, which compute the rate from the epoch in plain Python, and early stopping."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from netdsl.declare.arguments import Integer, Real, Sequence
from netdsl.declare.declared import Declared, keyword, registrar
from netdsl.diagnostics.argument_problems import Contradiction
from netdsl.diagnostics.problem import Misfit, Suggestion

if TYPE_CHECKING:
    from collections import abc

SCHEDULES: dict[str, type[Schedule]] = {}
"""Schedules by name."""

schedule = registrar(SCHEDULES)


def done(epoch: float, epochs: float, warmup: float) -> float:
    """Return the completed fraction, from 0 to 1, of the epochs after the warm-up."""
    return min((epoch - warmup) / (epochs - warmup), 1.0) if epochs > warmup else 1.0


class Schedule(Declared):
    """A schedule with its arguments.

    A subclass's docstring has the formula, source and an example: r is the learning rate, lr the optimizer's, e the
    epochs completed (fractional), E the epochs of the whole training, W those of the warm-up.
    """

    kind: ClassVar[str] = ""
    watches: ClassVar[bool] = False
    """Whether to call `observe` with a metric after each epoch."""

    warmup: float = keyword(Real(0), 0.0, doc="epochs of linear warm-up")
    warmup_steps: int | None = keyword(
        Integer(0), None, doc="length of the linear warm-up in steps, in place of `warmup`"
    )
    warmup_from: float = keyword(
        Real(0, maximum=1), 0.01, doc="fraction of the learning rate at the start of the warm-up"
    )

    def validate(self) -> None:
        if self.warmup and self.warmup_steps:
            what = "the length of the warm-up is given twice, as `warmup` in epochs and as `warmup_steps`"
            raise Misfit(Contradiction, at="warmup_steps", what=what, help=Suggestion("keep one of them"))

    def rate(self, lr: float, step: int, steps: int, per_epoch: int) -> float:
        """Return the learning rate of the step after `step` of `steps` steps, with `per_epoch` steps in each epoch.

        During the warm-up, the rate is lr (f + (1 - f) e/W), where f is `warmup_from`.
        Source: Goyal et al. (2017), section 2.2.
        """
        epoch, warmup = step / per_epoch, self.warmup or (self.warmup_steps or 0) / per_epoch
        if epoch < warmup:
            return lr * (self.warmup_from + (1 - self.warmup_from) * epoch / warmup)
        return self.after(lr, epoch, steps / per_epoch, warmup)

    def largest(self, lr: float) -> float:
        """Return the largest learning rate of a training."""
        return lr

    def after(self, lr: float, epoch: float, epochs: float, warmup: float) -> float:
        """Return the learning rate after `epoch` of `epochs` epochs, of which the warm-up took `warmup`."""
        return lr

    def observe(self, value: float, better: str) -> None:
        """Record the watched metric after an epoch; `better` is `higher` or `lower`."""

    def state(self) -> dict[str, float | int | None]:
        """Return the state needed to resume, as JSON data."""
        return {}

    def restore(self, state: dict[str, float | int | None]) -> None:
        """Resume from a state."""


@schedule("constant")
class ConstantRate(Schedule):
    """Constant learning rate: r = lr.

    ```net
    net mlp { input x 784; scale 1/255; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; schedule constant warmup 1 }
    ```
    """


class EpochList(Sequence[float]):
    """One epoch, or several in ascending order."""

    def __init__(self) -> None:
        super().__init__(Real(above=0))
        self.expected = "an epoch > 0, or a list of them in ascending order, such as `[30, 60]`"

    def convert(self, value: object) -> tuple[float, ...]:
        found = super().convert(value if isinstance(value, tuple) else (value,))
        if list(found) != sorted(found):
            raise self._misfit()
        return found


@schedule("step")
class StepDecay(Schedule):
    """Step decay: r = lr f^n, where n is the number of epochs in `at` that have passed and f is `factor`.

    Conventions: as PyTorch's `MultiStepLR`; epochs count from the start of training, including the warm-up.
    Source: Krizhevsky et al. (2012), section 5; He et al. (2016), section 3.4.

    ```net
    net mlp { input x 784; scale 1/255; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; epochs 12; schedule step at [6, 9] factor 0.1 }
    ```
    """

    at: tuple[float, ...] = keyword(EpochList(), doc="epochs after which the learning rate is multiplied by `factor`")
    factor: float = keyword(Real(above=0), 0.1, doc="factor that multiplies the learning rate")

    def largest(self, lr: float) -> float:
        try:
            return lr * max(1.0, self.factor ** len(self.at))
        except OverflowError:
            return math.inf

    def after(self, lr: float, epoch: float, epochs: float, warmup: float) -> float:
        return lr * self.factor ** sum(epoch >= each for each in self.at)


@schedule("cosine")
class Cosine(Schedule):
    """Cosine annealing: r = to + (lr - to) (1 + cos(pi p))/2, where p = (e - W)/(E - W).

    Here e is the number of epochs completed, E that of the whole training, and W that of the warm-up.
    Conventions: as PyTorch's `CosineAnnealingLR` with `to` as `eta_min`; the learning rate changes at every step.
    Source: Loshchilov & Hutter (2017), equation 5.

    ```net
    net mlp { input x 784; scale 1/255; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; schedule cosine warmup 1 }
    ```
    """

    to: float = keyword(Real(0), 0.0, doc="final learning rate")

    def after(self, lr: float, epoch: float, epochs: float, warmup: float) -> float:
        return self.to + (lr - self.to) * (1 + math.cos(math.pi * done(epoch, epochs, warmup))) / 2


@schedule("linear")
class Linear(Schedule):
    """Linear decay: r = to + (lr - to) (1 - p), where p = (e - W)/(E - W).

    Here e is the number of epochs completed, E that of the whole training, and W that of the warm-up.
    Conventions: as PyTorch's `LinearLR` from factor 1 to `to`/lr over the whole training. With `warmup_from 0`, as
    `get_linear_schedule_with_warmup` of Hugging Face's transformers.
    Source: Devlin et al. (2019), appendix A.2.

    ```net
    net mlp { input x 784; scale 1/255; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; optimizer adamw lr 1e-4; schedule linear warmup_steps 1000 }
    ```
    """

    to: float = keyword(Real(0), 0.0, doc="final learning rate")

    def after(self, lr: float, epoch: float, epochs: float, warmup: float) -> float:
        return self.to + (lr - self.to) * (1 - done(epoch, epochs, warmup))


@schedule("inverse_sqrt")
class InverseSqrt(Schedule):
    """Inverse square root decay: r = lr sqrt(W/e) after a warm-up of W epochs.

    Here e is the number of epochs completed. The quotient W/e is the same in steps, so the rate does not depend on the
    length of the training.
    Conventions: with `warmup_from 0`, as `get_inverse_sqrt_schedule` of Hugging Face's transformers. The rate of the
    source, d^-0.5 min(t^-0.5, t N^-1.5), has its maximum (d N)^-0.5, which is `lr`, after N steps.
    Source: Vaswani et al. (2017), equation 3.

    ```net
    net mlp { input x 784; scale 1/255; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; optimizer adam lr 1e-3; schedule inverse_sqrt warmup_steps 99 }
    ```
    """

    def validate(self) -> None:
        super().validate()
        if not self.warmup and not self.warmup_steps:
            what = "`inverse_sqrt` divides by the time since the start, so it needs a warm-up before its decay"
            fix = Suggestion("add its length, such as `warmup_steps 4000`")
            raise Misfit(Contradiction, at="", what=what, help=fix)

    def after(self, lr: float, epoch: float, epochs: float, warmup: float) -> float:
        return lr * math.sqrt(warmup / epoch)


@schedule("one_cycle")
class OneCycle(Schedule):
    """One-cycle schedule: the learning rate rises from lr/div to lr over the fraction `rise` of training, then falls to
    lr/div/final_div, following half a cosine each way.

    The rise is the warm-up of this schedule, so `warmup` and `warmup_steps` must be 0.
    Conventions: as PyTorch's `OneCycleLR` with `lr` as `max_lr`, but in continuous time and with constant momentum.
    Source: Smith & Topin (2019).

    ```net
    net mlp { input x 784; scale 1/255; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; optimizer sgd lr 0.5; schedule one_cycle }
    ```
    """

    rise: float = keyword(Real(above=0, below=1), 0.3, doc="fraction of training in which the learning rate rises")
    div: float = keyword(Real(minimum=1), 25.0, doc="the initial learning rate is lr / div")
    final_div: float = keyword(Real(minimum=1), 1e4, doc="the final learning rate is lr / div / final_div")

    def validate(self) -> None:
        if self.warmup or self.warmup_steps:
            what = "`one_cycle` has a warm-up of its own: the learning rate rises over the fraction `rise` of training"
            given = "warmup" if self.warmup else "warmup_steps"
            fix = Suggestion(f"leave `{given}` out, and set the length of the rise with `rise`, such as `rise 0.3`")
            raise Misfit(Contradiction, at=given, what=what, help=fix)

    def after(self, lr: float, epoch: float, epochs: float, warmup: float) -> float:
        part, low = done(epoch, epochs, warmup), lr / self.div
        if part < self.rise:
            return _cosine(low, lr, part / self.rise)
        return _cosine(lr, low / self.final_div, (part - self.rise) / (1 - self.rise))


def _cosine(start: float, end: float, done: float) -> float:
    """Interpolate from start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


@schedule("plateau")
class Plateau(Schedule):
    """Decay on plateau: r is multiplied by `factor` when the first metric (on the validation set, if there is one) has
    not improved on the best so far for more than `patience` epochs in a row.

    An improvement is a value below best - threshold |best|, or above best + threshold |best|, depending on the metric.
    Conventions: for positive metrics, as PyTorch's `ReduceLROnPlateau` with a relative threshold and no cooldown.

    ```net
    net mlp { input x 784; scale 1/255; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; validate 0.1; schedule plateau patience 3 }
    ```
    """

    watches = True
    factor: float = keyword(Real(above=0, below=1), 0.1, doc="factor that multiplies the learning rate")
    patience: int = keyword(Integer(0), 10, doc="number of epochs without improvement to tolerate")
    threshold: float = keyword(Real(0, below=1), 1e-4, doc="minimum relative improvement")
    to: float = keyword(Real(0), 0.0, doc="minimum learning rate")

    def __init__(self, **values: object) -> None:
        super().__init__(**values)
        self._best: float | None = None
        self._bad = 0
        self._falls = 0

    def after(self, lr: float, epoch: float, epochs: float, warmup: float) -> float:
        return max(lr * self.factor**self._falls, min(self.to, lr))

    def observe(self, value: float, better: str) -> None:
        if self._best is None or self._improves(value, self._best, better):
            self._best, self._bad = value, 0
        else:
            self._bad += 1
        if self._bad > self.patience:
            self._bad = 0
            self._falls += 1

    def _improves(self, value: float, best: float, better: str) -> bool:
        least = self.threshold * abs(best)
        return value > best + least if better == "higher" else value < best - least

    def state(self) -> dict[str, float | int | None]:
        return {"best": self._best, "bad": self._bad, "falls": self._falls}

    def restore(self, state: dict[str, float | int | None]) -> None:
        self._best = state["best"]
        self._bad, self._falls = int(state["bad"] or 0), int(state["falls"] or 0)


class EarlyStopping(Declared):
    """Early stopping: training ends when the figure that selects the best epoch has not improved for `patience` epochs
    in a row.

    That figure is the first metric on the validation set; without a validation set, it is the loss. An improvement is a
    value more than `min_delta` above the best so far, or below it, depending on the figure; a value that is not finite
    is none. The model of the best epoch is kept, as in every training.
    Conventions: as Keras' `EarlyStopping`, and as that of PyTorch Lightning.
    Source: Prechelt (1998), Early stopping - but when?

    ```net
    net mlp { input x 784; scale 1/255; dense 10 }
    train mlp { data mnist "mnist"; validate 0.1; loss cross_entropy; epochs 100; stop patience 5 }
    ```
    """

    kind = "stop"
    patience: int = keyword(Integer(1), doc="number of epochs without improvement after which training ends")
    min_delta: float = keyword(Real(0), 0.0, doc="minimum absolute improvement")

    def is_over(self, values: abc.Sequence[float], better: str) -> bool:
        """Return whether training ends after epochs with these values; `better` is `higher` or `lower`."""
        best, waited = math.nan, 0
        for value in values:
            improves = value - self.min_delta > best if better == "higher" else value + self.min_delta < best
            if math.isfinite(value) and (improves or math.isnan(best)):
                best, waited = value, 0
            else:
                waited += 1
        return waited >= self.patience
