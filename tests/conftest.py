"""What all tests share."""

from __future__ import annotations

import gc
import os
import random
import signal
from collections.abc import Callable, Generator

import pytest
from hypothesis import settings

from tests.support.paths import GOLDEN

# No test depends on time, and CI tries the same examples each time.
settings.register_profile("netdsl", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("netdsl")

# Ignored and blocked signals are inherited (from nohup, from a shell's background jobs), and the commands of the tests
# would inherit them in turn. Python ignores the last two itself, and resets them in child processes.
for number in signal.valid_signals() - {getattr(signal, name, None) for name in ("SIGPIPE", "SIGXFSZ")}:
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
if hasattr(signal, "pthread_sigmask"):
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden with the current output")
    parser.addoption("--shuffle", metavar="SEED", help="run the test files, and the tests of each, in a random order")


def pytest_report_header(config: pytest.Config) -> str:
    seed = config.getoption("--shuffle")
    return f"order: --shuffle {seed}" if seed is not None else "order: as written"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the collected tests out of garbage collection: they live to the end, and it would traverse them often."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle files as wholes, so that fixtures of a file are made once."""
    seed = config.getoption("--shuffle")
    if seed is not None:
        draws = random.Random(seed)
        places = {path: draws.random() for path in sorted({item.path for item in items})}
        items.sort(key=lambda item: (places[item.path], draws.random()))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is measured in tests is not remembered for the user."""
    os.environ["NETDSL_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden("render/skip.txt", text)`: the text is that of the file, but for a newline at the end."""

    def compare(name: str, text: str) -> None:
        path, text = GOLDEN / name, text.removesuffix("\n") + "\n"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        assert path.exists(), f"{name} is missing; write it with pytest --update-golden, and read it"
        assert text == path.read_bytes().decode()

    return compare
