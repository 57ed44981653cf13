"""`netdsl verify`: check a net or a model by other runtimes, gradients, precisions and an import."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from netdsl.cli.messages import TERMINAL, check_model_options, note, note_if_random, print_json, show, weight_source
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from netdsl.app.verify.outcome import Verified
    from netdsl.app.verify.subject import VerifyOptions
    from netdsl.ir.net import Net


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, or 1 if a check fails, with `--fail-on-skipped` also if one is skipped, or for
    errors in the net or its weights. Raises UserError."""
    if options.file.lower().endswith(".onnx"):
        check_model_options(options, draws=True)
        net, subject = None, _model(options)
    else:
        net, subject = _net(options)
        if net is None:
            return 1
    with _output(net, options) as file:
        found = _verified(net, subject, options)
        missed = found.missed(options.only or ()) if options.fail_on_skipped else []
        if options.json:
            print_json(found.data())
        else:
            print(found.text())
        if options.format == "github":
            from netdsl.diagnostics.formats import annotation

            for each in found.outcomes:
                if each.verdict == "failed" or each in missed:
                    print(annotation(f"verify {each.check} {each.subject}", each.text()))
        if file is not None:
            from netdsl.report.table import json_text

            file.write(json_text(found.data()).encode() + b"\n")
    if missed:
        names = ", ".join(f"{each.check} {each.subject}" for each in missed)
        note(f"--fail-on-skipped: not checked: {names}; --skip leaves out checks")
    return int(found.verdict == "failed" or bool(missed))


def _model(options: argparse.Namespace) -> dict[str, Any]:
    from netdsl.app.verify.from_file import model_subject

    return model_subject(options.file)


def _net(options: argparse.Namespace) -> tuple[Net | None, dict[str, Any]]:
    """Return the net with its loss, None if it has errors; print its problems."""
    from netdsl.app.frontend import load_origin
    from netdsl.app.given_weights import given_weights
    from netdsl.app.verify.from_file import net_subject

    report = Report()
    net, origin = load_origin(options.file, report, settings=options.set, root=options.root)
    subject = {} if net is None else net_subject(net, origin, report)
    show(report, options, net)
    if net is None or report.errors:
        return None, {}
    note_if_random(net, options)
    subject["weights"] = given_weights(net, weight_source(options), options.seed or 0, TERMINAL)
    return net, subject


def _output(net: Net | None, options: argparse.Namespace) -> AbstractContextManager[BinaryIO | None]:
    """Open the file of `-o`, checked before the work begins."""
    if options.output is None:
        return nullcontext()
    from netdsl.app.feeds import files
    from netdsl.app.output import sources
    from netdsl.app.verify.report_file import report_file

    written = sources(net) if net is not None else ()
    reads = (options.file, *written, options.weights, *files(options.data))
    return report_file(options.output, force=options.force, reads=reads)


def _verified(net: Net | None, subject: dict[str, Any], options: argparse.Namespace) -> Verified:
    from netdsl.app.feeds import find
    from netdsl.app.verify.checks import verify

    find(options.data)
    name = net.name if net is not None else options.file
    return verify(
        name, options.file, _options(options), TERMINAL, weights_file=options.weights, data=options.data, **subject
    )


def _options(options: argparse.Namespace) -> VerifyOptions:
    """Return the options of a verification, which have the names of ours."""
    from netdsl.app.verify.subject import VerifyOptions

    given = {name: value for name in VerifyOptions._fields if (value := getattr(options, name, None)) is not None}
    return VerifyOptions(**given)
