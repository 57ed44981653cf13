"""`netdsl devices`: list the execution providers available to onnxruntime, and conflicts between packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from netdsl.backend import providers
from netdsl.base.terminal import escape
from netdsl.report.table import aligned, json_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


class _Provider(NamedTuple):
    """An execution provider. The devices of a provider of this build that does not list them are None."""

    name: str
    onnxruntime: str
    package: str
    version: str
    plugin: bool
    devices: list[str] | None
    failure: str | None


def command(options: argparse.Namespace) -> int:
    """Run the command. Exit code 0, with or without conflicts."""
    import onnxruntime

    packages = providers.builds()
    build = next(iter(packages)) if len(packages) == 1 else "onnxruntime"
    found = list(_providers(build, onnxruntime.__version__))
    conflict = _conflict(packages)
    if options.json:
        known = {
            "onnxruntime": onnxruntime.__version__,
            "packages": packages,
            "providers": [each._asdict() for each in found],
            "conflict": conflict,
        }
        print(json_text(known))
        return 0
    rows = [
        ("PROVIDER", "FROM", "DEVICES"),
        *((each.name, f"{each.package} {each.version}", _devices(each)) for each in found),
    ]
    print("\n".join(aligned(rows)))
    if conflict is not None:
        names = " and ".join(packages)
        print(f"\n{names} are installed in one folder and have overwritten each other's files; to fix this, run:")
        print(f"  {conflict}")
    return 0


def _providers(build: str, version: str) -> Iterator[_Provider]:
    """Yield the providers of this build of onnxruntime, then those of plug-ins."""
    devices: dict[str, list[str]] = {}
    for device in providers.devices():
        devices.setdefault(device.ep_name, []).append(f"{device.device.type.name} ({escape(device.device.vendor)})")
    own = providers.builtin()
    for name, long in own.items():
        yield _Provider(name, long, build, version, plugin=False, devices=devices.get(long), failure=None)
    for plugin in providers.plugins():
        for long in plugin.providers or (plugin.package,):
            yield _Provider(
                providers.short(long),
                long,
                plugin.package,
                plugin.version,
                plugin=True,
                devices=devices.get(long, []),
                failure=plugin.failure or None,
            )


def _devices(provider: _Provider) -> str:
    if provider.failure:
        return f"cannot be loaded: {provider.failure}"
    if provider.devices is None:
        return "unknown before it starts"
    return ", ".join(dict.fromkeys(provider.devices)) or "none supported"


def _conflict(packages: dict[str, str]) -> str | None:
    """Return the command that keeps only one build of onnxruntime, the more capable one."""
    if len(packages) < 2:
        return None
    kept = next(name for name in sorted(packages) if name != "onnxruntime")
    return f"pip uninstall -y {' '.join(packages)} && pip install {kept}"
