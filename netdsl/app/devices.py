"""The execution providers that are available to onnxruntime, their devices, and conflicts between packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from netdsl.backend import providers
from netdsl.base.terminal import escape

if TYPE_CHECKING:
    from collections.abc import Iterator


class Provider(NamedTuple):
    """An execution provider. The devices of a provider of this build that does not list them are None."""

    name: str
    onnxruntime: str
    package: str
    version: str
    plugin: bool
    devices: list[str] | None
    failure: str | None


def available(packages: dict[str, str]) -> Iterator[Provider]:
    """Yield the providers of this build of onnxruntime, then those of plug-ins. `packages` are the
    installed builds of onnxruntime."""
    from onnxruntime import __version__ as version

    build = next(iter(packages)) if len(packages) == 1 else "onnxruntime"
    devices: dict[str, list[str]] = {}
    for device in providers.devices():
        devices.setdefault(device.ep_name, []).append(f"{device.device.type.name} ({escape(device.device.vendor)})")
    own = providers.builtin()
    for name, long in own.items():
        yield Provider(name, long, build, version, plugin=False, devices=devices.get(long), failure=None)
    for plugin in providers.plugins():
        for long in plugin.providers or (plugin.package,):
            yield Provider(
                providers.short(long),
                long,
                plugin.package,
                plugin.version,
                plugin=True,
                devices=devices.get(long, []),
                failure=plugin.failure or None,
            )


def conflict(packages: dict[str, str]) -> str | None:
    """Return the command that keeps only one build of onnxruntime, the more capable one."""
    if len(packages) < 2:
        return None
    kept = next(name for name in sorted(packages) if name != "onnxruntime")
    return f"pip uninstall -y {' '.join(packages)} && pip install {kept}"
