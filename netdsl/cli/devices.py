"""`netdsl devices`: list the execution providers available to onnxruntime, and conflicts between packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.backend import providers
from netdsl.base.terminal import escape

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, with or without conflicts."""
    import onnxruntime

    packages = providers.builds()
    build = next(iter(packages)) if len(packages) == 1 else "onnxruntime"
    found = list(_providers(build, onnxruntime.__version__))
    conflict = _conflict(packages)
    if options.json:
        from json import dumps

        known = {
            "onnxruntime": onnxruntime.__version__,
            "packages": packages,
            "providers": found,
            "conflict": conflict,
        }
        print(dumps(known, indent=2, ensure_ascii=False))
        return 0
    rows = [("PROVIDER", "FROM", "DEVICES"), *((each["name"], _source(each), _devices(each)) for each in found)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, source, held in rows:
        print(f"{name:{widths[0]}}  {source:{widths[1]}}  {held}".rstrip())
    if conflict is not None:
        names = " and ".join(packages)
        print(f"\n{names} are installed into one folder, and each has overwritten the other's files; to mend that:")
        print(f"  {conflict}")
    return 0


def _providers(build: str, version: str) -> Iterator[dict[str, Any]]:
    """Return the providers of this build of onnxruntime, then those of plug-ins."""
    devices: dict[str, list[str]] = {}
    for device in providers.devices():
        devices.setdefault(device.ep_name, []).append(f"{device.device.type.name} ({escape(device.device.vendor)})")
    own = providers.builtin()
    for name, long in own.items():
        yield {
            "name": name,
            "onnxruntime": long,
            "package": build,
            "version": version,
            "plugin": False,
            "devices": devices.get(long),
            "failure": None,
        }
    for plugin in providers.plugins():
        for long in plugin.providers or (plugin.package,):
            yield {
                "name": providers.short(long),
                "onnxruntime": long,
                "package": plugin.package,
                "version": plugin.version,
                "plugin": True,
                "devices": devices.get(long, []),
                "failure": plugin.failure or None,
            }


def _source(provider: dict[str, Any]) -> str:
    return f"{provider['package']} {provider['version']}"


def _devices(provider: dict[str, Any]) -> str:
    if provider["failure"]:
        return f"does not load: {provider['failure']}"
    if provider["devices"] is None:
        return "known when it starts"
    return ", ".join(dict.fromkeys(provider["devices"])) or "none that it supports"


def _conflict(packages: dict[str, str]) -> str | None:
    """Return the command that keeps only one build of onnxruntime, the more capable one."""
    if len(packages) < 2:
        return None
    kept = next(name for name in sorted(packages) if name != "onnxruntime")
    return f"pip uninstall -y {' '.join(packages)} && pip install {kept}"
