"""Sequences of symbols as targets: their size, and whether the places of an output suffice for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from netdsl.base.user_error import UserError
from netdsl.data.dataset import Dataset
from netdsl.elaborate.recipe import LossLine, target_name
from netdsl.losses.sequence import Ctc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netdsl.base.dtypes import Array
    from netdsl.data.dataset import Examples
    from netdsl.elaborate.recipe import Recipe

CHUNK = 2**14
"""Number of examples checked at a time."""

SHOWN = 5
"""Maximum number of examples listed in a note."""


class NoAlignment(UserError, code="E0880", title="a target without an alignment"):
    """A path of `ctc` reads at most one symbol at each place, and needs a blank between two equal symbols: a target of
    U symbols, R of which repeat the one before, needs U + R places, of those that `lengths` counts. A target that needs
    more contributes nothing, which a note says. It is an error if all targets do, and in batches from an iterable,
    whose targets are not known before training.

    ```sh
    netdsl summary net.net
    ```
    """


class NoLongest(UserError, code="E0881", title="targets of unknown size"):
    """The targets of `ctc` are padded to the size of the longest. The array of a data set determines it; batches from
    an iterable, and a compiled training step, do not.

    ```net fixed
    net reader { input x 64x50; linear 11 }
    train reader { data npz "words.npz"; loss ctc longest 20 }
    ```
    """


class BadLengths(UserError, code="E0882", title="lengths outside of the output"):
    """`lengths` counts the places of the output that belong to an example, which is not always the length of its
    input: after a layer with stride 2, half of the places are left.

    ```sh
    netdsl summary net.net
    ```
    """


def is_sequence(line: LossLine) -> bool:
    return isinstance(line.loss, Ctc)


def needs_longest(line: LossLine) -> bool:
    """Return whether the data determine the size of a loss's target."""
    return isinstance(line.loss, Ctc) and line.loss.longest is None


def with_longest(line: LossLine, longest: int) -> LossLine:
    """Return the line of a loss with the size of its target, which data determine."""
    given = {name: getattr(line.loss, name) for name in line.loss.arguments}
    loss = type(line.loss)(**given | {"longest": longest})
    loss.spans = line.loss.spans
    return LossLine(output=line.output, loss=loss, span=line.span)


def measured(line: LossLine, recipe: Recipe, dataset: Examples) -> LossLine:
    """Return the line of a loss with the size of its target in a data set. Raises NoLongest for a stream."""
    if not needs_longest(line):
        return line
    if not isinstance(dataset, Dataset):
        raise NoLongest(
            f"the loss of `{line.output}` pads its targets to one size, but an iterable provides them batch by batch",
            "pass arrays, or give the number of symbols of the longest target: `loss ctc longest 20`",
        )
    return with_longest(line, dataset.targets[target_name(recipe.net, line.output)].shape[0])  # type: ignore[arg-type]


def places_needed(target: Array) -> Array:
    """Return the number of places that each target [N, U] needs, [N]: its symbols, and a blank between equal ones."""
    symbols = target >= 0
    repeated = symbols[:, 1:] & (target[:, 1:] == target[:, :-1])
    needed: Array = symbols.sum(1) + repeated.sum(1)
    return needed


def _sequences(recipe: Recipe) -> Iterator[tuple[str, int, Ctc]]:
    """Yield the target, the number of places, and each loss of a sequence."""
    for line in recipe.losses:
        if isinstance(line.loss, Ctc):
            places = recipe.net.outputs[line.output].node.shape[1]
            assert isinstance(places, int)
            yield target_name(recipe.net, line.output), places, line.loss


def _places(loss: Ctc, most: int, inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return the number of places of each example, or of all, and where it is invalid."""
    if loss.lengths is None:
        return np.array([most]), np.array([False])
    lengths = inputs[loss.lengths].reshape(-1)
    return lengths, (lengths < 0) | (lengths > most)


def alignment_notes(recipe: Recipe, dataset: Examples) -> Iterator[str]:
    """Yield a note for each loss that ignores targets without an alignment. Raises NoAlignment if these are all, and
    BadLengths. The targets of a stream are not known yet."""
    if not isinstance(dataset, Dataset):
        return
    for name, most, loss in _sequences(recipe):
        column, found = dataset.targets[name], []
        lengths = dataset.inputs[loss.lengths] if loss.lengths else None
        for at in range(0, len(column), CHUNK):
            stop = min(at + CHUNK, len(column))
            rows = np.arange(at, stop)
            needed = places_needed(column.take(rows))
            places, wrong = _places(loss, most, {} if lengths is None else {loss.lengths or "": lengths.take(rows)})
            if wrong.any():
                assert lengths is not None
                raise bad_lengths(lengths.name(at + int(wrong.argmax())), int(places[wrong.argmax()]), most)
            found += [(at + int(row), int(needed[row])) for row in np.flatnonzero(needed > places)]
        if not found:
            continue
        shown = ", ".join(f"{column.name(row)} needs {needed}" for row, needed in found[:SHOWN])
        if len(found) == len(column):
            raise NoAlignment(
                f"none of the {len(found):,} targets fits the {most} places of the output: {shown}"
                + (", …" if len(found) > SHOWN else ""),
                "reduce the strides of the net, shorten the targets, or check that they are padded with -1",
            )
        yield (
            f"{len(found):,} of {len(column):,} targets have no alignment, and contribute nothing to the loss: {shown}"
            + (f", and {len(found) - SHOWN:,} more" if len(found) > SHOWN else "")
            + f"; the output has {most} places{', fewer by `lengths`' if loss.lengths else ''}"
        )


def refuse_unaligned(recipe: Recipe, feeds: Mapping[str, Array], where: str) -> None:
    """Raise NoAlignment or BadLengths for a batch of a stream, `where` in words, that contains such a target."""
    for name, most, loss in _sequences(recipe):
        needed = places_needed(feeds[name])
        places, wrong = _places(loss, most, feeds)
        if wrong.any():
            row = int(wrong.argmax())
            raise bad_lengths(f"`{loss.lengths}` of example {row} of {where}", int(places[row]), most)
        if (needed > places).any():
            row = int((needed > places).argmax())
            had = int(np.broadcast_to(places, needed.shape)[row])
            raise NoAlignment(
                f"the target of example {row} of {where} needs {int(needed[row])} places, but has {had}",
                "leave it out of the iterable",
            )


def bad_lengths(name: str, found: int, most: int) -> BadLengths:
    return BadLengths(f"{name} is {found}, but the output has {most} places", "count the places of the output")
