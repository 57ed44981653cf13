"""The command line: `netdsl check`, `netdsl compile`, `netdsl run` and the rest."""

from __future__ import annotations

import _thread
import gc
import os
import sys
from errno import ENOMEM
from time import monotonic, sleep

TYPE_CHECKING = False  # importing it would cost --version a fifth of its time
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

INTERRUPTED = 130
PIPE_IS_CLOSED = 141

OBJECTS = 200_000
"""GC threshold: collect after 200,000 allocations. Python's default of 700 triggers many collections during one
check."""


INTERRUPT_DELAY = 0.02
"""Seconds after which the callback that Ctrl-C interrupted has ended."""

RESERVE = 1 << 23
"""Bytes that a command sets aside to report a lack of memory with."""


def entry() -> NoReturn:
    """Run `main` as the program `netdsl`, and leave freeing memory to the system at exit."""
    gc.set_threshold(OBJECTS)
    sys.unraisablehook = _repeat_interrupt
    try:
        raise SystemExit(main())
    finally:
        gc.freeze()  # or Python would look through all objects once more before it ends


def _repeat_interrupt(ignored: sys.UnraisableHookArgs) -> None:
    """Repeat a Ctrl-C that Python ignored because it came during a callback, such as one of an import."""

    def interrupt() -> None:
        sleep(INTERRUPT_DELAY)
        _thread.interrupt_main()

    if ignored.exc_type is KeyboardInterrupt:
        _thread.start_new_thread(interrupt, ())
    else:
        sys.__unraisablehook__(ignored)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 clean or warnings only, 1 problems in the input, 2 wrong usage or a
    missing file, 130 interrupted, 141 if stdout is closed."""
    try:
        _open_streams()
        code = _guarded(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _silence()
        return PIPE_IS_CLOSED
    except (MemoryError, SystemError):  # not even enough to say more, or to compile the module that says it
        os.write(2, b"error[E0615]: there is not enough memory\n")
        return 1
    except OSError as error:  # errors of files are reported where they occur; this one is of a standard stream
        _silence()
        try:
            from contextlib import suppress

            from netdsl.cli.machine import system_failed

            problem = system_failed(error)
            with suppress(OSError):  # the one that is full may be this
                print(problem, file=sys.stderr)
            return problem.exit_code
        except (MemoryError, SystemError, OSError) as second:  # no memory, or no descriptor, to read the modules with
            if not isinstance(second, OSError) or ENOMEM in (error.errno, second.errno):
                os.write(2, b"error[E0615]: there is not enough memory\n")
                return 1
            os.write(2, b"error[E0617]: too many open files\n")
            return 2


def _guarded(arguments: Sequence[str] | None) -> int:
    """Return the exit code of a command; an error that stops it is printed in the format of `--format`."""
    from netdsl.base.version import VERSION

    words = sys.argv[1:] if arguments is None else list(arguments)
    if words == ["--version"]:  # importing argparse takes longer than all the rest
        print(f"netdsl {VERSION}")
        return 0
    from netdsl.base.user_error import UserError

    reserve = [bytearray(RESERVE)]
    form = "text"
    try:
        from importlib import import_module

        from netdsl.cli.messages import QUIET, VERBOSE, note, verbosity
        from netdsl.cli.parser import asks_for_json, parse_arguments

        form = "json" if asks_for_json(words) else "text"
        options = parse_arguments(words)
        form = options.format
        bars = "json" not in (form, vars(options).get("log_format"))
        with verbosity(QUIET if options.quiet else int(options.verbose), bars=bars):
            begin = monotonic()
            code: int = import_module(f"netdsl.cli.{options.name}").command(options)
            note(f"netdsl {VERSION}, Python {sys.version.partition(' ')[0]}: {monotonic() - begin:.2f} s", VERBOSE)
        return code
    except UserError as error:
        problem = error
    except OSError:
        raise
    except Exception as error:
        reserve.clear()
        from netdsl.cli.machine import machine_failed, was_interrupted

        if was_interrupted(error):
            raise KeyboardInterrupt from None
        found = machine_failed(error)
        if found is None:
            raise
        problem = found
    if form == "text":
        print(problem, file=sys.stderr)
    else:
        from netdsl.cli.messages import print_error

        print_error(problem, form)
    return problem.exit_code


def _open_streams() -> None:
    """Redirect closed streams to the null device, escape what a stream's encoding lacks, and write stdout line by line.

    A file opened in the place of a closed stream would otherwise receive the output. Python buffers a stdout that is
    no terminal in blocks: in `2>&1 |` it would appear after the errors that follow it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            if name != "stdin":  # one that is closed is worth a message
                setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))
        elif name != "stdin" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def _silence() -> None:
    """Redirect the streams, so that Python's flush at exit does not fail again."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
