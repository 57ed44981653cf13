"""The command line: `netdsl check`, `netdsl compile`, `netdsl run`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130
PIPE_IS_CLOSED = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code: 0 clean or warnings only, 1 problems in the input, 2 wrong usage or a
    missing file, 130 interrupted."""
    from netdsl.diagnostics.user_error import UserError

    try:
        from netdsl.cli.options import parse

        options = parse(arguments)
        code: int = options.command(options)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout at exit, and would complain a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_IS_CLOSED
