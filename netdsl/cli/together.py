"""Run a command in several processes that end together, with one message and one exit code."""

from __future__ import annotations

import sys
from io import BytesIO, TextIOWrapper
from time import sleep
from typing import TYPE_CHECKING

from netdsl.base.limits import SOURCE_BYTES
from netdsl.base.user_error import UserError
from netdsl.cli import INTERRUPTED, PIPE_IS_CLOSED
from netdsl.cli.machine import machine_failed, system_failed
from netdsl.cli.messages import print_error, silence
from netdsl.train.ranks import PATIENCE, RankFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdsl.train.ranks import Ranks

SIGNALS = 128
"""Exit codes from here on are those of signals, which all ranks get and which need no message."""


def together(ranks: Ranks, form: str, work: Callable[[], int]) -> int:
    """Return the exit code of a function that all ranks run, and of which rank 0 prints the results.

    An error that ranks can tell each other is raised by rank 0 alone, and is a silent exit code of the others. After
    any other, such as a bug or an error within a step, for which ranks may wait that compute it, the rank prints it, in
    the format `form`, and ends all of them.
    """
    if ranks.size == 1:
        return work()
    if not ranks.leads:
        silence()
    try:
        try:
            return work()
        except Exception as error:
            problem = None if ranks.in_lockstep or isinstance(error, BrokenPipeError) else _problem(error)
            if problem is None:
                raise
            ranks.fail(problem)
    except RankFailed as failed:
        if ranks.leads:
            raise failed.error from None
        return failed.error.exit_code
    except BaseException as error:
        code = 1
        try:
            if not ranks.leads and isinstance(error, Exception):
                sleep(PATIENCE)
            code = _report(error, ranks, form)
        finally:  # even if there is nowhere to print: others may wait
            ranks.abort(code)


def share_stdin(ranks: Ranks) -> None:
    """Let all ranks read the standard input, of which a launcher leaves those other than rank 0 waiting."""
    text = ranks.broadcast(sys.stdin.buffer.read(SOURCE_BYTES + 1) if ranks.leads else b"")
    sys.stdin = TextIOWrapper(BytesIO(text))


def _problem(error: Exception) -> UserError | None:
    """Return the problem for an exception, or None for a bug of netdsl."""
    if isinstance(error, UserError):
        return error
    return system_failed(error) if isinstance(error, OSError) else machine_failed(error)


def _report(error: BaseException, ranks: Ranks, form: str) -> int:
    """Print an error of this rank, and return its exit code."""
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if code < SIGNALS:
            print(f"{ranks.name} has exited with code {code}", file=sys.stderr)
        return code
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return PIPE_IS_CLOSED
    problem = _problem(error) if isinstance(error, Exception) else None
    if problem is not None:
        problem.message = problem.message if ranks.leads else f"{ranks.name}: {problem.message}"
        print_error(problem, form)
        return problem.exit_code
    from traceback import print_exception

    print(f"{ranks.name}:", file=sys.stderr)
    print_exception(error)
    return 1
