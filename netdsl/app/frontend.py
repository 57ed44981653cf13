"""Resolve FILE arguments to checked nets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from netdsl.base.files import MissingFile
from netdsl.base.text import Source, Span
from netdsl.base.user_error import USAGE_IS_WRONG, UserError, WrongArgumentValue
from netdsl.diagnostics.problem import Rejected
from netdsl.diagnostics.report import Report
from netdsl.elaborate.context import Poisoned
from netdsl.elaborate.expressions import default_value
from netdsl.elaborate.library import ZOO_PREFIX, Library, zoo_nets
from netdsl.elaborate.lint import warn
from netdsl.elaborate.net import attempt, entry_net, resolve
from netdsl.syntax import ast
from netdsl.syntax.parse import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netdsl.data.kinds import DataKind
    from netdsl.elaborate.module import Module
    from netdsl.elaborate.net import Attempt, Given
    from netdsl.elaborate.recipe import Recipe
    from netdsl.ir.net import Net

    Settings = Sequence[str] | Mapping[str, object]

MAX_NETS_SHOWN = 10
"""Maximum number of a file's nets listed in a message."""


class Origin:
    """Where a net is from: its FILE, the text of that as it was read, and the values of its parameters.

    `name` is the net of several that `file` has; None for the one that FILE means.
    """

    __slots__ = ("file", "name", "settings", "source")

    def __init__(self, file: str | Source, source: Source, settings: Settings, name: str | None = None) -> None:
        self.file = file
        self.source = source
        self.settings = settings
        self.name = name


class BadSetting(UserError, code="E0610", title="an invalid `--set`", exit_code=USAGE_IS_WRONG):
    """`--set` takes NAME=VALUE: a parameter of the net, and an expression of the language.

    ```sh
    netdsl check resnet --set depth=101 --set classes=10
    ```
    """


class NoSuchNet(UserError, code="E0618", title="unknown net in a file", exit_code=USAGE_IS_WRONG):
    """In FILE:NET, the file neither defines nor uses a net with this name.

    ```sh
    netdsl check net.net
    netdsl check net.net:small
    ```
    """


class NoSuchRoot(UserError, code="E0619", title="a root that is not a folder", exit_code=USAGE_IS_WRONG):
    """The value of `--root` is not a folder.

    ```sh
    netdsl check net.net --root .
    ```
    """


class BadDataLine(UserError, code="E0644", title="an invalid `--data`", exit_code=USAGE_IS_WRONG):
    """The value of `--data` is written like a `data` line in a `train` block: `--data 'mnist "datasets/mnist" split
    test'`.

    ```sh
    netdsl eval net.net --data 'mnist "datasets/mnist" split test' --weights runs/net/best.safetensors
    ```
    """


def open_module(
    file: str | Source, report: Report, root: str | None = None, texts: Mapping[str, str] | None = None
) -> tuple[Module, str | None]:
    """Return the module that FILE refers to, and the requested net, if any. Raises UserError.

    FILE is a path, `-` for standard input, the name of a net in the zoo, or any of these followed by `:NET`; or a
    source that is already read. `texts` are used instead of the files with these names.
    """
    if root is not None and not os.path.isdir(root):
        raise NoSuchRoot(f"the root is not a folder: {root}")
    library = Library(report, root, texts)
    if isinstance(file, Source):
        text = (texts or {}).get(file.name)
        return library.load(file if text in (None, file.text) else Source(file.name, text), file.name), None
    path, net = _split(file)
    if path == "-" or _is_path(path):
        module = library.load(_read(path, library), "stdin.net" if path == "-" else path)
    else:
        shipped = zoo_nets()
        name = path.removeprefix(ZOO_PREFIX)
        if path.startswith(ZOO_PREFIX) and name in shipped.values():
            module = library.load_zoo(name)
        elif path in shipped:
            module, net = library.load_zoo(shipped[path]), net or path
        else:
            from netdsl.base.suggest import suggest

            beside = [f"{path}.net"] if os.path.isfile(f"{path}.net") else suggest(path, shipped)[:1]
            close = [f"did you mean `{word}`?" for word in beside]
            raise MissingFile(f"there is no file {path}, and no network of the zoo has this name", *close)
    if net is not None and not module.file.broken:
        _check_name(net, module)
    return module, net


def _is_path(text: str) -> bool:
    """Return whether FILE is a path rather than a net of the zoo, which can have the name of a folder."""
    if os.path.lexists(text) and not os.path.isdir(text):
        return True
    return not text.isidentifier() and not text.startswith(ZOO_PREFIX)


def _split(file: str) -> tuple[str, str | None]:
    path, colon, net = file.rpartition(":")
    if colon and path and net.isidentifier() and not os.path.lexists(file):
        return path, net
    return file, None


def _read(path: str, library: Library) -> Source:
    """Read a file; if it is missing, suggest a net of the zoo. Raises UserError."""
    try:
        return library.read(path)
    except MissingFile as missing:
        stem = os.path.basename(path).removesuffix(".net")
        if path.endswith(".net") and stem in zoo_nets():
            raise MissingFile(missing.message, f"did you mean `{stem}`, of the zoo?") from None
        raise


def _check_name(net: str, module: Module) -> None:
    nets = [name for name, item in module.own.items() if isinstance(item, (ast.Net, ast.Alias))]
    nets += [name for name, (_, item) in module.imported.items() if isinstance(item, (ast.Net, ast.Alias))]
    if net not in nets:
        from netdsl.base.suggest import suggest

        close = [f"did you mean `{word}`?" for word in suggest(net, nets)[:1]]
        held = (
            f"it has {', '.join(nets[:MAX_NETS_SHOWN])}" + (", …" if len(nets) > MAX_NETS_SHOWN else "")
            if nets
            else "it has none"
        )
        raise NoSuchNet(f"{module.file.source.name} has no network `{net}`: {held}", *close)


def load_net(file: str | Source, report: Report, *, settings: Settings = (), root: str | None = None) -> Net | None:
    """Return the net that FILE refers to; None if the report has errors. Raises UserError.

    `settings` are strings `name=value`, or Python values by name, which can also raise TypeError and ValueError.
    """
    return load_origin(file, report, settings=settings, root=root)[0]


def load_origin(
    file: str | Source, report: Report, *, settings: Settings = (), root: str | None = None
) -> tuple[Net | None, Origin]:
    """Return the net that FILE refers to like `load_net`, and its origin."""
    found, module = _load_file(file, report, settings, root)
    net = found.net if found and not report.errors else None
    _give_variant(net, file, module, settings, root)
    return net, Origin(file, module.file.source, settings)


def load_partial(file: str | Source, report: Report, *, settings: Settings = (), root: str | None = None) -> Net | None:
    """Return the net that FILE refers to or, if the report has errors, what precedes the first error; None if nothing
    does. Raises UserError."""
    found, _ = _load_file(file, report, settings, root)
    return (found.net or found.partial()) if found else None


def _load_file(
    file: str | Source, report: Report, settings: Settings, root: str | None
) -> tuple[Attempt | None, Module]:
    module, wanted = open_module(file, report, root)
    found = attempt_entry(module, wanted, settings)
    if report.errors:
        from netdsl.app.repair import verify_suggestions

        verify_suggestions(
            report, module.file.source, lambda again, texts: _load(*open_module(file, again, root, texts), settings)
        )
    warn(module, [found.net if found else None])
    return found, module


def _give_variant(net: Net | None, file: str | Source, module: Module, settings: Settings, root: str | None) -> None:
    """Set `net.variant`, by which suggestions elaborate the net with another value of a parameter."""
    if net is None:
        return
    source = module.file.source

    def variant(name: str, value: int) -> Net | None:
        if isinstance(settings, Mapping):
            changed: Settings = {**settings, name: value}
        else:
            changed = [each for each in settings if each.partition("=")[0].strip() != name] + [f"{name}={value}"]
        return _load(*open_module(file, Report(), root, {source.name: source.text}), changed)

    net.variant = variant


def load_recipe(
    file: str | Source, report: Report, *, settings: Sequence[str] = (), root: str | None = None
) -> Recipe | None:
    """Return the recipe of the net that FILE refers to, from its `train` block; None if the report has errors. Raises
    UserError.

    `settings` are strings: `train.KEY=VALUE` changes the block, `name=value` a parameter of the net.
    """
    return load_training(file, report, settings=settings, root=root)[0]


def load_training(
    file: str | Source, report: Report, *, settings: Sequence[str] = (), root: str | None = None
) -> tuple[Recipe | None, Module]:
    """Like `load_recipe`, but return also the module."""
    module, wanted = open_module(file, report, root)
    found = _recipe(module, wanted, settings)
    if report.errors:
        from netdsl.app.repair import verify_suggestions

        verify_suggestions(
            report, module.file.source, lambda again, texts: _recipe(*open_module(file, again, root, texts), settings)
        )
    warn(module, [found.net if found else None])
    if found is not None:
        found.root = root
    _give_variant(found.net if found else None, file, module, _of_net(settings), root)
    return found, module


def load_lines(
    origin: Origin, lines: Sequence[tuple[str, str]], data: Mapping[str, DataKind], report: Report
) -> tuple[Recipe | None, Module]:
    """Return how a net is trained by these lines, each a key and its value, and those of its `train` block, if it has
    one, with other keys. `data` replaces the lines `data` and `validate`. Returns None if the report has errors.

    Raises UserError, and NoTraining without a loss and such a block.
    """
    from netdsl.elaborate.overrides import merge
    from netdsl.elaborate.train_block import NoTraining, build

    module, wanted = open_module(origin.file, report, None, {origin.source.name: origin.source.text})
    try:
        owner, definition = entry_net(module, origin.name or wanted)
        name = definition.name.text
        known = {item.name.text: item for item in module.file.items if isinstance(item, ast.Train)}
        if name not in known and "loss" not in dict(lines):
            raise NoTraining(f"`{name}` has no `train` block", 'name its loss, as in loss="cross_entropy"')
        text = "".join(f"  {key} {value}\n" for key, value in lines)
        items = parse(Source("<fit>", f"train {name} {{\n{text}}}\n"), report).items
        if report.errors:
            return None, module
        training = items[0]
        if len(items) > 1 or not isinstance(training, ast.Train) or len(training.settings) != len(lines):
            raise WrongArgumentValue("the value of a keyword argument is more than one line of a `train` block")
        block = known.get(name, training)
        merged = merge(block.settings if name in known else (), training.settings, module)
        found = build(block, merged, module, _values(origin.settings, module, owner, definition), data)
    except Rejected as rejected:
        report.add(rejected.problem)
        return None, module
    except Poisoned:
        return None, module
    warn(module, [found.net if found else None])
    return found, module


def load_classifier(
    file: str | Source, report: Report, *, settings: Sequence[str] = (), root: str | None = None
) -> Recipe | None:
    """Return a recipe that evaluates a net without a `train` block as a classifier; None if the report has errors.

    Its data is a placeholder. Raises UserError, also if the net is not a classifier.
    """
    from netdsl.elaborate.train_block import classifier

    net = load_net(file, report, settings=settings, root=root)
    return classifier(net) if net is not None else None


def data_of(text: str, report: Report) -> DataKind | None:
    """Parse the value of `--data`, with paths relative to the working folder; None if there are errors.

    Raises BadDataLine for more than one line.
    """
    from netdsl.elaborate.train_lines import read_data

    module, _ = open_module(Source("--data", f"train d {{ data {text}\n}}"), report)
    if report.errors:
        return None
    items = module.file.items
    lines = items[0].settings if len(items) == 1 and isinstance(items[0], ast.Train) else ()
    if len(lines) != 1 or lines[0].key.text != "data":
        raise BadDataLine(f"`--data {text}` is more than one line of data")
    try:
        found = read_data(lines[0], module.context)
    except Rejected as rejected:
        report.add(rejected.problem)
    except Poisoned:
        pass
    return None if report.errors else found


def _recipe(module: Module, wanted: str | None, settings: Sequence[str]) -> Recipe | None:
    from netdsl.elaborate.overrides import is_of_training
    from netdsl.elaborate.train_block import recipe

    if module.report.errors:
        return None
    of_training = [setting for setting in settings if is_of_training(setting)]
    try:
        given = _given(_of_net(settings), module, module.report)
        found = recipe(module, wanted, of_training, given)
    except Rejected as rejected:
        module.report.add(rejected.problem)
        return None
    except Poisoned:
        return None
    return None if module.report.errors else found


def _of_net(settings: Sequence[str]) -> list[str]:
    """Return the settings that do not change the `train` block."""
    from netdsl.elaborate.overrides import is_of_training

    return [setting for setting in settings if not is_of_training(setting)]


def _load(module: Module, wanted: str | None, settings: Settings) -> Net | None:
    found = attempt_entry(module, wanted, settings)
    return found.net if found and not module.report.errors else None


def attempt_entry(module: Module, wanted: str | None, settings: Settings) -> Attempt | None:
    """Elaborate the requested net of a file, or its entry; None if it cannot be found. Raises UserError."""
    report = module.report
    try:
        owner, definition = entry_net(module, wanted)
        instance = resolve(owner, definition, _values(settings, module, owner, definition))
    except Rejected as rejected:
        report.add(rejected.problem)
        return None
    except Poisoned:
        return None
    owner.check_lets()
    return attempt(instance)


def _values(settings: Settings, module: Module, owner: Module, definition: ast.Net | ast.Alias) -> Given:
    """Return the values of the net's parameters. Raises UserError, Rejected or Poisoned."""
    if isinstance(settings, Mapping):
        from netdsl.elaborate.parameter_values import from_python

        return from_python(settings, module, owner, definition)
    return _given(_of_net(settings), module, module.report)


def _given(settings: Sequence[str], module: Module, report: Report) -> Given:
    """Evaluate `--set name=value` in the scope of the file. Raises UserError, Rejected or Poisoned."""
    from netdsl.elaborate.overrides import SETTING

    given: dict[str, tuple[Any, Span]] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier() or not value.strip():
            raise BadSetting(f"`--set {setting}` is not of the form NAME=VALUE")
        if name in given:
            raise BadSetting(f"`--set {name}` is given twice")
        source = Source(SETTING, f"let {name} = {value}")
        items = parse(source, report).items
        if report.errors:
            raise Poisoned
        if len(items) != 1 or not isinstance(items[0], ast.Let):
            raise BadSetting(f"`--set {setting}` is more than one value")
        given[name] = (default_value(items[0].value, module.context), items[0].name.span)
    return given
