"""Generate text or tokens with a session."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from operator import index
from typing import TYPE_CHECKING

from netdsl.api.options import LARGEST, SEEDS, between, labels_of, shown
from netdsl.base.user_error import WrongArgumentType, WrongArgumentValue

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import TypedDict

    from netdsl.api.options import ModelOptions
    from netdsl.backend.session import Session

    class GenerateOptions(TypedDict, total=False):
        """The keyword arguments of `Session.generate`."""

        length: int
        temperature: float
        top_k: int | None
        seed: int
        context: int | None
        alphabet: str | os.PathLike[str] | Sequence[str] | None

    class NetGenerateOptions(GenerateOptions, ModelOptions, total=False):
        """The keyword arguments of `Net.generate`; `seed` is in both."""

        provider: str
        threads: int | None
        allow_fallback: bool


GENERATING = frozenset({"length", "temperature", "top_k", "seed", "context", "alphabet"})
"""The keys of `GenerateOptions`."""


def generate(
    session: Session,
    prompt: object,
    *,
    length: int = 200,
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: int = 0,
    context: int | None = None,
    alphabet: str | os.PathLike[str] | Sequence[str] | None = None,
) -> str | list[int]:
    """Return what follows the prompt, as `Session.generate`."""
    from netdsl.app.generate import BadAlphabet, Generator, Sampling

    length = between("length", length, 1, LARGEST)
    bounds = {"top_k": top_k, "context": context}
    top_k, context = (None if value is None else between(name, value, 1, LARGEST) for name, value in bounds.items())
    sampling = Sampling(_temperature(temperature), top_k, between("seed", seed, 0, SEEDS))
    generator = Generator(session, context)
    symbols = labels_of(alphabet, "alphabet")
    if not isinstance(prompt, str):
        return [*generator.tokens(_tokens(prompt), length, sampling)]
    known = generator.alphabet(symbols) if isinstance(symbols, str) else generator.alphabet(symbols=symbols)
    if known is None:
        raise BadAlphabet(
            f"{session.name} has no alphabet, and {generator.count:,} scores, not the 256 of bytes",
            "pass alphabet, a list of symbols, or a list of token numbers as the prompt",
        )
    return "".join(known.decode(generator.tokens(known.encode(prompt), length, sampling)))


def _temperature(given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise WrongArgumentType(f"temperature must be a number, not {shown(given)}")
    if not (isfinite(given) and given >= 0):
        raise WrongArgumentValue(f"temperature must be a finite number of at least 0, not {shown(given)}")
    return float(given)


def _tokens(given: object) -> list[int]:
    wrong = f"the prompt is a str, or a list of token numbers, not {shown(given)}"
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise WrongArgumentType(wrong)
    try:
        return [index(each) for each in given]
    except TypeError:
        raise WrongArgumentType(wrong) from None
