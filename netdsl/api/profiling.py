"""Profile a net from Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from netdsl.api.errors import NetError, PythonReporter
from netdsl.api.options import (
    LARGEST,
    MATCHING,
    SEEDS,
    between,
    expect_keywords,
    flag,
    one_of,
    shown,
    source_of_weights,
    text,
)
from netdsl.api.results import Result, canvas_picture
from netdsl.base.user_error import WrongArgumentType, WrongArgumentValue
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.api.options import WeightOptions
    from netdsl.app.frontend import Origin
    from netdsl.app.given_weights import WeightSource
    from netdsl.backend import session
    from netdsl.backend.session import Array
    from netdsl.ir.net import Net
    from netdsl.profiling.profile import Profile

    class ProfileOptions(WeightOptions, total=False):
        """The keyword arguments of `Net.profile`."""

        batch: int | None
        shapes: Mapping[str, Sequence[int]]
        seed: int
        threads: int | None
        provider: str
        allow_fallback: bool
        training: bool
        step_backend: str | None


INFERENCE = frozenset({"shapes", "provider", "allow_fallback"})
"""Options that do not apply to training."""

OPTIONS = MATCHING | INFERENCE | {"batch", "seed", "threads", "training", "step_backend"}
"""The keys of `ProfileOptions`."""


class Profiled(Result):
    """Where the time of a run goes, printed as `netdsl profile` does. `by` groups the same measurement otherwise, and
    `plot` draws a roofline chart."""

    __slots__ = ("_profile",)

    def __init__(self, profile: Profile, by: str, top: int | None = None) -> None:
        from netdsl.profiling.text import profile_data, profile_text

        def picture() -> Any:
            from netdsl.profiling.roofline import roofline

            return canvas_picture(f"a profile of {profile.name}", roofline(profile, by))

        super().__init__(profile_data(profile, by, top), profile_text(profile, by, top), picture)
        self._profile = profile

    def by(self, view: str, top: int | None = None) -> Profiled:
        """Group the measurement by `line`, `block`, `call`, `repeat`, `layer`, `kind` or `op`, with the `top` rows."""
        from netdsl.profiling.views import VIEWS

        one_of("view", view, [*VIEWS])
        return Profiled(self._profile, view, None if top is None else between("top", top, 1, LARGEST))

    @property
    def folded(self) -> str:
        """Stacks of scopes with their microseconds, as programs that draw flame graphs read them."""
        from netdsl.profiling.views import folded

        return folded(self._profile)


def profile(net: Net, origin: Origin, x: object, options: ProfileOptions) -> Profiled:
    """Profile a net like `Net.profile`. Raises NetError and UserError."""
    from netdsl.app import profile as app
    from netdsl.profiling.views import default_view

    expect_keywords(options, OPTIONS)
    given: dict[str, Any] = {**options}
    source = source_of_weights(**{key: value for key, value in given.items() if key in MATCHING})
    counts = {
        name: between(name, given[name], 1, LARGEST) if given.get(name) is not None else None
        for name in ("batch", "threads")
    }
    flag("allow_fallback", given.get("allow_fallback", False))
    flag("training", given.get("training", False))
    if given.get("training"):
        if x is not None or any(given.get(name) for name in INFERENCE):
            words = ", ".join(sorted(INFERENCE))
            raise WrongArgumentValue(f"a training step is profiled on random numbers and the CPU, without x, {words}")
        return _profile_step(net, origin, given, counts, source)
    if given.get("step_backend") is not None:
        raise WrongArgumentValue("step_backend is for training=True")
    chosen = app.ProfileOptions(
        () if x is None else lambda session: _arrays(session, x, counts["batch"]),
        _shapes(given.get("shapes", {})),
        counts["batch"],
        text("provider", given.get("provider", "cpu")),
        counts["threads"],
        given.get("allow_fallback", False),
    )
    seed = between("seed", given.get("seed", 0), 0, SEEDS)
    found = app.profile_net(net, source, seed, chosen, PythonReporter())
    return Profiled(found, default_view(found))


def _profile_step(
    net: Net, origin: Origin, given: Mapping[str, Any], counts: Mapping[str, int | None], source: WeightSource
) -> Profiled:
    from netdsl.app import profile_step as app
    from netdsl.profiling.views import default_view
    from netdsl.train.step_backend import STEP_BACKENDS

    backend = given.get("step_backend") or "auto"
    one_of("step_backend", backend, STEP_BACKENDS)
    report = Report()
    recipe = app.step_of(net, origin, report, counts["batch"])
    if recipe is None or report.errors:
        raise NetError(report)
    if given.get("seed") is not None:
        recipe.seed = between("seed", given["seed"], 0, SEEDS)
    found = app.profile_step(recipe, source, app.StepOptions(backend, counts["threads"]), PythonReporter())
    return Profiled(found, default_view(found))


def _arrays(runtime: session.Session, x: object, batch: int | None) -> dict[str, Array]:
    """Return the array of the only input, or those of a mapping, converted as those of a session are: all examples, or
    the first ones. Raises FewExamples."""
    from netdsl.api.session import arrays_of
    from netdsl.app.profile import check_enough

    arrays = arrays_of(runtime, None, x) if isinstance(x, Mapping) else arrays_of(runtime, x, {})
    for array in arrays.values():
        check_enough(len(array), batch or 1)
    return {name: array[:batch] for name, array in arrays.items()}


def _shapes(given: object) -> dict[str, tuple[int, ...]]:
    wrong = f"shapes is a mapping from inputs to lists of sizes, not {shown(given)}"
    if not isinstance(given, Mapping):
        raise WrongArgumentType(wrong)
    try:
        return {
            str(name): tuple(between("a size", size, 1, LARGEST) for size in sizes) for name, sizes in given.items()
        }
    except TypeError:
        raise WrongArgumentType(wrong) from None
