"""Losses that the net computes itself, without a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.losses.base import Loss, loss, mean

if TYPE_CHECKING:
    from netdsl.ir.graph import Value


@loss("mean")
class Mean(Loss):
    """Mean of an output that is a loss or a penalty, which the net computes for each example.

    It reads no target. If all losses are `mean`, the data need none: `npz` has inputs alone, the labels of `mnist`,
    `idx`, `cifar10`, `cifar100` and `folder` are not read, and in Python `fit(x, …)` takes no y. Metrics compare
    outputs with targets, so such an output has no metric; its figure is the loss. Unlike other losses of `training`
    outputs, it is part of the validation loss.
    Shapes: output [*]. The mean is over the batch and all elements: for a sum over some axes, add them up in the net,
    with `reduce sum`.
    Conventions: as PyTorch's `out.mean()`.
    Source: Kingma & Welling (2014), equation 10, for a variational autoencoder, whose Kullback-Leibler divergence is
    such an output.

    ```net
    net sparse { input x 784; scale 1/255; dense 64; relu; output penalty training { abs }; dense 10 }
    train sparse { data mnist "mnist"; loss output cross_entropy; loss penalty mean weight 0.01 }
    ```
    """

    reads_target = False

    def body(self, y: Value, target: Value | None = None) -> Value:
        return mean(y)
