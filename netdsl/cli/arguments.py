"""The arguments of the commands as data; `options` has the options."""

from __future__ import annotations

from netdsl.cli.option import Option

FILES, FOLDERS, NETS, ZOO = "files", "folders", "nets", "zoo"
LAYERS, PROVIDERS, TOPICS = "layers", "providers", "topics"
"""What a shell completes: NETS are those of the zoo, or files; ZOO are the arguments of the command."""

FILE = "a path, `-` for standard input, or a net of the zoo; `:NET` selects one of several nets"
NET_OR_MODEL = f"{FILE}; or a compiled model"
WEIGHT_FORMATS = ".safetensors, .npz, .pth, .keras, .weights.h5 or .onnx"

ARGUMENTS = (
    Option(
        "init",
        "NAME",
        "name of the net and its file: NAME.net, or a path (default: shapes)",
        dest="new",
        nargs="?",
        completes=FOLDERS,
    ),
    Option("check", "FILE", FILE, dest="files", nargs="+", completes=NETS),
    Option("fmt", "FILE", "a file, a folder, or `-` for standard input", dest="files", nargs="+", completes=FILES),
    Option("summary draw compile trace attack", "FILE", FILE, completes=NETS),
    Option("import", "MODEL", "models: .onnx, .prototxt, .cfg or .keras", dest="files", nargs="+", completes=FILES),
    Option(
        "play",
        "FILE",
        "a file, a net of the zoo, or a link that the page has made (default: an example)",
        nargs="?",
        completes=NETS,
    ),
    Option("train", "FILE", f"{FILE}; it needs a `train` block", completes=NETS),
    Option("run verify profile generate view", "FILE|MODEL.onnx", NET_OR_MODEL, dest="file", completes=NETS),
    Option("eval", "FILE|MODEL.onnx", f"{NET_OR_MODEL}, with --data", dest="file", completes=NETS),
    Option(
        "run",
        "INPUT",
        "a .npy, .npz, idx, .csv or image file, or a folder of images or of class folders; each image or row is an "
        "example; NAME=PATH feeds the input NAME",
        dest="inputs",
        nargs="+",
        completes=FILES,
    ),
    Option(
        "trace",
        "INPUT",
        "examples, as those of `run`; with --gradients also target=PATH (default: a batch of the `train` block)",
        dest="inputs",
        nargs="*",
        completes=FILES,
    ),
    Option(
        "profile",
        "INPUT",
        "examples, as those of `run` (default: random numbers)",
        dest="inputs",
        nargs="*",
        completes=FILES,
    ),
    Option("attack", "IMAGE", "an image, or a .npy, .npz or idx file with one example", nargs="?", completes=FILES),
    Option(
        "weights filters",
        "WEIGHTS|FILE",
        f"a weight file: {WEIGHT_FORMATS}; or a net: {FILE}",
        dest="file",
        completes=NETS,
    ),
    Option("diff", "A", f"the net before the edit: {FILE}", dest="file", completes=NETS),
    Option("diff", "B", "the net after the edit", dest="after", completes=NETS),
    Option(
        "compare",
        "NET",
        "a net as in `summary`; `NET:*` for all values of its domains, or all nets of a file; `zoo` for the whole zoo "
        "(default: zoo)",
        dest="files",
        nargs="*",
        completes=NETS,
    ),
    Option(
        "zoo",
        "show|copy NAME [DIR]",
        "print a net, or copy its file and those it uses",
        dest="words",
        nargs="*",
        completes=ZOO,
    ),
    Option(
        "layers",
        "NAME",
        "a layer, such as conv, or what a `train` block selects, such as adamw",
        dest="names",
        nargs="*",
        completes=LAYERS,
    ),
    Option("explain", "CODE", "an error or warning code, such as E0310", dest="codes", nargs="*"),
    Option("docs", "TOPIC", "a page, such as train", dest="topics", nargs="*", completes=TOPICS),
    Option(
        "completion",
        "SHELL",
        'bash, zsh or fish; for bash, run: eval "$(netdsl completion bash)"',
        choices=("bash", "zsh", "fish"),
    ),
)
"""All arguments without dashes. A command takes them in this order."""
