"""Schedules that are known before the training begins."""

from __future__ import annotations

import math
from typing import Any

from netdsl.declare.arguments import Real, Sequence
from netdsl.schedules.base import Schedule, keyword, schedule


@schedule("constant")
class Constant(Schedule):
    """A rate that stays: r = lr.

    ```net
    net mlp { input x 784; scale 1/255; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; schedule constant warmup 1 }
    ```
    """


class Epochs(Sequence):
    """Epochs in ascending order, or one."""

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
    """A rate that falls at set epochs: r = lr f^n, where n of the epochs `at` are over and f is the `factor`.

    Conventions: as PyTorch's `MultiStepLR`; epochs count from the beginning, warm-up included.
    Source: Krizhevsky et al. (2012), section 5; He et al. (2016), section 3.4.

    ```net
    net mlp { input x 784; scale 1/255; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; epochs 12; schedule step at [6, 9] factor 0.1 }
    ```
    """

    at: tuple[float, ...] = keyword(Epochs(), doc="the epochs after which the rate falls")
    factor: float = keyword(Real(above=0), 0.1, doc="what the rate is multiplied by")

    def largest(self, lr: float) -> float:
        try:
            return lr * max(1.0, self.factor ** len(self.at))
        except OverflowError:
            return math.inf

    def after(self, lr: float, epoch: float, epochs: float) -> float:
        return lr * self.factor ** sum(epoch >= each for each in self.at)


@schedule("cosine")
class Cosine(Schedule):
    """A rate that falls along half a cosine: r = to + (lr - to) (1 + cos(pi p))/2, where p = (e - W)/(E - W).

    Conventions: as PyTorch's `CosineAnnealingLR`, `to` being its `eta_min`, a rate; it changes with each step.
    Source: Loshchilov & Hutter (2017), equation 5.

    ```net
    net mlp { input x 784; scale 1/255; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; schedule cosine warmup 1 }
    ```
    """

    to: float = keyword(Real(0), 0.0, doc="the rate at the end")

    def after(self, lr: float, epoch: float, epochs: float) -> float:
        return self.to + (lr - self.to) * (1 + math.cos(math.pi * self.done(epoch, epochs))) / 2


@schedule("one_cycle")
class OneCycle(Schedule):
    """A rate that rises and falls: it begins at lr/div, is lr when the part `rise` is over, ends at lr/div/final_div,
    and follows half a cosine both ways.

    Conventions: as PyTorch's `OneCycleLR`, of which `lr` is the `max_lr`, but in continuous time; momentum stays.
    Source: Smith & Topin (2019).

    ```net
    net mlp { input x 784; scale 1/255; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy; optimizer sgd lr 0.5; schedule one_cycle }
    ```
    """

    rise: float = keyword(Real(above=0, below=1), 0.3, doc="the part of the training in which the rate rises")
    div: float = keyword(Real(minimum=1), 25.0, doc="how many times lower it begins")
    final_div: float = keyword(Real(minimum=1), 1e4, doc="how many times lower than there it ends")

    def after(self, lr: float, epoch: float, epochs: float) -> float:
        done, low = self.done(epoch, epochs), lr / self.div
        if done < self.rise:
            return _cosine(low, lr, done / self.rise)
        return _cosine(lr, low / self.final_div, (done - self.rise) / (1 - self.rise))


def _cosine(start: float, end: float, done: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
