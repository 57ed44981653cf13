"""The class Net: inspect a net, compile it to a model, run it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, overload

from netdsl.api.errors import PythonReporter, in_python
from netdsl.api.options import LARGEST, SEEDS, between, compile_options, flag, one_of, output, source_of_weights, text
from netdsl.api.parts import Layer, Value
from netdsl.ir.names import Names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any, Unpack

    import onnx

    from netdsl.api.attacking import AttackOptions
    from netdsl.api.generating import NetGenerateOptions
    from netdsl.api.options import ModelOptions, WeightOptions
    from netdsl.api.profiling import Profiled, ProfileOptions
    from netdsl.api.results import Attacked, Filters, Picture, Result
    from netdsl.api.session import Session
    from netdsl.api.summary import Summary
    from netdsl.api.tracing import Traced, TraceOptions
    from netdsl.api.training import FitOptions, Trained
    from netdsl.api.verifying import VerifyArguments
    from netdsl.app.frontend import Origin
    from netdsl.ir import net as ir
    from netdsl.ir.net import Parameter

MAX_LAYERS_DRAWN = 2_000
"""Maximum number of layers of a net that a notebook displays as a picture."""


class Net:
    """A valid net, as returned by `netdsl.load` and `netdsl.parse`.

    ```python
    >>> net = netdsl.load("lenet5")
    >>> net.inputs["image"].shape
    (1, 28, 28)
    >>> net.parameters["conv1.weight"].shape
    (6, 1, 5, 5)
    >>> [layer.name for layer in net.layers if layer.kind == "dense"]
    ['dense1', 'dense2', 'dense3']

    ```
    """

    __slots__ = ("_names", "_net", "_origin")

    def __init__(self, net: ir.Net, origin: Origin, names: Names | None = None) -> None:
        self._net = net
        self._origin = origin
        self._names = Names() if names is None else names

    @property
    def name(self) -> str:
        return self._net.name

    @property
    def doc(self) -> str:
        """The comment above the net."""
        return self._net.doc

    @property
    def about(self) -> dict[str, object]:
        """The entries of the net's `about`: paper, year, …"""
        return dict(self._net.about)

    @property
    def settings(self) -> dict[str, object]:
        """The values of the net's parameters (`depth`)."""
        return dict(self._net.settings)

    @property
    def inputs(self) -> dict[str, Value]:
        return {
            node.name: Value(node.name, node, getattr(node.layer, "dtype", node.dtype)) for node in self._net.inputs
        }

    @property
    def outputs(self) -> dict[str, Value]:
        """The outputs by name, without those of training heads, which models omit."""
        outputs = self._net.inference_outputs
        return {name: Value(name, output.node, output.node.dtype) for name, output in outputs.items()}

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers, with blocks and loops expanded, in source order; each layer follows its inputs."""
        return tuple([Layer(node) for node in self._net.nodes])

    @property
    def parameters(self) -> dict[str, Parameter]:
        """All weights and running statistics by name, with `shape` and `trainable`. Shared weights appear once."""
        return dict(self._net.parameters)

    @property
    def class_names(self) -> dict[str, tuple[str, ...]]:
        """The class names of the data that `netdsl.fit` trained the net on, in order, by output; empty if unknown.

        Compiled models contain the class names of their weight file, or if it has none, these.
        """
        return dict(self._names.classes)

    def summary(self, *, batch: int = 1) -> Summary:
        """Return sizes and costs, per layer and in total, printed like `netdsl summary`. Bytes are per batch."""
        from netdsl.api.summary import Summary

        return Summary(self._net, between("batch", batch, 1, LARGEST))

    def draw(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        unfold: bool = False,
        wide: bool = False,
        theme: str = "light",
        force: bool = False,
    ) -> Picture:
        """Draw the net, and with a `path`, write the picture to it: .svg, .png, .pdf, .dot or .mmd, as the path ends.

        `unfold` draws every repetition of repeated layers; `wide` fills a slide. `theme` is "light", "dark", or "plain"
        for print. A file that netdsl did not write is only overwritten with `force`. Raises UserError.
        """
        from netdsl.api.results import Picture
        from netdsl.app.draw import TEXT_FORMS, drawn
        from netdsl.app.output import sources
        from netdsl.report.theme import THEMES

        flag("unfold", unfold)
        flag("wide", wide)
        one_of("theme", theme, list(THEMES))

        def render(form: str) -> bytes:
            return drawn(self._net, form, unfold=unfold, wide=wide, theme=theme)

        picture = Picture(self.name, render, TEXT_FORMS, sources(self._net))
        if path is not None:
            picture.save(path, force=force)
        return picture

    def filters(
        self,
        layer: str | None = None,
        *,
        together: bool = False,
        seed: int = 0,
        **matching: Unpack[WeightOptions],
    ) -> Filters:
        """Return the filters of a convolution (default: the first), which a notebook displays.

        `together` scales all filters alike instead of each on its own. `weights` and how they are matched are those of
        `to_onnx`. Raises UserError.
        """
        from netdsl.api.results import Filters, canvas_picture
        from netdsl.app.filters import filters_of_net

        flag("together", together)
        seed = between("seed", seed, 0, SEEDS)
        layer = None if layer is None else text("layer", layer)
        with in_python():
            found = filters_of_net(self._net, source_of_weights(**matching), seed, PythonReporter(), layer)
        return Filters(
            found.name,
            found.weight,
            lambda: canvas_picture(f"{found.name}, of {self.name}", found.picture(together=together)),
        )

    @overload
    def attack(self, image: object, label: int | str, **options: Unpack[AttackOptions]) -> Attacked: ...
    @overload
    def attack(self, *, data: object, **options: Unpack[AttackOptions]) -> Result: ...
    def attack(
        self,
        image: object = None,
        label: int | str | None = None,
        *,
        data: object = None,
        **options: Unpack[AttackOptions],
    ) -> Result:
        """Change an image so that a classifier mistakes it, or all images of a data set.

        `image` is a path or an array, and `label` its class. `data` is a pair (x, y) of arrays, a path, or a string as
        in a `train` block; the result then has the accuracy for each `epsilon`. The `method` is "fgsm" or "pgd", with
        `steps` and `alpha`; `range` are the values of black and white (default: 0 and 255), and `epsilon` fractions of
        it. The other options are those of `netdsl attack`, and of `to_onnx` for `weights`. Raises UserError.
        """
        from netdsl.api.attacking import attack

        with in_python():
            return attack(self._net, self._names, image, label, data, options)

    def trace(self, x: object = None, y: object = None, **options: Unpack[TraceOptions]) -> Traced:
        """Return statistics of the outputs of each layer: mean, deviation, extremes, shares of zeros and of saturated
        numbers, dead channels, and where a NaN first appears.

        `x` is an array, a dict of arrays by input, or a path; `y` are its targets. Instead, `data` is a pair (x, y), a
        path, or a string as in a `train` block, and `random=True` draws `examples` random ones. Without any, the
        examples are a batch of the net's training.

        With `gradients`, the statistics are those of the gradients of the loss for one batch, with respect to the
        layers and the weights; with `parameters`, those of the weights themselves. `layers` selects the rows that are
        listed, by a name or pattern; `values` lists the layers whose outputs the result keeps. `seed` is that of random
        weights and examples, and `threads` the number of CPU threads. Other arguments are those of `to_onnx` for
        `weights`. Raises UserError.
        """
        from netdsl.api.tracing import trace

        with in_python():
            return trace(self, x, y, options)

    def fit(
        self,
        x: object = None,
        y: object = None,
        *,
        data: object = None,
        validate: object = None,
        out: str | os.PathLike[str] | None = None,
        progress: bool = False,
        **options: Unpack[FitOptions],
    ) -> Trained:
        """Train the net on arrays x and y, or on `data`: a pair, an iterable of pairs, a path, or a string as in a
        `train` block, like `netdsl.fit`. There is no y if no loss reads a target.

        Every line of a `train` block is a keyword argument, and so is every argument of an optimizer: `loss`,
        `metric`, `optimizer`, `lr`, `momentum`, `decay`, `schedule`, `epochs`, `steps`, `batch`, `seed`, `augment`,
        `freeze`, … Numbers are numbers, and strings are what the language has, such as
        `loss="cross_entropy smoothing 0.1"`; a list is several values, and a dict has those of several outputs.
        `validate` is a fraction to hold out, or other data. They replace the lines of the net's own `train` block, if
        it has one; a line that neither has takes the language's default, and a loss is required.

        `weights` are the initial ones. `out`, `resume`, `force`, `threads`, `provider`, `step_backend`, `comm` and
        `epoch` are those of `netdsl.fit`; `progress` prints the figures of each epoch, and shows a bar.

        Raises NetError for arguments that the language rejects, and UserError for unsuitable data.
        """
        from netdsl.api.training import fit_net

        return fit_net(self, x, y, data, validate, out, progress, options)

    def verify(self, **options: Unpack[VerifyArguments]) -> Result:
        """Check that the net is sound: in other runtimes, by its gradients, in other precisions and after an import.

        The arguments, the result and the errors are those of `netdsl.verify`.
        """
        from netdsl.api.verifying import verify

        return verify(self, **options)

    def to_onnx(self, **options: Unpack[ModelOptions]) -> onnx.ModelProto:
        """Compile the net to an ONNX model.

        `weights` is the path of a weight file, or a mapping from names to arrays (default: random weights from `seed`,
        which is 0 by default). `drop` and `transpose` are patterns of the file's names, like `--drop` and
        `--transpose`; then `rename` maps patterns to replacements, like `--rename`. `match="order"` matches weights by
        order and shape instead of by name. `exclude` lists labels of weights to initialize instead of loading
        (`["fc", "layer4.*"]`), and `partial` initializes those that the file lacks; a UserWarning lists these weights.
        `allow_nonfinite` accepts NaN, infinities and negative variances.

        `batch` fixes the batch size (default: dynamic), and `opset` is 17 to 26 (default: 21). `dtype="f16"` computes
        in half precision; `io="f16"` makes the inputs and outputs f16 too. `metadata` maps further keys to
        strings, and `functions` emits blocks as functions of the model.

        Raises UserError if the weights do not fit, or an argument has the wrong type or is out of range.
        """
        import onnx

        from netdsl.backend.compile import compile_to_bytes

        model = onnx.ModelProto()
        with in_python():
            model.ParseFromString(compile_to_bytes(self._net, compile_options(self._net, self._names, options)))
        return model

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        external_data: bool = False,
        force: bool = False,
        **options: Unpack[ModelOptions],
    ) -> None:
        """Compile the net to an ONNX file, like `netdsl compile`.

        The file is written atomically. A file that netdsl did not write is only overwritten with `force`. With
        `external_data`, and always above 2 GB, weights are stored in PATH.data. Other arguments and errors are those of
        `to_onnx`; UserError also if the file cannot be written.
        """
        from netdsl.app.compile import Destination, save_model

        with in_python():
            chosen = compile_options(self._net, self._names, options)
            weights = options.get("weights")
            reads = [os.fsdecode(weights)] if isinstance(weights, str | os.PathLike) else []
            flag("external_data", external_data)
            save_model(self._net, Destination(output(path, force), external_data, force, reads), chosen)

    def session(
        self,
        *,
        provider: str = "cpu",
        threads: int | None = None,
        allow_fallback: bool = False,
        **options: Unpack[ModelOptions],
    ) -> Session:
        """Compile the net, and return a session that runs it in onnxruntime.

        `provider` is the execution provider: `cpu`, `cuda`, or with options, `cuda:device_id=1`.
        `threads` is the number of CPU threads (default: one per core). Other arguments and errors are those of
        `to_onnx`; UserError also if the provider is not available, or leaves some of the work to the CPU, unless
        `allow_fallback` is set.
        """
        from netdsl.api.session import Session
        from netdsl.backend.compile import compile_to_bytes
        from netdsl.backend.session import Session as Runtime

        if threads is not None:
            threads = between("threads", threads, 1, LARGEST)
        flag("allow_fallback", allow_fallback)
        provider = text("provider", provider)
        with in_python():
            model = compile_to_bytes(self._net, compile_options(self._net, self._names, options))
            runtime = Runtime(model, provider=provider, threads=threads, name=self.name, allow_fallback=allow_fallback)
        inputs = {name: value for name, value in self.inputs.items() if name in runtime.inputs}
        return Session(runtime, inputs, self.outputs)

    def profile(self, x: object = None, **options: Unpack[ProfileOptions]) -> Profiled:
        """Measure which lines of the net take the time of a run in onnxruntime, like `netdsl profile`.

        `x` is the array of the only input, or a mapping of arrays by name, whose first axis is the batch (default:
        random numbers). `batch` is the number of examples in a run (default: all of `x`, or 1), and `shapes` maps
        inputs to their sizes, if the net does not fix them. With `training`, it is a step of the training by the
        net's `train` block, or by a default one, on random numbers; `step_backend` is that of `fit`. Other arguments
        are those of `session`, and of `to_onnx` for `weights`.

        The result prints the annotated source; `result.by("layer")` groups it otherwise, and `result.plot()` draws a
        roofline chart. Raises UserError.
        """
        from netdsl.api.profiling import profile

        with in_python():
            return profile(self._net, self._origin, x, options)

    @overload
    def generate(self, prompt: str, **options: Unpack[NetGenerateOptions]) -> str: ...
    @overload
    def generate(self, prompt: Iterable[int], **options: Unpack[NetGenerateOptions]) -> list[int]: ...
    def generate(self, prompt: str | Iterable[int], **options: Unpack[NetGenerateOptions]) -> str | list[int]:
        """Compile the net, and return what follows a prompt, as `Session.generate` does. A session compiles only once
        for several prompts.

        `seed` is that of random weights and of the draws. `length`, `temperature`, `top_k`, `context` and `alphabet`
        are those of `Session.generate`, other arguments those of `session`. Raises UserError.
        """
        from netdsl.api.generating import GENERATING

        chosen: Any = {key: value for key, value in options.items() if key in GENERATING}
        others: Any = {key: value for key, value in options.items() if key == "seed" or key not in GENERATING}
        return self.session(**others).generate(prompt, **chosen)

    def __repr__(self) -> str:
        return f"<net {self.name}: {len(self._net.nodes)} layers>"

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        from netdsl.api.notebook import bundle, folded

        picture = self.draw().svg if len(self._net.nodes) <= MAX_LAYERS_DRAWN else ""
        return bundle(repr(self), picture + folded(repr(self)[1:-1], self.summary().html), include, exclude)
