"""`netdsl attack`: an adversarial example of an image, or the accuracy on attacked data."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from netdsl.app.frontend import data_of, load_net
from netdsl.base.user_error import OptionsClash
from netdsl.cli.messages import TERMINAL, note, note_if_random, print_json, show, weight_source
from netdsl.diagnostics.report import Report

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from netdsl.app.attacked import AttackedData, AttackedImage
    from netdsl.data.kinds import DataKind
    from netdsl.ir.net import Net
    from netdsl.report.canvas import Canvas


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, whether the net is fooled or not, or 1 for errors in the net, its weights or the
    data. Raises UserError."""
    _check_together(options)
    report = Report()
    net = load_net(options.file, report, settings=options.set, root=options.root)
    data = data_of(options.data, report) if options.data is not None else None
    show(report, options, net)
    if net is None or report.errors:
        return 1
    with _picture_file(net, options) as write:
        found = _attacked(net, data, options)
        if options.json:
            print_json(found.data())
        else:
            print(found.text())
        if write is not None:
            write(found.picture())
    return 0


def _check_together(options: argparse.Namespace) -> None:
    if (options.image is None) == (options.data is None):
        raise OptionsClash("an attack needs either an IMAGE or --data")
    if options.data is None and options.label is None:
        raise OptionsClash("--label is required", "pass the true class of the image, such as --label 7")
    if options.data is not None and options.label is not None:
        raise OptionsClash("--label needs an IMAGE: the examples of --data have labels")
    if options.data is None and len(options.epsilon or ()) > 1:
        raise OptionsClash("several epsilons need --data")
    for name in ("examples", "batch"):
        if options.data is None and getattr(options, name) is not None:
            raise OptionsClash(f"--{name} needs --data")
    if options.method == "fgsm":
        for name in ("steps", "alpha"):
            if getattr(options, name) is not None:
                raise OptionsClash(f"--{name} needs --method pgd: fgsm takes one step of size epsilon")


def _picture_file(net: Net, options: argparse.Namespace) -> AbstractContextManager[Callable[[Canvas], None] | None]:
    if options.output is None:
        return nullcontext()
    from netdsl.app.output import replace_picture, sources

    reads = (options.file, options.image, options.weights, options.labels, *sources(net))
    return replace_picture(options.output, force=options.force, reads=reads)


def _attacked(net: Net, data: DataKind | None, options: argparse.Namespace) -> AttackedImage | AttackedData:
    from netdsl.app.attack import STEPS, Classifier
    from netdsl.app.attacked import ATTACK_BATCH, EPSILON, EPSILONS, Attack, attack_data, attack_image, class_names
    from netdsl.app.given_weights import given_weights

    seed = options.seed or 0
    weights = given_weights(net, weight_source(options), seed, TERMINAL)
    note_if_random(net, options)
    low, high = options.range
    batch = 1 if data is None else options.batch or ATTACK_BATCH
    classifier = Classifier(net, weights=weights, seed=seed, batch=batch, low=low, high=high, threads=options.threads)
    attack = Attack(options.method, options.steps or STEPS, options.alpha, seed)
    names = class_names(classifier, options.labels)
    if data is not None:
        epsilons, examples = options.epsilon or EPSILONS, options.examples
        return attack_data(
            net, classifier, data, options.data, names, attack, TERMINAL, epsilons=epsilons, examples=examples
        )
    (epsilon,) = options.epsilon or (EPSILON,)
    found = attack_image(net, classifier, options.image, options.label, names, attack, epsilon)
    if found.before.best != found.label:
        note(f"{net.name} already misclassifies {options.image} as {found.before.name}")
    return found
