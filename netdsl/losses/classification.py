"""Losses of classes, each of which is a number from 0 to K - 1 or a sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl import ops
from netdsl.base.limits import SIZE
from netdsl.base.shape import elements
from netdsl.declare.arguments import FLOAT32_MIN, Choice, Flag, Integer, Real, Sequence, Word
from netdsl.declare.declared import keyword
from netdsl.losses.base import Loss, Target, loss, mean, misfit, total

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from netdsl.base.shape import Shape
    from netdsl.ir.graph import Value

LOWEST_OUTPUT = -3.4e38
"""Close to the lowest float32, and thus below all outputs."""


def classes(output: Shape) -> Target:
    """Return a class target for an output [K, *S]. Raises Misfit."""
    if not output or output[0] == 1:
        raise misfit("a number for each of two classes or more along the first axis")
    return Target("class", output[1:], output[0])


def signs(output: Shape) -> Target:
    """Return a sign target for an output [1, *S]. Raises Misfit."""
    if not output or output[0] != 1:
        raise misfit("one number along the first axis, whose sign is the class")
    return Target("sign", output[1:])


def signs_or_classes(output: Shape) -> Target:
    """Return a sign target for an output [1, *S], or a class target for an output [K, *S]."""
    return signs(output) if output and output[0] == 1 else classes(output)


def margin(y: Value, target: Value) -> Value:
    """Return t y, [N, 1, *S], which is positive where the sign is correct."""
    return ops.mul(y, ops.reshape(target, y.shape[1:]))


def onehot(y: Value, target: Value) -> Value:
    """Return the one-hot mask, bool [N, K, *S], of target [N, *S] for y [N, K, *S]."""
    size = y.shape[1]
    assert isinstance(size, int), y.shape
    numbers = ops.constant(y.graph, tuple(range(size)), "i64", (1, size, *(1 for _ in y.shape[2:])))
    return ops.equal(ops.reshape(target, (1, *y.shape[2:])), numbers)


def runner_up(y: Value, here: Value) -> Value:
    """Return the largest output among the wrong classes at each position, [N, 1, *S]; `here` is the one-hot mask."""
    return ops.reduce_max(ops.where(here, ops.constant(y.graph, LOWEST_OUTPUT, y.dtype), y), (1,))


def places(y: Value) -> int:
    """Return the number of positions in all examples of y [N, K, *S]: N |S|."""
    return elements((y.shape[0], *y.shape[2:]))


class MarginLoss(Loss):
    """Base class of losses that depend on the margin t y."""

    def target(self, output: Shape) -> Target:
        return signs(output)


@loss("logistic")
class Logistic(MarginLoss):
    """Logistic loss: mean of log(1 + e^(-t y)), the cross-entropy for two classes.

    Shapes: output [1, *S], one logit (no sigmoid) per position; target [*S], a sign (-1 or 1) per position.
    Conventions: as PyTorch's `soft_margin_loss`, and as `binary_cross_entropy_with_logits` (BCE) with targets 0 and
    1, which data can have in place of -1 and 1.
    Source: Cox (1958); Hastie, Tibshirani & Friedman (2009), section 10.5.

    ```net
    net two { input x 2; dense 1 }
    train two { data clouds; loss logistic }
    ```
    """

    probability = "sigmoid"

    def body(self, y: Value, target: Value) -> Value:
        return mean(ops.softplus(ops.neg(margin(y, target))))


@loss("exponential")
class Exponential(MarginLoss):
    """Exponential loss: mean of e^(-t y).

    Shapes: output [1, *S], one number per position; target [*S], a sign (-1 or 1) per position.
    Source: Freund & Schapire (1997), AdaBoost; Friedman, Hastie & Tibshirani (2000), section 4.

    ```net
    net two { input x 2; dense 1 }
    train two { data clouds; loss exponential }
    ```
    """

    def body(self, y: Value, target: Value) -> Value:
        return mean(ops.exp(ops.neg(margin(y, target))))


BALANCED = "balanced"


class ClassWeights(Sequence[float]):
    """A weight for each class, or `balanced`."""

    words = (BALANCED,)

    def __init__(self) -> None:
        super().__init__(Real(0))
        self.expected = "`balanced`, or a list with a number >= 0 for each class, not all 0, such as `[1, 5]`"

    def convert(self, value: object) -> str | tuple[float, ...]:  # type: ignore[override]
        if isinstance(value, Word) and value == BALANCED:
            return BALANCED
        found = super().convert(value)
        if not any(found):
            raise self._misfit()
        return found


@loss("cross_entropy")
class CrossEntropy(Loss):
    """Softmax cross-entropy: mean of -sum_k q_k log softmax(y)_k, with q = 1 at the class and 0 elsewhere.

    With label smoothing s, q = 1 - s + s/K at the class and s/K elsewhere. With class weights w, the loss is
    -sum_k w_k q_k log softmax(y)_k, summed over the batch and divided by the sum of the weights of its classes.
    `balanced` sets w_k to n / (K n_k), where n_k of the n targets of the training data are k.
    Positions whose target is the class `ignore` count neither in the sum nor in the mean, nor in metrics. It can be any
    integer, such as that of padding, or `(-100)` for words that are not masked. If none count in a batch, or all class
    weights are 0, the loss of a training step is 0; if none do in all examples of an evaluation, it is undefined: NaN,
    and `null` in JSON.
    Shapes: output [K, *S], one logit (no softmax) per class and position; target [*S], a class per position.
    Conventions: as PyTorch's `cross_entropy`, with `class_weights` as `weight` and `ignore` as `ignore_index`, which is
    -100 there by default, and where the mean of no positions is always NaN; `balanced` as in scikit-learn, without
    ignored targets. Softmax and logarithm are computed together, which avoids overflow.
    Source: Bridle (1990); Szegedy et al. (2016), section 7, for the smoothing; King & Zeng (2001) for `balanced`.

    ```net
    net mlp { input x 784; scale 1/255; dense 100; relu; dense 10 }
    train mlp { data mnist "mnist"; loss cross_entropy smoothing 0.1 class_weights balanced }
    ```
    """

    probability = "softmax"
    smoothing: float = keyword(
        Real(0, below=1), 0.0, doc="label smoothing: share of the target spread over all classes"
    )

    class_weights: str | tuple[float, ...] | None = keyword(
        ClassWeights(), None, doc="weight of each class in the mean; `balanced` counts the training data"
    )
    ignore: int | None = keyword(
        Integer(-SIZE), None, doc="class of positions that do not count; a negative one in parentheses: `(-100)`"
    )

    def target(self, output: Shape) -> Target:
        found, weights = classes(output)._replace(ignore=self.ignore), self.class_weights
        if isinstance(weights, tuple) and len(weights) != found.classes:
            raise misfit(f"{len(weights)} numbers along the first axis, one for each of the class weights")
        return found

    @property
    def has_shares(self) -> bool:
        return self.class_weights is not None or self.ignore is not None

    def share(self, target: NDArray[Any]) -> float:
        kept = target if self.ignore is None else target[target != self.ignore]
        if self.class_weights is None:
            return len(target) if self.ignore is None else kept.size
        import numpy as np

        return float(np.array(self.class_weights)[kept].sum())

    def body(self, y: Value, target: Value) -> Value:
        if not self.smoothing and self.class_weights is None:
            return self._of_classes(y, target)
        spread = self.smoothing / float(y.shape[1])  # type: ignore[arg-type]
        here, elsewhere = self.smoothing - spread - 1, -spread
        if self.class_weights is not None:
            return self._weighted(y, target, here, elsewhere)
        mask = onehot(y, target)
        if self.ignore is None:
            scale = -1 / places(y)
            like = _number(y, scale * (1 - self.smoothing + spread)), _number(y, scale * spread)
            return total(ops.mul(ops.log_softmax(y), ops.where(mask, *like)))
        kept = self._kept(y, target)
        terms = ops.where(kept, ops.where(mask, _number(y, here), _number(y, elsewhere)), _number(y, 0.0))
        count = ops.maximum(total(ops.cast(kept, y.dtype)), 1.0)
        return ops.div(total(ops.mul(ops.log_softmax(y), terms)), count)

    def _of_classes(self, y: Value, target: Value) -> Value:
        """Return the loss without smoothing and class weights, of which only the classes of the target are terms."""
        size = y.shape[1]
        assert isinstance(size, int), y.shape
        classes = ops.where(ops.greater_or_equal(target, 0), target, size)  # onnxruntime counts -1 from the end
        if self.ignore is None:
            return ops.mul(total(ops.negative_log_likelihood(y, classes)), 1 / places(y))
        kept = ops.reshape(self._kept(y, target), (places(y), 1), batch=False)
        found = ops.negative_log_likelihood(y, ops.where(ops.equal(target, self.ignore), 0, classes))
        count = ops.maximum(total(ops.cast(kept, y.dtype)), 1.0)
        return ops.div(total(ops.where(kept, found, 0)), count)

    def _kept(self, y: Value, target: Value) -> Value:
        """Return where the target is not the ignored class, bool [N, 1, *S]."""
        assert self.ignore is not None
        ignored = ops.constant(y.graph, self.ignore, "i64")
        return ops.logical_not(ops.equal(ops.reshape(target, (1, *y.shape[2:])), ignored))

    def _weighted(self, y: Value, target: Value, here: float, elsewhere: float) -> Value:
        """Return the loss with class weights, whose terms have these factors at the class and elsewhere."""
        assert isinstance(self.class_weights, tuple), "set from the training data"
        shape = (1, len(self.class_weights), *(1 for _ in y.shape[2:]))
        mask = onehot(y, target)
        first, second, counted = (
            ops.constant(y.graph, tuple(scale * weight for weight in self.class_weights), y.dtype, shape)
            for scale in (here, elsewhere, 1)
        )
        factors = ops.where(mask, first, second)
        weights = ops.where(mask, counted, _number(y, 0.0))
        if self.ignore is not None:
            kept = self._kept(y, target)
            factors, weights = (ops.where(kept, each, _number(y, 0.0)) for each in (factors, weights))
        terms = ops.mul(ops.log_softmax(y), factors)
        return ops.div(total(terms), ops.maximum(total(weights), FLOAT32_MIN))


def _number(y: Value, number: float) -> Value:
    return ops.constant(y.graph, number, y.dtype)


@loss("hinge")
class Hinge(Loss):
    """Hinge loss of support vector machines: mean of max(0, m - t y) for two classes, with margin m.

    For several classes, with true class t, `crammer_singer` is max(0, m + max_{j != t} y_j - y_t), and `weston_watkins`
    is sum_{j != t} max(0, m + y_j - y_t). `squared on` squares each violation.
    Shapes: for two classes, output [1, *S] and target [*S], a sign (-1 or 1) per position; for K classes, output
    [K, *S] and target [*S], a class per position.
    Conventions: PyTorch's `multi_margin_loss` is `weston_watkins` divided by K.
    Source: Cortes & Vapnik (1995); Crammer & Singer (2001), section 3; Weston & Watkins (1999), whose margin is 2.

    ```net
    net svm { input x 784; scale 1/255; dense 10 }
    train svm { data mnist "mnist"; loss hinge multiclass weston_watkins }
    ```
    """

    margin: float = keyword(Real(above=0), 1.0, doc="margin m")
    squared: bool = keyword(Flag(), False, doc="square each violation")
    multiclass: str = keyword(
        Choice("crammer_singer", "weston_watkins"), "crammer_singer", doc="formula for several classes"
    )

    def target(self, output: Shape) -> Target:
        return signs_or_classes(output)

    def body(self, y: Value, target: Value) -> Value:
        if y.shape[1] == 1:
            return self._mean(ops.sub(self.margin, margin(y, target)), y)
        here = onehot(y, target)
        right = ops.reduce_sum(ops.mul(y, ops.cast(here, y.dtype)), (1,))
        if self.multiclass == "crammer_singer":
            return self._mean(ops.add(ops.sub(runner_up(y, here), right), self.margin), y)
        lacking = ops.add(ops.sub(y, right), self.margin)
        return self._mean(ops.where(here, ops.constant(y.graph, 0.0, y.dtype), lacking), y)

    def _mean(self, lacking: Value, y: Value) -> Value:
        """Return the mean of the violations (the positive part of `lacking`) over examples and positions."""
        violation = ops.relu(lacking)
        found = ops.mul(violation, violation) if self.squared else violation
        return ops.mul(total(found), 1 / places(y))


@loss("perceptron")
class Perceptron(Loss):
    """Perceptron criterion: mean of max(0, -t y) for two classes, or of max(0, max_{j != t} y_j - y_t) for several.

    With `optimizer sgd` and `batch 1`, each step is Rosenblatt's rule: w changes by lr t x if the sign is wrong.
    Shapes: for two classes, output [1, *S] and target [*S], a sign (-1 or 1) per position; for K classes, output
    [K, *S] and target [*S], a class per position.
    Conventions: an output of 0 and a tie count as errors, so that zero weights can learn: the gradient at the kink is
    the left derivative.
    Source: Rosenblatt (1958); Novikoff (1962); Collins (2002) for several classes.

    ```net
    net perceptron { input x 2; dense 1 init zeros }
    train perceptron { data clouds; loss perceptron; optimizer sgd lr 1; batch 1 }
    ```
    """

    def target(self, output: Shape) -> Target:
        return signs_or_classes(output)

    def body(self, y: Value, target: Value) -> Value:
        if y.shape[1] == 1:
            lead = margin(y, target)
        else:
            here = onehot(y, target)
            right = ops.reduce_sum(ops.mul(y, ops.cast(here, y.dtype)), (1,))
            lead = ops.sub(right, runner_up(y, here))
        none = ops.constant(y.graph, 0.0, y.dtype)
        return mean(ops.where(ops.greater(lead, none), none, ops.neg(lead)))
