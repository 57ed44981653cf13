"""Schedules that depend only on the epoch."""

from __future__ import annotations

import math
from typing import Any

from netdsl.declare.arguments import Real, Sequence
from netdsl.schedules.base import Schedule, keyword, schedule


@schedule("constant")
class Constant(Schedule):
    """Constant learning rate: r = lr.

    ```net
    net mlp { input x 784; scale 1/255; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; schedule constant warmup 1 }
    ```
    """


class Epochs(Sequence):
    """One epoch, or several in ascending order."""

    def __init__(self) -> None:
        super().__init__(Real(above=0))
        self.expected = "an epoch > 0, or a list of them in ascending order, such as `[30, 60]`"

    def convert(self, value: Any) -> tuple[float, ...]:
        found = super().convert(value if isinstance(value, tuple) else (value,))
        if list(found) != sorted(found):
            raise self._unfit()
        return found


@schedule("step")
class Step(Schedule):
    """Step decay: r = lr f^n, where n is the number of epochs in `at` that have passed and f is `factor`.

    Conventions: as PyTorch's `MultiStepLR`; epochs count from the start of training, including the warm-up.
    Source: Krizhevsky et al. (2012), section 5; He et al. (2016), section 3.4.

    ```net
    net mlp { input x 784; scale 1/255; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; epochs 12; schedule step at [6, 9] factor 0.1 }
    ```
    """

    at: tuple[float, ...] = keyword(Epochs(), doc="epochs after which the learning rate is multiplied by `factor`")
    factor: float = keyword(Real(above=0), 0.1, doc="factor that multiplies the learning rate")

    def largest(self, lr: float) -> float:
        try:
            return lr * max(1.0, self.factor ** len(self.at))
        except OverflowError:
            return math.inf

    def after(self, lr: float, epoch: float, epochs: float) -> float:
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

    def after(self, lr: float, epoch: float, epochs: float) -> float:
        return self.to + (lr - self.to) * (1 + math.cos(math.pi * self.done(epoch, epochs))) / 2


@schedule("one_cycle")
class OneCycle(Schedule):
    """One-cycle schedule: the learning rate rises from lr/div to lr over the fraction `rise` of training, then falls to
    lr/div/final_div, following half a cosine each way.

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

    def after(self, lr: float, epoch: float, epochs: float) -> float:
        done, low = self.done(epoch, epochs), lr / self.div
        if done < self.rise:
            return _cosine(low, lr, done / self.rise)
        return _cosine(lr, low / self.final_div, (done - self.rise) / (1 - self.rise))


def _cosine(start: float, end: float, done: float) -> float:
    """Interpolate from start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
