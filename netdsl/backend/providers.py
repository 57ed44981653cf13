"""List and select execution providers of onnxruntime: built in, or from plug-in packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.base.suggest import suggest
from netdsl.base.user_error import USAGE_IS_WRONG, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.metadata import Distribution

SUFFIX = "ExecutionProvider"


class NoProvider(UserError, code="E0811", title="an unavailable execution provider", exit_code=USAGE_IS_WRONG):
    """The execution provider is unknown, not part of this build of onnxruntime, or does not start on this machine.

    ```sh
    netdsl devices
    netdsl run net.net x.npy --provider cpu
    ```
    """


class Known:
    """A known provider: the user's `name` for it, onnxruntime's name, the packages that contain it, the systems they
    support, and the options that netdsl sets.

    A package that is a build of onnxruntime replaces the installed one; a plug-in is installed in addition.
    """

    __slots__ = ("long", "name", "options", "packages", "system")

    def __init__(
        self, name: str, long: str, packages: str, *, system: str = "", options: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self.long = long + SUFFIX
        self.packages = packages
        self.system = system
        self.options = options or {}

    @property
    def install(self) -> str:
        """The command that installs it."""
        first = self.packages.partition(" ")[0].strip("'").partition("[")[0]
        others = [name for name in builds() if name != first]
        away = f"pip uninstall -y {' '.join(others)} && " if others and self.packages in BUILDS else ""
        return f"{self.system}{away}pip install {self.packages}"


GPU = "'onnxruntime-gpu[cuda,cudnn]'"
BUILDS = (GPU, f"{GPU} tensorrt", "onnxruntime-directml", "onnxruntime-migraphx")
KNOWN = {
    known.name: known
    for known in (
        Known("cpu", "CPU", "onnxruntime"),
        Known("cuda", "CUDA", GPU, options={"use_tf32": "0"}),  # TF32 would round mantissas to 10 bits
        Known("tensorrt", "Tensorrt", f"{GPU} tensorrt"),
        Known("nvtensorrtrtx", "NvTensorRTRTX", "onnxruntime-ep-nv-tensorrt-rtx"),
        Known("openvino", "OpenVINO", "onnxruntime-ep-openvino"),
        Known("directml", "Dml", "onnxruntime-directml", system="on Windows: "),
        Known("coreml", "CoreML", "onnxruntime", system="on macOS: "),
        Known("migraphx", "MIGraphX", "onnxruntime-migraphx"),
        Known("webgpu", "WebGpu", "onnxruntime-ep-webgpu"),
    )
}
"""Known providers by the user's names."""

REMOTE = ("AzureExecutionProvider",)
"""Providers that are in every build of onnxruntime, but cannot run a network."""


class Plugin:
    """An `onnxruntime-ep-*` package: its version, its library, and the error if it could not be registered."""

    __slots__ = ("failure", "package", "providers", "version")

    def __init__(self, package: str, version: str) -> None:
        self.package = package
        self.version = version
        self.providers: tuple[str, ...] = ()
        self.failure = ""


_plugins: list[Plugin] | None = None
"""The plug-ins that this process has registered; onnxruntime accepts each library only once."""


def plugins() -> list[Plugin]:
    """Register and return the installed plug-in packages."""
    global _plugins
    if _plugins is None:
        _plugins = [_register(*found) for found in _packages()]
    return _plugins


def _packages() -> Iterator[tuple[Plugin, str]]:
    """Yield each installed plug-in package and its module."""
    from importlib.metadata import distributions

    seen = set()
    for package in distributions():
        name = _name(package)
        if name.startswith("onnxruntime-ep-") and name not in seen:
            seen.add(name)
            modules = [f.parts[0] for f in package.files or () if len(f.parts) == 2 and f.name == "__init__.py"]
            for module in modules[:1]:  # a metapackage has none
                yield Plugin(name, package.version), module


def _name(package: Distribution) -> str:
    return (package.metadata["Name"] or "").lower().replace("_", "-").replace(".", "-")


def _register(plugin: Plugin, module: str) -> Plugin:
    from importlib import import_module

    import onnxruntime

    try:
        helper = import_module(module)
        names = getattr(helper, "get_ep_names", None)
        plugin.providers = tuple(names() if names else [helper.get_ep_name()])
        onnxruntime.register_execution_provider_library(plugin.package, helper.get_library_path())
    except Exception as error:  # a plug-in's code can raise anything
        plugin.failure = str(error).strip().partition("\n")[0] or type(error).__name__
    return plugin


def split(text: str) -> tuple[str, dict[str, str]]:
    """Parse `cuda:device_id=1,use_tf32=1` into a name and options. Raises NoProvider."""
    name, colon, rest = text.partition(":")
    options: dict[str, str] = {}
    for part in rest.split(",") if colon else ():
        key, equals, value = (each.strip() for each in part.partition("="))
        if not key or not equals:
            raise NoProvider(f"`{text}` is not of the form NAME:KEY=VALUE,KEY=VALUE")
        if key in options:
            raise NoProvider(f"`{text}` says `{key}` twice")
        options[key] = value
    return name.strip().lower(), options


def short(long: str) -> str:
    """Return the user's name for an onnxruntime provider."""
    return next((known.name for known in KNOWN.values() if known.long == long), long.removesuffix(SUFFIX).lower())


def builtin() -> dict[str, str]:
    """Return the providers of this build of onnxruntime, by the user's names and onnxruntime's."""
    import onnxruntime

    beside = {long for plugin in _plugins or () for long in plugin.providers if not plugin.failure}
    return {
        short(long): long
        for long in onnxruntime.get_available_providers()
        if long not in REMOTE and long.partition(".")[0] not in beside  # registered plug-ins are listed too
    }


def devices() -> list[Any]:
    """Return onnxruntime's device objects of all providers, plug-ins included."""
    import onnxruntime

    plugins()
    return list(onnxruntime.get_ep_devices()) if hasattr(onnxruntime, "get_ep_devices") else []


def choose(text: str) -> tuple[str, str, dict[str, str], list[Any] | None]:
    """Resolve `--provider` to the user's and onnxruntime's name, the options, and for a plug-in the devices.

    Raises NoProvider if it is not available.
    """
    name, options = split(text)
    here = builtin()
    if name == "cpu" and options:
        raise NoProvider("the provider `cpu` takes no options", "use --threads to set the number of threads")
    if name in here:
        ours = KNOWN[name].options if name in KNOWN else {}
        return name, here[name], {**ours, **options}, None
    found = [device for device in devices() if short(device.ep_name) == name]
    if not found:
        raise _absent(name, [*here, *(short(device.ep_name) for device in devices())])
    wanted = options.pop("device_type", "").upper()
    fitting = [device for device in found if not wanted or device.device.type.name == wanted]
    if not fitting:
        kinds = ", ".join(dict.fromkeys(device.device.type.name for device in found))
        raise NoProvider(f"the provider `{name}` has no device {wanted} here; available: {kinds}")
    return name, found[0].ep_name, {**(KNOWN[name].options if name in KNOWN else {}), **options}, fitting[:1]


def _absent(name: str, here: Iterable[str]) -> NoProvider:
    there = "available: " + ", ".join(dict.fromkeys(here))
    for plugin in plugins():
        if name in map(short, plugin.providers):
            why = f": {plugin.failure}" if plugin.failure else ", which finds no suitable device on this machine"
            return NoProvider(f"the provider `{name}` comes with {plugin.package}{why}; {there}")
    if name not in KNOWN:
        meant = [f"did you mean `{word}`?" for word in suggest(name, KNOWN)[:1]]
        return NoProvider(f"unknown execution provider `{name}`; {there}", *meant)
    return NoProvider(f"the provider `{name}` is not in this build of onnxruntime; {there}", KNOWN[name].install)


def builds() -> dict[str, str]:
    """Return the versions of the installed packages that contain the module `onnxruntime`. Each overwrites the files of
    the others."""
    from importlib.metadata import distributions

    found = {}
    for package in distributions():
        name = _name(package)
        if name.startswith(("onnxruntime", "ort-")) and any(
            file.as_posix() == "onnxruntime/__init__.py" for file in package.files or ()
        ):
            found[name] = package.version
    return dict(sorted(found.items()))
