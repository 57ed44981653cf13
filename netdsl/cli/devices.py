"""`netdsl devices`: list the execution providers available to onnxruntime, and conflicts between packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.app.devices import available, conflict
from netdsl.backend import providers
from netdsl.cli.messages import print_json, print_table
from netdsl.report.table import aligned

if TYPE_CHECKING:
    import argparse

    from netdsl.app.devices import Provider


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, with or without conflicts."""
    import onnxruntime

    packages = providers.builds()
    found = list(available(packages))
    repair = conflict(packages)
    if options.json:
        known = {
            "onnxruntime": onnxruntime.__version__,
            "packages": packages,
            "providers": [each._asdict() for each in found],
            "conflict": repair,
        }
        print_json(known)
        return 0
    if options.format != "text":
        print_table([each._asdict() | {"devices": _devices(each)} for each in found], options.format)
        return 0
    rows = [
        ("PROVIDER", "FROM", "DEVICES"),
        *((each.name, f"{each.package} {each.version}", _devices(each)) for each in found),
    ]
    print("\n".join(aligned(rows)))
    if repair is not None:
        names = " and ".join(packages)
        print(f"\n{names} are installed in one folder and have overwritten each other's files; to fix this, run:")
        print(f"  {repair}")
    return 0


def _devices(provider: Provider) -> str:
    if provider.failure:
        return f"cannot be loaded: {provider.failure}"
    if provider.devices is None:
        return "unknown before it starts"
    return ", ".join(dict.fromkeys(provider.devices)) or "none supported"
