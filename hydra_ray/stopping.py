"""Ends a command on SIGINT (Ctrl-C) or SIGTERM: what is open is closed, nothing is left running."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Closing takes a second or two; what takes longer waits for something that may never come.
_PATIENCE_S = 10.0


class Stopped(SystemExit):
    """Somebody stopped the command. A SystemExit, since libraries take a KeyboardInterrupt for theirs."""


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """While the body runs SIGINT and SIGTERM raise `Stopped` in the main thread, the first time; then they are ignored.

    Ray's processes end with this one, whatever way it ends: the kernel sees to that.
    """
    before = {number: signal.signal(number, _stop) for number in _SIGNALS}
    try:
        yield
    finally:
        # Once stopped, nothing is to disturb the end of the process.
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            for number, handler in before.items():
                signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    code = 128 + number
    timer = threading.Timer(_PATIENCE_S, os._exit, [code])
    timer.daemon = True
    timer.start()
    raise Stopped(code)


def leave(code: int) -> NoReturn:
    """Ends the process at once: what Python would still tidy up takes it seconds, and the system does that anyway."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
