"""Write several nets that differ by numbers alone as one, with a parameter and an alias for each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.importing.blocks import Blocks, units, walk, without_units
from netdsl.importing.merge import Merger, Mismatch
from netdsl.importing.recompile import Differs
from netdsl.importing.repeats import repeated, unlabelled
from netdsl.importing.rewrite import LINE, Draft, Rewriter, check, with_defaults
from netdsl.importing.statements import Statement, layout
from netdsl.importing.tables import Tables
from netdsl.importing.text import about_line, training_comment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from netdsl.importing.flat import FlatLayer, FlatNet
    from netdsl.importing.statements import Block
    from netdsl.importing.structure import Path
    from netdsl.importing.variant_names import VariantNames

    Claims = Sequence[Mapping[FlatLayer, Path]]


SLACK = 3 * LINE
"""How much longer a text can be if that spares a block with a single call."""


class VariantsDraft(Draft):
    """A text of several nets."""

    def __init__(
        self,
        nets: Sequence[FlatNet],
        names: VariantNames,
        tables: Tables,
        body: Sequence[Statement],
        blocks: Mapping[str, Block],
        defaults: Sequence[str] = (),
    ) -> None:
        super().__init__(nets[0], body, blocks, defaults)
        self.nets = nets
        self.names = names
        self.tables = tables

    def changed(self, body: Sequence[Statement], blocks: Mapping[str, Block], defaults: Sequence[str]) -> Draft:
        return VariantsDraft(self.nets, self.names, self.tables, body, blocks, defaults)

    def text(self, comments: Iterable[str] = ()) -> str:
        lines = [*(f"# {comment}" for comment in comments), *self.above()]
        lines += [f"net {self.names.net}{self.tables.declared()} {{", *about_line(self.about()), *self.tables.lines]
        lines += [*layout(self.body), "}", ""]
        lines += [self.tables.alias(name, self.names.net, at) for at, name in enumerate(self.names.aliases)]
        trainings = {tuple(net.training): name for net, name in zip(self.nets, self.names.aliases, strict=True)}
        for training, name in trainings.items():
            lines += training_comment(training, self.names.net if len(trainings) == 1 else name)
        return "\n".join(lines) + "\n"

    def calls(self, origin: str) -> int:
        """Return the number of calls of a block in the text."""
        bodies = [self.body, *(block.body for block in self.blocks.values())]
        block = self.blocks.get(origin)
        return sum(each.block is block for body in bodies for each in walk(body))

    def about(self) -> dict[str, object]:
        """Return the facts that are those of all nets."""
        return {
            key: value
            for key, value in self.net.about.items()
            if all(key in net.about and net.about[key] == value for net in self.nets)
        }


class Variants:
    """The passes over arranged nets, as those of `Rewriter` over one. `draft` is their text, which is each of them, and
    `claims` are the names of the models that weights have in it; they are `renamed` if they have others."""

    def __init__(self, nets: Sequence[FlatNet], names: VariantNames) -> None:
        self.nets = nets
        self.names = names
        self.rewriters = [Rewriter(net) for net in nets]
        self.claims: Claims = ()
        self.renamed = False
        self.draft = self._found()

    def _found(self) -> Draft:
        """Return the shortest text in which weights have the names of the models or, if there is none, other names.
        Raises Mismatch, or Differs if the text is not the nets."""
        wrong: Differs | None = None
        unequal: list[tuple[list[list[Statement]], Mismatch]] = []
        for named in (True, False):
            drafts = []
            for bodies in self._bodies(named):
                try:
                    drafts.append(self._shortest(bodies))
                except Mismatch as error:
                    unequal.append((bodies, error))
            for draft in sorted(drafts, key=lambda draft: draft.cost):
                for tried in (with_defaults(draft), draft):
                    try:
                        self._check(tried)
                    except Differs as error:
                        wrong = wrong or error
                    else:
                        return tried
        if wrong is None and unequal:
            raise self._difference(unequal)
        raise wrong or Differs("they cannot be written with the same names")

    def _bodies(self, named: bool) -> list[list[list[Statement]]]:
        """Return the statements of the nets, in orders that all of them have. Merges without names are in groups."""
        if named:
            found = [rewriter.named_bodies() for rewriter in self.rewriters]
            self.claims = [rewriter.names for rewriter in self.rewriters]
            if not set.intersection(*({path[0] for path in each.values()} for each in self.claims)):
                return []
        else:
            self.renamed = any(self.claims)
            self.claims = [{} for _ in self.nets]
            for net in self.nets:
                _forget_names(net)
            found = [rewriter.nameless_bodies() for rewriter in self.rewriters]
            found = [{early: units(body) for early, body in each.items()} for each in found]
        orders = [early for early in (False, True) if all(early in each for each in found)]
        return [[_placed(each[early], f"{at}:") for at, each in enumerate(found)] for early in orders]

    def _difference(self, unequal: Sequence[tuple[Sequence[list[Statement]], Mismatch]]) -> Mismatch:
        """Return where nets differ, in layers rather than calls of blocks, and preferably not in their names."""
        found = []
        for bodies, known in unequal:
            try:
                Merger(Tables(self.names.values, ())).whole(bodies)
            except Mismatch as error:
                found.append(error)
            else:
                found.append(known)
        return next((error for error in found if not error.renamed), found[0])

    def _check(self, draft: Draft) -> None:
        for net, alias, names in zip(self.nets, self.names.aliases, self.claims, strict=True):
            check(net, draft.text(), names, alias)

    def _shortest(self, bodies: Sequence[list[Statement]]) -> VariantsDraft:
        """Return the text with those blocks that make it shorter."""
        banned: set[str] = set()
        best = self._blocked(bodies, banned)
        for origin in [*best.blocks][::-1]:
            if origin not in banned:
                tried = banned | {origin}
                other = self._blocked(bodies, tried)
                if other.cost <= best.cost + (SLACK if best.calls(origin) == 1 else 0):
                    best, banned = other, tried
        return best

    def _blocked(self, bodies: Sequence[list[Statement]], banned: set[str]) -> VariantsDraft:
        """Return the text without some blocks; those that only some of the nets call are added to them, if that is why
        the nets cannot be merged."""
        while True:
            finder = Blocks(self._words(bodies), banned=banned)
            whole = finder.found([Statement("", operands=[body]) for body in bodies])
            found = [unlabelled(without_units(each.lists()[0])) for each in whole]
            taken = [*self._words(found), *(block.name for block in finder.blocks.values())]
            tables = Tables(self.names.values, taken)
            merger = Merger(tables)
            try:
                merger.whole(found)
            except Mismatch as error:
                wrong = {origin for origin, block in finder.blocks.items() if block.name in error.blocks} - banned
                if not wrong:
                    raise
                banned |= wrong
                continue
            results = [next(iter(net.outputs.values())).shape for net in self.nets]
            tables.decide(tuple(shape[0] for shape in results if len(shape) == 1))
            body = repeated(merger.whole(found))
            for block in finder.blocks.values():
                block.body = repeated(unlabelled(block.body))
            return VariantsDraft(self.nets, self.names, tables, body, finder.blocks)

    def _words(self, bodies: Sequence[list[Statement]]) -> list[str]:
        """Return the names that blocks and numbers cannot have."""
        every = [each for body in bodies for each in walk(body)]
        inputs = [each.head.split(" ")[1] for each in every if each.head.startswith(("input ", "output "))]
        return [self.names.net, *self.names.aliases, *inputs, *(each.label for each in every if each.label)]


def _forget_names(net: FlatNet) -> None:
    """Let labels number the layers of each kind, in place of names that are those of one net."""
    for layer in net.layers:
        if layer.kind not in ("input", "param"):
            layer.path = ""


def _placed(body: Sequence[Statement], prefix: str) -> list[Statement]:
    """Return statements with a prefix of the names of their groups, which are those of one net."""
    return [
        each.mapped(iter([_placed(part, prefix) for part in each.lists()])).changed(origin=prefix + each.origin)
        for each in body
    ]
