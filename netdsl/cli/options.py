"""The options of the command line as data, with the commands that take them.

The parser, shell completion and docs/cli.md are built from this table and that of the commands.
"""

from __future__ import annotations

from netdsl.base.limits import SIZE
from netdsl.cli.arguments import ARGUMENTS, FILES, FOLDERS, PROVIDERS, WEIGHT_FORMATS
from netdsl.cli.option import Option
from netdsl.cli.values import (
    fraction,
    fractions,
    interval,
    named_shape,
    nonnegative,
    numbers,
    positive,
    rule,
    seconds,
    shard,
    step_backend,
    whole_number,
)
from netdsl.cli.verify_options import VERIFY_OPTIONS


def options_of(command: str) -> list[Option]:
    """Return the options that a command takes, in the order of the help."""
    return [option for option in OPTIONS if not option.commands or command in option.commands]


SHAPES = "shape of an input that the model does not state, such as data=1x28x28, or its number; repeatable"
FLOAT_CHOICES = ("f32", "f16")
SPEC = "check summary draw compile run train eval verify trace profile generate attack filters weights diff view"
"""Commands that read nets with parameters."""
LOADS = "compile run train eval verify trace profile generate attack filters view play"
"""Commands that load weights."""

PROBLEM_FORMATS = ("text", "short", "json", "github")
FORMATS = {
    "init import play lsp layers explain docs completion": ("text", "json"),
    "zoo devices": ("text", "json", "csv", "markdown"),
    "check fmt draw compile train eval verify generate attack filters diff view": PROBLEM_FORMATS,
    "run": (*PROBLEM_FORMATS, "csv"),
    "summary trace profile weights compare": (*PROBLEM_FORMATS, "csv", "markdown"),
}
"""The values of `--format` by the commands that have them. `csv` and `markdown` are forms of tables."""

WEIGHTS, EXECUTION, NET, MESSAGES = "weights", "execution", "net", "messages"

OPTIONS = (
    *ARGUMENTS,
    # check
    Option("check", "--fix", "apply safe fixes to the files"),
    Option("check", "--diff", "print the safe fixes as a diff; without --fix, change no file"),
    Option("fmt", "--check", "print the names of files that would change; change no file"),
    Option("fmt", "--diff", "print the changes as a diff; change no file"),
    Option("fmt", "--body", "format statements of a net, such as an excerpt, instead of whole files"),
    # where to write
    Option(
        "draw",
        "-o, --output OUT.svg|png|pdf|dot|mmd",
        "output file, whose suffix selects a picture, Graphviz or Mermaid; `-` writes SVG to stdout (default: NET.svg)",
        completes=FILES,
    ),
    Option("compile", "-o, --output OUT.onnx", "output file (default: NET.onnx)", completes=FILES),
    Option("import", "-o, --output NET.net", "text, beside NET.safetensors (default: MODEL.net)", completes=FILES),
    Option("run", "-o, --output OUT.npz|csv|parquet", "also write outputs by name, or predictions", completes=FILES),
    Option(
        "trace",
        "-o, --output OUT.svg|png|pdf|npz",
        "draw the table, or the feature maps of --layer; or write --values",
        completes=FILES,
    ),
    Option("profile", "-o, --output OUT.svg|png|pdf|json", "draw a roofline chart, or write the data", completes=FILES),
    Option("attack", "-o, --output OUT.svg|png|pdf", "draw the result", completes=FILES),
    Option("filters", "-o, --output OUT.svg|png|pdf", "output file (default: filters.svg)", completes=FILES),
    Option("eval", "--plot OUT.svg|png|pdf", "draw the confusion matrix", completes=FILES),
    Option("compare", "--plot OUT.svg|png|pdf", "draw a chart", completes=FILES),
    Option("compare", "--by X", "draw accuracy by macs, or depth by year (default: macs)", choices=("macs", "year")),
    Option(
        "draw compile import run trace profile attack filters eval compare",
        "--force",
        "overwrite files not written by netdsl",
    ),
    # summary, draw, compare
    Option("summary compare", "--batch N", "count memory for N examples (default: 1)", type=positive),
    Option("summary", "--depth N", "fold scopes that are deeper than N (default: no folding)", type=positive),
    Option(
        "summary",
        "--weights",
        "also list the weights of each layer: name, initializer, shape and number",
        dest="list_weights",
    ),
    Option("draw", "--unfold", "draw every repetition of repeated layers"),
    Option("draw", "--wide", "fill a slide (16:9), with as much detail as is legible on it"),
    Option(
        "draw",
        "--theme, --style T",
        "colors: light, dark, or plain for black-and-white print",
        choices=("light", "dark", "plain"),
        default="light",
        dest="theme",
    ),
    Option("compare", "--theme T", "colors of the chart: light or dark (default: light)", choices=("light", "dark")),
    # compile
    Option("compile", "--batch N", "fix the batch size (default: dynamic)", type=positive),
    Option("compile", "--opset N", "ONNX opset, 17 to 26", type=whole_number(17, 26), default="21"),
    Option(
        "compile",
        "--dtype T",
        "compute in f32 or f16; with --training, multiply in f32, f16 or bf16 (default: f32, or the file's)",
        choices=(*FLOAT_CHOICES, "bf16"),
    ),
    Option("compile", "--io T", "type of inputs and outputs: f32 or f16 (default: f32)", choices=FLOAT_CHOICES),
    Option("compile", "--quantize T", "quantize to int8; needs --calibrate", choices=("int8",)),
    Option(
        "compile",
        "--calibrate DATA",
        "examples for --quantize, in the formats of `run`; repeatable",
        repeated=True,
        completes=FILES,
    ),
    Option("compile", "--metadata KEY=VALUE", "add an entry to the model metadata; repeatable", repeated=True),
    Option("compile", "--functions", "emit blocks as ONNX functions, which viewers can fold"),
    Option("compile", "--external-data", "write the weights to OUT.onnx.data"),
    Option("compile", "--training", "compile a training step instead of the net"),
    # import
    Option("import", "--weights W", "weights of each .prototxt or .cfg; repeatable", repeated=True, completes=FILES),
    Option("import profile", "--input NAME=SHAPE", SHAPES, type=named_shape, dest="shapes", repeated=True),
    Option("import", "--eps E", "epsilon of Darknet's batch normalization: a number, or `cpu` (default: 1e-5)"),
    Option("import", "--name NAME", "name of the net (default: that of the output)", dest="net"),
    Option("import", "--flat", "a line for each layer, with labels in place of blocks and loops"),
    Option("import", "--keep-names", "keep the model's names of layers, even if they double the text"),
    Option("import", "--check N", "number of random inputs that the net is compared on", type=positive, default="2"),
    Option("import", "--allow-unproved", "write a net that is not proved to be equal to the model"),
    # run, eval
    Option("run", "--batch N", "examples per batch (default: 32)", type=positive),
    Option("run", "--top K", "print the K classes with the highest scores", type=positive, default="5"),
    Option("run", "--logits", "print raw scores instead of probabilities", exclusive="scores"),
    Option(
        "run",
        "--softmax",
        "print the softmax of outputs that are logits, where the model does not say that they are",
        exclusive="scores",
    ),
    Option(
        "run",
        "--blank N",
        "read outputs [K, T] as sequences of symbols without N, where the model does not say that they are",
        type=whole_number(0, SIZE - 1),
        exclusive="scores",
    ),
    Option(
        "run", "--shard auto|I/N", "run only block I of N, from 0; auto takes both from a cluster's job", type=shard
    ),
    Option("run", "--skip-done", "do nothing if the output exists and is the finished part of this run"),
    Option(
        "eval",
        "--data D",
        """data, as in a `train` block: 'mnist "mnist" split test', or a path (default: those of `validate`)""",
        completes=FILES,
    ),
    Option("eval", "--batch N", "examples per batch (default: that of the `train` block)", type=positive),
    Option(
        "run eval",
        "--labels L",
        "file of class names, one per line or a JSON list (default: the model's)",
        completes=FILES,
    ),
    *VERIFY_OPTIONS,
    # trace
    Option(
        "trace", "--layers PATTERN", "list only these layers or weights: conv1, 'layer4.*', '*.relu?' (default: all)"
    ),
    Option("trace", "--gradients", "gradients of the loss of the `train` block instead, for one batch", exclusive="of"),
    Option("trace", "--parameters", "weights and running statistics instead, without examples", exclusive="of"),
    Option(
        "trace",
        "--data D",
        """examples of a data set, as in a `train` block: 'mnist "mnist"', or a path""",
        completes=FILES,
        exclusive="examples",
    ),
    Option("trace", "--random", "random examples", exclusive="examples"),
    Option("trace", "--examples N", "number of examples (default: all of INPUT, otherwise a batch)", type=positive),
    Option("trace", "--layer L", "draw the feature maps of this layer for the first example"),
    Option(
        "trace",
        "--values LABEL",
        "write the outputs of these layers to the .npz file of -o: conv1, 'layer4.*'",
        nargs="+",
        repeated=True,
    ),
    # profile
    Option("profile", "--training", "profile a training step instead of inference"),
    Option("profile", "--batch N", "examples in a run (default: 1, or that of the `train` block)", type=positive),
    Option(
        "profile",
        "--by VIEW",
        "rows of the table: line, block, call, repeat, layer, kind, op, phase (default: line)",
        choices=("line", "block", "call", "repeat", "layer", "kind", "op", "phase"),
    ),
    Option("profile", "--top N", "print only the N rows that take longest", type=positive),
    Option("profile", "--folded", "print stacks of scopes with microseconds, from which other tools draw flame graphs"),
    Option("profile", "--session-profile FILE.json", "also write the profile of onnxruntime", completes=FILES),
    # generate
    Option("generate", "--prompt TEXT", "text to continue", exclusive="prompt"),
    Option(
        "generate",
        "--tokens NUMBERS",
        "token numbers to continue instead, '20 15 0'; prints numbers",
        type=numbers,
        exclusive="prompt",
    ),
    Option("generate", "--length N", "number of tokens to generate", type=positive, default="200"),
    Option(
        "generate",
        "--temperature T",
        "draw tokens from softmax(scores / T); 0 takes the one with the highest score",
        type=nonnegative,
        default="0",
    ),
    Option("generate", "--top-k K", "draw only from the K best tokens (default: all)", type=positive),
    Option("generate", "--context N", "read at most the last N tokens (default: as many as the net)", type=positive),
    Option(
        "generate",
        "--alphabet A",
        "file of the symbols of the tokens, a JSON list (default: the model's, or bytes)",
        completes=FILES,
    ),
    # train
    Option("train", "--epochs N", "train for N epochs (default: the file's)", type=positive, exclusive="length"),
    Option("train", "--steps N", "train for N steps instead", type=positive, exclusive="length"),
    Option(
        "train",
        "--dtype T",
        "multiply in f32, f16 or bf16, with weights in f32 (default: the file's)",
        choices=(*FLOAT_CHOICES, "bf16"),
    ),
    Option(
        "train", "--out DIR", "folder of the run (default: the next of runs/NET, runs/NET-2, ...)", completes=FOLDERS
    ),
    Option(
        "train", "--resume", "continue the run in --out, or the last one, from its last checkpoint", exclusive="run"
    ),
    Option("train", "--force", "overwrite the run in --out (default: runs/NET)", exclusive="run"),
    Option("train", "--checkpoint S", "seconds between checkpoints (default: 60)", type=seconds),
    Option("train", "--tensorboard", "also write event files for TensorBoard"),
    # attack
    Option("attack", "--label L", "true class of IMAGE: a number, or a name from --labels"),
    Option(
        "attack",
        "--labels L",
        "file of class names, one per line or a JSON list (default: the weights')",
        completes=FILES,
    ),
    Option("attack", "--data D", """attack a data set instead of IMAGE, as in a `train` block: 'mnist "mnist"'"""),
    Option("attack", "--examples N", "use the first N examples of --data (default: all)", type=positive),
    Option("attack", "--batch N", "examples per batch of --data (default: 100)", type=positive),
    Option("attack", "--method M", "attack method: fgsm or pgd", choices=("fgsm", "pgd"), default="fgsm"),
    Option(
        "attack",
        "--epsilon E",
        "maximum change of a pixel, as a fraction of the range (default: 0.007); a list for --data: 0,0.1,0.2",
        type=fractions,
    ),
    Option("attack", "--range LOW,HIGH", "values of black and white", type=interval, default="0,255"),
    Option("attack", "--steps N", "number of PGD steps (default: 10)", type=positive),
    Option("attack", "--alpha A", "size of a PGD step (default: 2.5 epsilon / steps)", type=fraction),
    # filters, view
    Option("filters", "--layer L", "name of the convolution (default: the first)"),
    Option(
        "filters",
        "--scale S",
        "normalize gray values per filter, or per layer",
        choices=("filter", "layer"),
        default="filter",
    ),
    Option("view play", "--port N", "port of the server (default: a free one)", type=whole_number(0, 2**16 - 1)),
    Option(
        "lsp",
        "--tcp PORT",
        "wait for an editor on a local port instead of stdin and stdout; PORT can be left out (default: 2087)",
        type=whole_number(1, 2**16 - 1),
        nargs="?",
        const="2087",
    ),
    Option("view", "--functions", "show blocks folded"),
    Option("view play", "--no-browser", "print the address without opening a browser"),
    Option(
        "train",
        "--log-format FORM",
        "print text, or a JSON object at the start, after each epoch and at the end (default: as --format)",
        choices=("text", "json"),
    ),
    # weights
    Option(
        "compile run verify trace profile generate attack filters view play",
        "--weights W",
        f"weight file: {WEIGHT_FORMATS} (default: random weights)",
        group=WEIGHTS,
        completes=FILES,
    ),
    Option(
        "train",
        "--weights W",
        f"file of initial weights: {WEIGHT_FORMATS} (default: random weights)",
        group=WEIGHTS,
        completes=FILES,
    ),
    Option(
        "eval",
        "--weights W",
        f"weight file: {WEIGHT_FORMATS}, such as a run's best.safetensors (default: random weights)",
        group=WEIGHTS,
        completes=FILES,
    ),
    Option(
        LOADS,
        "--rename PATTERN TO",
        r"rename weights: 'features\.(\d+)' 'conv$1'; repeatable",
        group=WEIGHTS,
        nargs=2,
        repeated=True,
    ),
    Option(
        LOADS,
        "--transpose PATTERN",
        "transpose matrices: 'c_proj.weight$'; repeatable, and applied in order with --rename and --drop",
        group=WEIGHTS,
        type=rule("--transpose"),
        repeated=True,
        dest="rename",
    ),
    Option(
        LOADS,
        "--drop PATTERN",
        "ignore tensors of the file: '^ema[.]'; repeatable",
        group=WEIGHTS,
        type=rule("--drop"),
        repeated=True,
        dest="rename",
    ),
    Option(
        LOADS,
        "--match HOW",
        "match weights by name, or by order and shape: name or order (default: name)",
        group=WEIGHTS,
        choices=("name", "order"),
    ),
    Option(
        LOADS,
        "--except LABEL",
        "initialize these layers or weights instead of loading them: fc, 'layer4.*', '*.bias'",
        group=WEIGHTS,
        nargs="+",
        repeated=True,
        dest="exclude",
    ),
    Option(LOADS, "--partial", "load the weights that the file has, and initialize the others", group=WEIGHTS),
    Option(LOADS, "--allow-nonfinite", "accept NaN, infinity and negative variances in the file", group=WEIGHTS),
    Option(
        "compile run profile attack filters view play",
        "--seed N",
        "seed of random weights (default: 0)",
        group=WEIGHTS,
        type=whole_number(0, 2**63 - 1),
    ),
    Option(
        "trace",
        "--seed N",
        "seed of random weights and examples (default: 0)",
        group=WEIGHTS,
        type=whole_number(0, 2**63 - 1),
    ),
    Option("generate", "--seed N", "seed of draws and of random weights (default: 0)", type=whole_number(0, 2**63 - 1)),
    # execution
    Option(
        "run train eval profile generate",
        "--provider P[:KEY=VALUE,...]",
        "execution provider: cpu, cuda, openvino, ...; KEY=VALUE sets an option of it",
        group=EXECUTION,
        default="cpu",
        completes=PROVIDERS,
    ),
    Option(
        "run train eval profile generate",
        "--allow-fallback",
        "run operators on the CPU that the provider does not support",
        group=EXECUTION,
    ),
    Option(
        "run train eval trace profile generate attack",
        "--threads N",
        "number of CPU threads (default: one per core)",
        group=EXECUTION,
        type=positive,
    ),
    Option(
        "train",
        "--distributed D",
        "train in all processes that a launcher has started: auto, or off, or mpi, also without a launcher",
        group=EXECUTION,
        choices=("auto", "off", "mpi"),
        default="auto",
    ),
    Option(
        "train profile",
        "--step-backend B",
        "operators of a training step: plain (standard ONNX), nchwc (onnxruntime's channel-blocked layout), or auto "
        "for the faster (default: auto)",
        group=EXECUTION,
        type=step_backend,
        choices=("auto", "plain", "nchwc"),
        former="--lowering",
    ),
    Option("train", "--emulate", "round as --dtype does, but compute in f32; slow, for tests", group=EXECUTION),
    # net
    Option(
        SPEC.replace(" train", ""),
        "--set NAME=VALUE",
        "set a parameter of the net; repeatable",
        group=NET,
        repeated=True,
    ),
    Option(
        "train",
        "--set NAME=VALUE",
        "set a parameter of the net, or a line of its `train` block: train.lr=0.1, train.batch=64, "
        '"train.stop=patience 5"; repeatable',
        group=NET,
        repeated=True,
    ),
    Option("diff", "--set-a NAME=VALUE", "set a parameter of A only; repeatable", group=NET, repeated=True),
    Option("diff", "--set-b NAME=VALUE", "set a parameter of B only; repeatable", group=NET, repeated=True),
    Option(
        SPEC,
        "--root DIR",
        "folder that `use` (default: FILE's folder) and data (default: any) must not leave",
        group=NET,
        completes=FOLDERS,
    ),
    Option("compare", "--root DIR", "folder that `use` must not leave (default: NET's)", group=NET, completes=FOLDERS),
    # messages
    Option(f"{SPEC} compare", "--strict", "treat warnings as errors", group=MESSAGES),
    *(
        Option(
            commands,
            "--format FORM",
            f"{', '.join(forms[:-1])} or {forms[-1]}; json prints results and problems as one JSON value per line"
            + (", short and github format problems only" if "short" in forms else "")
            + " (default: text)",
            group=MESSAGES,
            choices=forms,
        )
        for commands, forms in FORMATS.items()
    ),
    Option("", "--json", "the same as --format json", group=MESSAGES),
    Option(
        "",
        "-q, --quiet",
        "print only results and errors, and in `check` warnings",
        group=MESSAGES,
        exclusive="volume",
    ),
    Option("", "-v, --verbose", "print more about what is done", group=MESSAGES, exclusive="volume"),
    Option("", "-h, --help", "show this help and exit", group=MESSAGES),
)
"""All options. Within a command and a group, the help shows them in this order."""
