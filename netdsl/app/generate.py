"""Generate text or tokens with a net that scores the next token at each place of a sequence."""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from netdsl.app.labels import from_json
from netdsl.base.files import read_text
from netdsl.base.shape import format_shape
from netdsl.base.terminal import plural
from netdsl.base.user_error import UserError
from netdsl.data.text_windows import BYTE_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from netdsl.backend.session import Array, Session

MAX_SYMBOLS_SHOWN = 5
SAME = 1e-5
"""Maximum difference, relative to the largest score, of scores that are equal up to rounding."""


class NotGenerative(UserError, code="E0684", title="a net that does not score tokens"):
    """`netdsl generate` needs a net with one input of token numbers, `input tokens [L] dtype i64`, and one output with
    a score for each of K tokens, either at each place, [K, L], or for the next token only, [K].

    ```sh
    netdsl summary net.net
    ```
    """


class BadPrompt(UserError, code="E0685", title="a prompt that the net cannot read"):
    """The prompt is empty, has symbols that are not in the net's alphabet or tokens beyond its scores, or is shorter
    than the input of a net that scores only the next token.

    ```sh
    netdsl generate net.net --weights w.safetensors --prompt "To be"
    netdsl generate net.net --weights w.safetensors --tokens "20 15 0"
    ```
    """


class NotCausal(UserError, code="E0686", title="a net whose scores depend on later places"):
    """The input of the net has a fixed length, and what follows the prompt is padding. Scores of the prompt's places
    must not depend on it, but they do: the net has a convolution that is not causal, an attention without `causal on`,
    a recurrent layer of both directions, or a reduction over all places. netdsl runs the net with two paddings and
    compares the scores.

    A prompt as long as the input has no padding, and an input `[?L]` is always as long as its tokens.

    ```sh
    netdsl summary net.net
    ```
    """


class BadAlphabet(UserError, code="E0687", title="an alphabet that does not fit"):
    r"""The alphabet lists the symbol of each token, in order. It is in the metadata of a model or weight file that
    netdsl trained on text, or in a file for `--alphabet`, a JSON list of different texts. The net must have as many
    scores. A prompt is split into symbols of one character; for others, as of a tokenizer, give numbers with
    `--tokens`. A net with 256 scores and without an alphabet reads and writes bytes of UTF-8.

    ```sh
    printf '["a", "b", " "]' > symbols.json
    netdsl generate net.net --weights w.pth --alphabet symbols.json --prompt "ab"
    ```
    """


class BadScores(UserError, code="E0688", title="scores that are not numbers"):
    """A score is NaN or positive infinity, or all scores of a place are negative infinity, so that no token can be
    chosen. The weights may be from a training that diverged.

    ```sh
    netdsl run net.net tokens.npy --weights w.safetensors
    ```
    """


class Alphabet:
    """The symbols of tokens: their texts in order, or without `symbols` the 256 bytes of UTF-8."""

    __slots__ = ("_numbers", "symbols")

    def __init__(self, symbols: Sequence[str] | None = None) -> None:
        self.symbols = symbols
        self._numbers = {symbol: number for number, symbol in enumerate(symbols or ())}

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text. Raises BadPrompt or BadAlphabet."""
        if self.symbols is None:
            return [*text.encode("utf-8", "surrogateescape")]
        if long := next((symbol for symbol in self.symbols if len(symbol) != 1), None):
            raise BadAlphabet(f"the alphabet has symbols of several characters, such as {long!r}", "give --tokens")
        unknown = [character for character in dict.fromkeys(text) if character not in self._numbers]
        if unknown:
            listed = ", ".join(map(repr, unknown[:MAX_SYMBOLS_SHOWN])) + ", …" * (len(unknown) > MAX_SYMBOLS_SHOWN)
            raise BadPrompt(f"the alphabet of {plural(len(self.symbols), 'symbol')} does not contain {listed}")
        return [self._numbers[character] for character in text]

    def decode(self, tokens: Iterable[int]) -> Iterator[str]:
        """Yield the text of each token; an incomplete character of UTF-8 is held back until it is complete."""
        if self.symbols is not None:
            yield from (self.symbols[token] for token in tokens)
            return
        decoder = getincrementaldecoder("utf-8")("replace")
        yield from (decoder.decode(bytes([token])) for token in tokens)
        yield decoder.decode(b"", final=True)


class Sampling(NamedTuple):
    """How tokens are chosen: the one with the highest score if the `temperature` is 0, otherwise a random one with
    probabilities softmax(scores / temperature), of the `top_k` with the highest scores."""

    temperature: float = 0.0
    top_k: int | None = None
    seed: int = 0


class Generator:
    """Generates tokens with a session. `count` is the number of different tokens, and `length` that of the input's
    places, None if it is dynamic."""

    def __init__(self, session: Session, context: int | None = None) -> None:
        """Raises NotGenerative. At most the last `context` tokens are read."""
        self._session = session
        self._input, self._output = _ends(session)
        self.count = session.outputs[self._output].shape[1] or 0
        self._batch, self.length = session.inputs[self._input].shape
        sizes = [size for size in (self.length, context) if size is not None]
        self._limit = min(sizes) if sizes else None
        self._scores_all = len(session.outputs[self._output].shape) == 3

    def alphabet(self, path: str | None = None, symbols: Sequence[str] | None = None) -> Alphabet | None:
        """Return the alphabet of a file, or the one given, or the model's; None if there is none. Raises UserError."""
        if path is not None:
            text = read_text(path).removeprefix("\ufeff")
            if not text.lstrip().startswith("["):
                raise BadAlphabet(f"{path} is not a JSON list of symbols")
            symbols = from_json(text, path)
        where = path or "the alphabet"
        if symbols is None:
            symbols = self._session.names.classes.get(self._output)
        if symbols is None or tuple(symbols) == BYTE_NAMES:
            return Alphabet() if self.count == len(BYTE_NAMES) else None
        if len(set(symbols)) < len(symbols) or "" in symbols:
            raise BadAlphabet(f"{where} has empty or equal symbols")
        if len(symbols) != self.count:
            raise BadAlphabet(
                f"{where} has {plural(len(symbols), 'symbol')}, but {self._session.name} has {self.count:,} scores"
            )
        return Alphabet(symbols)

    def tokens(self, prompt: Sequence[int], length: int, sampling: Sampling) -> Iterator[int]:
        """Yield `length` tokens that continue the prompt.

        The input is filled from its first place, so that tokens have the positions that they had in training, and the
        scores are those of the last token. After the last place, only the last tokens are read.
        Raises BadPrompt, NotCausal, BadScores, or RunFailed.
        """
        if not prompt:
            raise BadPrompt("the prompt is empty")
        if wrong := next((token for token in prompt if not 0 <= token < self.count), None):
            raise BadPrompt(f"the token {wrong} of the prompt is not one of 0 to {self.count - 1:,}")
        if not self._scores_all and self.length is not None and len(prompt) < self.length:
            raise BadPrompt(
                f"{self._session.name} scores what follows {self.length:,} tokens, and the prompt has {len(prompt):,}"
            )
        random = np.random.default_rng(sampling.seed)
        known = [*prompt]
        logarithm = False
        for at in range(length):
            recent = known if self._limit is None else known[-self._limit :]
            scores = self._scores(recent)
            if at == 0:
                self._check_causal(recent, scores)
                logarithm = _are_probabilities(scores)
            known.append(_chosen(scores[:, -1], sampling, random, logarithm))
            yield known[-1]

    def _scores(self, recent: Sequence[int], padding: Array | None = None) -> Array:
        """Return the scores of each token for each place of these, or for the last one: [K, n] or [K, 1]."""
        size = self.length or len(recent)
        row = np.zeros(size, np.int64) if padding is None else padding
        row[: len(recent)] = recent
        outputs = self._session.run({self._input: row[None].repeat(self._batch or 1, 0)})
        scores: Array = outputs[self._output][0].astype(np.float64)
        scores = scores[:, : len(recent)] if self._scores_all else scores[:, None]
        top = scores[:, -1].max()
        if np.isnan(scores[:, -1]).any() or not np.isfinite(top):
            raise BadScores(f"{self._session.name}: the scores after {plural(len(recent), 'token')} are not numbers")
        return scores

    def _check_causal(self, recent: Sequence[int], scores: Array) -> None:
        """Raise NotCausal if the scores depend on the padding behind the tokens."""
        if not self._scores_all or self.length in (None, len(recent)):
            return
        again = self._scores(recent, np.random.default_rng(0).integers(1, self.count, self.length))
        bound = SAME * np.abs(scores).max(initial=0, where=np.isfinite(scores))
        with np.errstate(invalid="ignore"):  # infinities that are equal
            changed = (scores != again) & ~(np.abs(scores - again) <= bound)
        if changed.any():
            place = int(np.flatnonzero(changed.any(0))[0])
            raise NotCausal(
                f"{self._session.name} is not causal: the scores at place {place} depend on the places after "
                f"{len(recent) - 1}, which are padding",
                f"give a prompt of at least {self.length:,} tokens, or write `input {self._input} [?L] dtype i64`",
            )


def _ends(session: Session) -> tuple[str, str]:
    """Return the names of the input of tokens and of the output of scores. Raises NotGenerative."""
    tokens = [name for name, x in session.inputs.items() if x.dtype == "int64" and len(x.shape) == 2]
    if len(session.inputs) != 1 or len(tokens) != 1:
        held = ", ".join(f"`{x.name}` {x.dtype} {format_shape(x.shape[1:])}" for x in session.inputs.values())
        raise NotGenerative(
            f"{session.name} does not read tokens: it has the input {held}", "declare `input tokens [128] dtype i64`"
        )
    length = session.inputs[tokens[0]].shape[1]
    found = []
    for name, y in session.outputs.items():
        _, *sizes = y.shape or (None,)
        is_float = y.dtype.startswith("float")
        if is_float and sizes and (sizes[0] or 0) > 1 and (len(sizes) == 1 or sizes[1:] == [length]):
            found.append(name)
    if len(found) != 1:
        held = ", ".join(f"`{y.name}` {y.dtype} {format_shape(y.shape[1:])}" for y in session.outputs.values())
        size = "L" if length is None else f"{length:,}"
        what = "no output" if not found else f"{len(found)} outputs"
        raise NotGenerative(f"{session.name} has {what} of scores, [K, {size}] or [K]; its outputs are {held}")
    return tokens[0], found[0]


def _are_probabilities(scores: Array) -> bool:
    """Return whether all places have probabilities, of a net that ends with a softmax."""
    return bool((scores >= 0).all()) and bool((np.abs(scores.sum(0) - 1) < 1e-3).all())


def _chosen(scores: Array, sampling: Sampling, random: np.random.Generator, logarithm: bool) -> int:
    """Return the number of a token, from the scores [K] or if `logarithm`, the probabilities of all."""
    if sampling.temperature == 0:
        return int(scores.argmax())
    if logarithm:
        with np.errstate(divide="ignore"):
            scores = np.log(scores)
    order = np.argsort(-scores, kind="stable")[: sampling.top_k]
    weights = np.exp((scores[order] - scores[order[0]]) / sampling.temperature)
    totals = weights.cumsum()
    place = np.searchsorted(totals, random.random() * totals[-1], side="right")
    return int(order[min(place, np.count_nonzero(weights) - 1)])  # the product may round up to the total
