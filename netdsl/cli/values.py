"""Convert the values of options from text. Each function raises ArgumentTypeError for other texts."""

from __future__ import annotations

from argparse import ArgumentTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return a function that converts a text to a whole number within bounds."""

    def convert(text: str) -> int:
        number = int(text) if text.isdecimal() and len(text) < 20 else -1
        if not low <= number <= high:
            raise ArgumentTypeError(f"{text!r} is not an integer from {low} to {high}")
        return number

    return convert


positive = whole_number(1, 2**31 - 1)


def fraction(text: str) -> float:
    number = _float(text)
    if not 0 <= number <= 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def fractions(text: str) -> tuple[float, ...]:
    return tuple(map(fraction, text.split(",")))


def seconds(text: str) -> float:
    number = _float(text)
    if not 0 <= number < 1e9:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds")
    return number


def nonnegative(text: str) -> float:
    number = _float(text)
    if not 0 <= number < 1e9:
        raise ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return number


def quantity(text: str) -> float:
    number = _float(text)
    if not 0 < number < 1e9:
        raise ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def numbers(text: str) -> list[int]:
    words = text.replace(",", " ").split()
    if not all(word.isdecimal() and len(word) < 10 for word in words):
        raise ArgumentTypeError(f"{text!r} is not a list of token numbers, such as '20 15 0'")
    return [*map(int, words)]


def interval(text: str) -> tuple[float, float]:
    low, comma, high = text.partition(",")
    bounds = _float(low), _float(high)
    if not comma or not -1e9 < bounds[0] < bounds[1] < 1e9:
        raise ArgumentTypeError(f"{text!r} is not of the form LOW,HIGH with LOW < HIGH")
    return bounds


def shard(text: str) -> tuple[int, int] | str:
    if text == "auto":
        return text
    index, slash, count = text.partition("/")
    if not slash or not index.isdecimal() or not count.isdecimal() or len(text) > 20 or int(index) >= int(count):
        raise ArgumentTypeError(f"{text!r} is not of the form I/N, with I from 0 to N - 1, nor auto")
    return int(index), int(count)


def named_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    words = sizes.split("x")
    if not name or not all(word.isdecimal() and 0 < len(word) < 10 and int(word) for word in words):
        raise ArgumentTypeError(f"{text!r} is not of the form NAME=SHAPE, such as data=3x224x224")
    return name, tuple(map(int, words))


def rule(option: str) -> Callable[[str], tuple[str, str]]:
    """Return a function that converts a pattern to a rename rule, as `option_rules` takes it."""
    return lambda pattern: (pattern, option)


def step_backend(text: str) -> str:
    """Translate the former names of the step backends."""
    return {"std": "plain", "blk": "nchwc"}.get(text, text)


def opsets(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(map(whole_number(17, 26), text.split(","))))


def runtimes(text: str) -> tuple[str, ...]:
    from netdsl.app.verify.tools import AGAINST

    return _words(text, AGAINST, "runtime")


def checks(text: str) -> tuple[str, ...]:
    from netdsl.app.verify.checks import CHECKS

    return _words(text, tuple(CHECKS), "check")


def _words(text: str, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    """Return the words of a list with commas, each once."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in words:
        if word not in known:
            raise ArgumentTypeError(f"{word!r} is no {what}: there are {', '.join(known)}")
    return words


def _float(text: str) -> float:
    """Return a number, or NaN, which no comparison accepts."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
