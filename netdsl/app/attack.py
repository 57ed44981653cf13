"""Adversarial examples: small changes of images in the direction in which a classifier's loss grows fastest.

Sources: Goodfellow, Shlens & Szegedy (2015), Explaining and harnessing adversarial examples, section 4; Madry, Makelov,
Schmidt, Tsipras & Vladu (2018), Towards deep learning models resistant to adversarial attacks, section 2.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl import ops
from netdsl.backend.compile import model_bytes, net_names
from netdsl.base.shape import elements
from netdsl.base.user_error import UserError
from netdsl.lower import lower
from netdsl.ops.activations import Sigmoid, Softmax
from netdsl.ops.elementwise import Identity
from netdsl.passes.gradient import gradients
from netdsl.passes.rewrite import differentiable, expand_macros, prune

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from netdsl.base.shape import Shape
    from netdsl.data.picture import Picture
    from netdsl.ir.graph import Graph, Value
    from netdsl.ir.net import Net
    from netdsl.ir.op import Op
    from netdsl.weights.file import WeightFile

    Array = np.ndarray[Any, np.dtype[Any]]

LABEL, SCORES, LOSS, GRADIENT = "attack.label", "attack.scores", "attack.loss", "attack.gradient"
"""Names of the additional input of an attack's graph, and of its outputs."""

LOWEST = -3.4e38
"""A number below every score."""

STEPS, STRIDE = 10, 2.5
"""Defaults of PGD: the number of steps, and their total length in units of epsilon (Madry et al., 2018)."""


class NotAttackable(UserError, code="E0870", title="a model that cannot be attacked"):
    """The model is not an image classifier: a net with one floating-point input, and an output with one number per
    class, or with one number whose sign is the class. Or the label is not one of its classes."""


def attack_graph(net: Net, batch: int = 1) -> Graph:
    """Return the graph of inference and of the gradient of the loss with respect to the pixels, without macros.

    Its inputs are that of the net as f32, [batch, *shape], and `attack.label` [batch], i64; its outputs are
    `attack.scores`, before any softmax, [batch, K], `attack.loss` [batch], and `attack.gradient` of the input's shape.
    Raises NotAttackable.
    """
    graph = differentiable(lower(net, batch=batch))
    x, y = _only_input(net, graph), _classes(net, graph)
    label = graph.input(LABEL, (batch,), "i64")
    lead = _lead(y, label)
    (found,) = gradients(ops.reduce_sum(lead, (0,), keepdims=False), [x])
    if found is None:
        raise NotAttackable(f"the classes of {net.name} do not depend on its input")
    graph.outputs.clear()
    graph.output(SCORES, ops.identity(y))
    graph.output(LOSS, ops.softplus(lead))
    graph.output(GRADIENT, ops.identity(found))
    return prune(expand_macros(graph))


def _only_input(net: Net, graph: Graph) -> Value:
    """Return the input as f32, also if it is u8 in the net: an attack needs values between two bytes."""
    if len(graph.inputs) > 1:
        raise NotAttackable(f"{net.name} has {len(graph.inputs)} inputs, but an attack needs a single input")
    (x,) = graph.inputs.values()
    if x.dtype == "i64":
        raise NotAttackable(f"{net.name} has an integer input, which has no gradient")
    if not all(isinstance(size, int) for size in x.shape):
        raise NotAttackable(f"{net.name} has an input of variable size, but an attack needs a fixed size")
    x.dtype = "f32"
    return x


def _classes(net: Net, graph: Graph) -> Value:
    """Return the first output with a score per class, before a softmax or sigmoid: [N, K]."""
    for y in graph.outputs.values():
        while y.producer and _keeps_class(y.producer.op):
            (y,) = y.producer.inputs
        if _is_list(y.shape[1:]) and y.dtype == "f32":
            return y if len(y.shape) == 2 else ops.reshape(y, (elements(y.shape[1:]),))
    raise NotAttackable(f"{net.name} has no output with a number for each class")


def _keeps_class(op: Op) -> bool:
    """Return whether an op turns scores into the probabilities of the same classes, or keeps them."""
    return isinstance(op, Identity | Sigmoid) or (isinstance(op, Softmax) and op.axis == 1)


def _is_list(shape: Shape) -> bool:
    return bool(shape) and sum(size != 1 for size in shape) <= 1


def _lead(y: Value, label: Value) -> Value:
    """Return the margin of the wrong classes, [N, K] -> [N], m = log sum_{j != t} exp(y_j) - y_t.

    The cross-entropy is log(1 + e^m), so that m has the direction of its gradient, also where the net is so certain
    that the cross-entropy and its gradient are 0 in single precision. For one number whose sign is the class, m = -t y.
    """
    k = y.shape[1]
    assert isinstance(k, int)
    if k == 1:
        sign = ops.sub(ops.mul(ops.cast(label, y.dtype), 2), 1)
        return ops.neg(ops.mul(sign, ops.reshape(y, ())))
    numbers = ops.constant(y.graph, tuple(range(k)), "i64", (1, k))
    right = ops.equal(ops.reshape(label, (1,)), numbers)
    others = ops.where(right, ops.constant(y.graph, LOWEST, y.dtype), y)
    largest = ops.reduce_max(others, (1,))
    spread = ops.log(ops.reduce_sum(ops.exp(ops.sub(others, largest)), (1,)))
    own = ops.reduce_sum(ops.where(right, y, ops.constant(y.graph, 0.0, y.dtype)), (1,))
    return ops.reshape(ops.sub(ops.add(spread, largest), own), ())


class Classifier:
    """A net with its weights, attacked a batch of images at a time.

    `low` and `high` are black and white; epsilon is a fraction of their difference.
    """

    __slots__ = ("_model", "batch", "high", "input", "low", "name", "names", "output", "picture", "shape")

    def __init__(
        self,
        net: Net,
        *,
        weights: WeightFile | None = None,
        seed: int = 0,
        batch: int = 1,
        low: float = 0.0,
        high: float = 255.0,
        threads: int | None = None,
    ) -> None:
        """Initialize. Raises UserError if the net cannot be attacked, or the weights do not fit."""
        from netdsl.backend.session import Session

        graph = attack_graph(net, batch)
        self._model = Session(model_bytes(net, graph, seed=seed, weights=weights), threads=threads, name=net.name)
        self.name = net.name
        self.batch = batch
        self.low = low
        self.high = high
        self.picture: Picture | None = None
        """How images are normalized before the net; None if they are attacked as the net reads them."""
        (self.input,) = graph.inputs.keys() - {LABEL}
        self.names = net_names(net, weights)
        """The names that the weights' file has for classes and columns."""
        self.output = next(name for name, each in net.inference_outputs.items() if _is_list(each.node.shape))
        self.shape: tuple[int, ...] = tuple(graph.inputs[self.input].shape[1:])  # type: ignore[arg-type]

    @property
    def classes(self) -> int:
        """The number of classes."""
        size = self._model.outputs[SCORES].shape[1]
        assert size is not None
        return max(size, 2)

    def look(self, x: Array, labels: Array) -> Mapping[str, Array]:
        """Return scores, loss and gradient by name, for n images [n, *shape] and n labels, with n at most `batch`. The
        gradient is that of the net's input, whose signs are those for pixels: `std` is positive."""
        import numpy as np

        n = len(x)
        lacking = self.batch - n
        assert lacking >= 0, n
        whole = np.concatenate([x, np.repeat(x[:1], lacking, 0)]) if lacking else x
        numbers = np.concatenate([labels, np.repeat(labels[:1], lacking)]) if lacking else labels
        x = whole if self.picture is None else self.picture.normalized(whole)
        feeds = {self.input: x.astype(np.float32, copy=False), LABEL: numbers.astype(np.int64, copy=False)}
        return {name: array[:n] for name, array in self._model.run(feeds).items()}

    def named(self, scores: Array) -> Array:
        """Return the class of the highest score, [n, K] -> [n]; for one number, 1 if it is positive."""
        found: Array = scores.argmax(1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype("int64")
        return found

    def probabilities(self, x: Array) -> Array:
        """Return the softmax of the scores, [n, *shape] -> [n, classes]; for one number s its sigmoid, [1 - p, p]."""
        import numpy as np

        scores = self.look(x, np.zeros(len(x), np.int64))[SCORES].astype(np.float64)
        if scores.shape[1] == 1:
            scores = np.concatenate([np.zeros_like(scores), scores], 1)
        powers = np.exp(scores - scores.max(1, keepdims=True))
        found: Array = powers / powers.sum(1, keepdims=True)
        return found

    def clipped(self, x: Array) -> Array:
        """Clip pixels to black and white."""
        import numpy as np

        return np.clip(x, np.float32(self.low), np.float32(self.high))

    def unit(self, epsilon: float) -> float:
        """Convert a fraction of the range to a difference of pixels."""
        return epsilon * (self.high - self.low)


def fgsm(classifier: Classifier, x: Array, labels: Array, epsilon: float) -> Array:
    """The fast gradient sign method: x + epsilon sign(dJ/dx), clipped to black and white.

    x [n, *shape], labels [n] -> [n, *shape]; all pixels move by epsilon, but those with a gradient of exactly 0.
    Source: Goodfellow, Shlens & Szegedy (2015), section 4.
    """
    import numpy as np

    ahead = np.sign(classifier.look(x, labels)[GRADIENT])
    return classifier.clipped(x + np.float32(classifier.unit(epsilon)) * ahead)


def pgd(
    classifier: Classifier,
    x: Array,
    labels: Array,
    epsilon: float,
    *,
    steps: int = STEPS,
    alpha: float | None = None,
    seed: int | None = 0,
) -> Array:
    """Projected gradient descent on the negative loss: x' = clip(x' + alpha sign(dJ/dx'), x - epsilon, x + epsilon).

    It begins at a random point of that box, drawn from the seed, or at x where that is None; `alpha`, in the unit of
    epsilon, is 2.5 epsilon / steps by default. Source: Madry et al. (2018), equation in section 2.1; the step: 5.
    """
    import numpy as np

    radius = np.float32(classifier.unit(epsilon))
    stride = np.float32(classifier.unit(STRIDE * epsilon / steps if alpha is None else alpha))
    low, high = classifier.clipped(x - radius), classifier.clipped(x + radius)
    found = x
    if seed is not None:
        start = np.random.default_rng(seed).uniform(-radius, radius, x.shape)
        found = np.clip(x + np.asarray(start, np.float32), low, high)
    for _ in range(steps):
        found = np.clip(found + stride * np.sign(classifier.look(found, labels)[GRADIENT]), low, high)
    return found
