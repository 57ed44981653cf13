"""`netdsl generate`: continue a prompt with a net that scores the next token."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from netdsl.app.generate import BadAlphabet, Generator, Sampling
from netdsl.base.user_error import OptionsClash, escape
from netdsl.cli.messages import TERMINAL, check_model_options, note_if_random, open_net, print_json, weight_source

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from netdsl.backend.session import Session


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 for errors in the net or its weights, or a prompt that the net cannot read.
    Raises UserError."""
    if options.prompt is None and options.tokens is None:
        raise OptionsClash("generate needs a prompt to continue: --prompt TEXT, or --tokens NUMBERS")
    session = _session(options)
    if session is None:
        return 1
    generator = Generator(session, options.context)
    alphabet = generator.alphabet(options.alphabet) if options.tokens is None else None
    sampling = Sampling(options.temperature, options.top_k, options.seed or 0)
    if options.tokens is not None:
        generated = generator.tokens(options.tokens, options.length, sampling)
        if options.json:
            print_json({"prompt": options.tokens, "tokens": [*generated]})
        else:
            _stream((f" {token}" if at else f"{token}" for at, token in enumerate(generated)), "")
        return 0
    if alphabet is None:
        raise BadAlphabet(
            f"{session.name} has no alphabet, and {generator.count:,} scores, not the 256 of bytes",
            "list its symbols in a JSON file: --alphabet FILE; or give token numbers: --tokens NUMBERS",
        )
    generated = generator.tokens(alphabet.encode(options.prompt), options.length, sampling)
    if options.json:
        tokens = [*generated]
        print_json({"prompt": options.prompt, "text": "".join(alphabet.decode(tokens)), "tokens": tokens})
    else:
        _stream(alphabet.decode(generated), options.prompt)
    return 0


def _session(options: argparse.Namespace) -> Session | None:
    """Load the model, or compile the net; return None if the net has errors."""
    from netdsl.backend.session import Session

    model: bytes | str = options.file
    if options.file.lower().endswith(".onnx"):
        check_model_options(options, draws=True)
    else:
        net = open_net(options)
        if net is None:
            return None
        from netdsl.app.given_weights import given_weights
        from netdsl.backend.compile import CompileOptions, compile_to_bytes

        seed = options.seed or 0
        model = compile_to_bytes(net, CompileOptions(seed, given_weights(net, weight_source(options), seed, TERMINAL)))
        note_if_random(net, options)
    return Session(
        model,
        provider=options.provider,
        threads=options.threads,
        name=options.file,
        allow_fallback=options.allow_fallback,
    )


def _stream(parts: Iterator[str], prompt: str) -> None:
    """Print texts as they come, the prompt with the first one; escaped on a terminal, which would obey them."""
    safe = sys.stdout.isatty()
    for part in parts:
        text, prompt = prompt + part, ""
        sys.stdout.write("".join(c if c in "\n\t" else escape(c) for c in text) if safe else text)
        sys.stdout.flush()
    sys.stdout.write("\n")
