"""The commands as data."""

from __future__ import annotations

COMMANDS = {
    "init": ("[NAME] [OPTION ...]", "write a small net that trains without data files"),
    "check": ("FILE ... [OPTION ...]", "check all nets of the files"),
    "fmt": ("FILE ... [OPTION ...]", "format files in the canonical style"),
    "summary": ("FILE [OPTION ...]", "list the layers of a net with their shapes, parameters and costs"),
    "draw": ("FILE [OPTION ...]", "draw a net as a diagram"),
    "compile": ("FILE [OPTION ...]", "compile a net to ONNX"),
    "import": ("MODEL [MODEL ...] [OPTION ...]", "turn models of other tools into a net and its weights"),
    "run": ("FILE|MODEL.onnx INPUT ... [OPTION ...]", "run a net or a compiled model on data"),
    "train": ("FILE [OPTION ...]", "train a net as its `train` block specifies"),
    "eval": ("FILE|MODEL.onnx [OPTION ...]", "evaluate a trained net: loss, metrics, confusion matrix"),
    "verify": ("FILE|MODEL.onnx [OPTION ...]", "check a model: other runtimes, gradients, precision, import"),
    "trace": ("FILE [INPUT ...] [OPTION ...]", "show statistics of each layer's outputs, weights or gradients"),
    "profile": ("FILE|MODEL.onnx [INPUT ...] [OPTION ...]", "show which lines of a net take the time of a run"),
    "generate": ("FILE|MODEL.onnx [OPTION ...]", "generate text or tokens with a net that scores the next token"),
    "attack": ("FILE [IMAGE] [OPTION ...]", "generate adversarial examples (FGSM, PGD)"),
    "filters": ("WEIGHTS|FILE [OPTION ...]", "draw the filters of a convolution"),
    "weights": ("WEIGHTS|FILE [OPTION ...]", "list the tensors of a weight file or of a net"),
    "diff": ("A B [OPTION ...]", "show what an edit changes, and which weights survive it"),
    "compare": ("[NET ...] [OPTION ...]", "compare nets in a table or a chart"),
    "view": ("FILE|MODEL.onnx [OPTION ...]", "show a net or a compiled model in Netron"),
    "play": ("[FILE] [OPTION ...]", "edit a net in the browser, with its drawing beside it"),
    "lsp": ("[OPTION ...]", "run the language server, which editors start"),
    "zoo": ("[OPTION ...] | zoo show NAME | zoo copy NAME [DIR]", "list the nets of the zoo, print one or copy it"),
    "layers": ("[NAME ...] [OPTION ...]", "list layers, losses, optimizers, data and more, or print their pages"),
    "explain": ("[CODE ...] [OPTION ...]", "explain error and warning codes, or list them all"),
    "docs": ("[TOPIC ...] [OPTION ...]", "list the pages of the documentation, or print them"),
    "devices": ("[OPTION ...]", "list the execution providers and their devices"),
    "completion": ("bash|zsh|fish", "print a shell completion script"),
}
"""The arguments and the description of each command, in the order of the help. `netdsl NAME` calls the function
`command` of the module `netdsl.cli.NAME`."""
