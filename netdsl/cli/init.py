"""`netdsl init`: write a small net to start from."""

from __future__ import annotations

from netdsl.app.init import create, net_name
from netdsl.cli.messages import note, print_json

TYPE_CHECKING = False  # this starts without typing
if TYPE_CHECKING:
    import argparse

DEFAULT = "shapes"
NEXT = (
    ("check {file}", "report its errors and warnings"),
    ("summary {file}", "list its layers with shapes and weights"),
    ("train {file}", "train it; this takes about 10 seconds"),
    ("eval {file} --weights {best}", "measure its accuracy"),
    ("run {file} IMAGE.png --weights {best}", "classify an image: white on black"),
)
"""What to type after `init`, and why."""


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0. Raises UserError if the file exists or cannot have this name."""
    file = create(DEFAULT if options.new is None else options.new)
    if options.json:
        print_json({"file": file, "net": net_name(file)})
        return 0
    note(f"wrote {file}; next:")
    from shlex import quote

    best = f"runs/{net_name(file)}/best.safetensors"
    steps = [(form.format(file=quote(file), best=best), why) for form, why in NEXT]
    wide = max(len(step) for step, _ in steps)
    for step, why in steps:
        note(f"  netdsl {step:{wide}}  # {why}")
    return 0
