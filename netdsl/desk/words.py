"""What the words of the language mean, in a line each, for hovers and completions."""

from __future__ import annotations

ITEMS = {
    "use": ('use "path.net"', "import the definitions of another file"),
    "net": ("net NAME(parameters) { … }", "a network"),
    "block": ("block NAME(parameters) { … }", "statements to be called like a layer"),
    "fn": ("fn NAME(x, …) = expression", "a function for expressions"),
    "let": ("let NAME = expression", "a constant, or a variable of these braces"),
    "default": ("default LAYER keyword value…", "change the defaults of a layer from here on"),
    "train": ("train NET { … }", "how a net is trained"),
}
"""Definitions of a file, with their form."""

STATEMENTS = {
    "input": ("input NAME SHAPE", "begin with an input of the net"),
    "output": ("output NAME [training] [{ … }]", "name an output, the current value or that of a branch"),
    "skip": ("skip [if c] { … } [project { … }]", "add the value of a branch to the current one"),
    "add": ("add OPERAND…", "the sum of branches or labels"),
    "sub": ("sub OPERAND…", "the difference of branches or labels"),
    "mul": ("mul OPERAND…", "the product of branches or labels"),
    "div": ("div OPERAND…", "the quotient of branches or labels"),
    "max": ("max OPERAND…", "the maximum of branches or labels"),
    "min": ("min OPERAND…", "the minimum of branches or labels"),
    "concat": ("concat [axis N] OPERAND…", "join branches or labels along an axis, by default the channels"),
    "repeat": ("repeat N [as j] { … }", "apply statements N times"),
    "for": ("for NAME in LIST { … }", "apply statements for each entry of a list"),
    "if": ("if condition { … } else { … }", "apply statements under a condition"),
    "from": ("from LABEL", "continue with the value of a label"),
    "reuse": ("reuse LABEL", "apply labeled statements again, with the same weights"),
    "freeze": ("freeze { … }", "exclude the weights of statements from training"),
    "expect": ("expect SHAPE", "check the current shape, or with `params` or `macs` a count"),
    "about": ("about { … }", "facts about the net, which become model metadata"),
    "let": ITEMS["let"],
    "default": ITEMS["default"],
}
"""Statements of a net or block, with their form."""

OTHERS = {
    "else": ("else { … }", "the branch of an `if` whose condition is off"),
    "project": ("project { … }", "applied to the value that a `skip` adds, where the shapes differ"),
    "match": ("match x { a => y; _ => z }", "the value of the first arm that is equal"),
    "on": ("on", "true"),
    "off": ("off", "false"),
    "seq": ("seq { … }", "number the layers in these braces from 0"),
    "channels": ("channels", "the size of the first axis of the current value"),
    "shape": ("shape", "the sizes of the current value, as a list"),
}
"""Other words with a meaning, with their form."""

TRAIN_LINES = {
    "data": ("data KIND …", "the training data"),
    "validate": ("validate KIND …", "the validation data, or a part of the training data"),
    "loss": ("loss [OUTPUT] LOSS", "what is minimized"),
    "metric": ("metric [OUTPUT] METRIC", "a figure that is measured besides the loss"),
    "optimizer": ("optimizer NAME lr N", "the optimizer"),
    "schedule": ("schedule NAME", "how the learning rate changes"),
    "stop": ("stop patience N", "when to stop early"),
    "average": ("average D", "keep a moving average of the weights"),
    "dtype": ("dtype bf16", "the type in which products are computed"),
    "augment": ("augment { … }", "random changes of training images"),
    "freeze": ("freeze LABEL…", "parts of the net that are not trained"),
}
"""Lines of a `train` block that are not numbers, with their form."""

ABOUT_LINES = ("authors", "paper", "year", "top1", "top5", "protocol")
"""Usual lines of an `about`."""


def describe(word: str) -> tuple[str, str] | None:
    """Return the form of a word of the language, and what it means."""
    for table in (STATEMENTS, ITEMS, OTHERS):
        if word in table:
            return table[word]
    return None
