"""Losses, optimizers and recipes made of text, as a program writes them."""

from __future__ import annotations

from netdsl.base.text import Source
from netdsl.diagnostics.report import Report
from netdsl.elaborate.library import Library
from netdsl.elaborate.train_block import recipe

NET = "net n { input x 1x2x2; dense 3 }\n"


def module_of(text):
    return Library(Report()).load(Source("test.net", text), "test.net")


def recipe_of(text, wanted=None, settings=()):
    """The recipe of a text and what is wrong with it."""
    module = module_of(text)
    return recipe(module, wanted, settings), list(module.report)


def right(text, settings=()):
    found, problems = recipe_of(text, settings=settings)
    assert [p.message() for p in problems] == []
    return found


def recipe_with(lines, net=NET):
    """The recipe of a net with data, a loss, and these lines."""
    return right(f"{net}train n {{ data xor; loss cross_entropy; {lines} }}")


def loss_of(text, shape):
    """A loss, and its target for an output of a shape, or None if it reads none."""
    size = "x".join(map(str, shape))
    found = right(f"net n {{ input x {size}; relu }}\ntrain n {{ data xor; loss {text} }}").losses[0].loss
    return found, found.target(shape) if found.reads_target else None
