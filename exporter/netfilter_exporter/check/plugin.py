"""The exit codes of a monitoring plugin: 1 and 2 are findings, and nothing else ends with them.

Source: Monitoring Plugins Development Guidelines, "Plugin Return Codes": wrong arguments, failures
inside the plugin, --help and --version are unknown, 3.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import Callable, TextIO

UNKNOWN = 3


class OutputLost(Exception):
    """Standard output took no more; `reason` is empty where its reader had seen enough."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


def run(main: Callable[[], int]) -> int:
    """Return the exit code that `main` returns, or 3 where it fails or its output is lost."""
    try:
        code = _code(main)
        flush()
    except OutputLost as error:
        if error.reason:
            complain(f"cannot write the result: {error.reason}")
        code = UNKNOWN
    _discard_rest()
    return code


def _code(main: Callable[[], int]) -> int:
    try:
        return main()
    except SystemExit:  # argparse has said why
        return UNKNOWN
    except KeyboardInterrupt:
        return UNKNOWN
    except OutputLost:
        raise
    except BaseException:
        complain(traceback.format_exc().rstrip())
        return UNKNOWN


def write(text: str) -> None:
    """Write to standard output now; raises `OutputLost`."""
    try:
        sys.stdout.write(text)
    except (OSError, ValueError, AttributeError) as error:
        raise _lost(error) from None
    flush()


def flush() -> None:
    """Write what waits for standard output; raises `OutputLost`."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError) as error:
        raise _lost(error) from None


def _lost(error: Exception) -> OutputLost:
    if isinstance(error, BrokenPipeError):
        return OutputLost()
    if isinstance(error, OSError):
        return OutputLost(error.strerror or str(error))
    return OutputLost("standard output is closed")  # Python has None for it, or a closed file


def complain(text: str) -> None:
    """Write to standard error, where that is possible."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _discard_rest() -> None:
    """Leave nothing that the interpreter could fail to write at its end: it would exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        if not _flushed(stream):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), stream.fileno())


def _flushed(stream: TextIO) -> bool:
    try:
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return False
    return True
