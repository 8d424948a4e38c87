"""Ends a command on SIGINT (Ctrl-C) or SIGTERM: what is open is closed, nothing is left running."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Closing takes a second or two; what takes longer waits for something that may never come.
_PATIENCE_S = 10.0


class Stopped(SystemExit):
    """Somebody stopped the command. A SystemExit, since libraries take a KeyboardInterrupt for theirs."""


def stop_on_signals() -> None:
    """From now on SIGINT and SIGTERM raise `Stopped` in the main thread, the first time; further ones are ignored.

    Ray's processes end with this one, whatever way it ends: the kernel sees to that.
    """
    for number in _SIGNALS:
        signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    code = 128 + number
    timer = threading.Timer(_PATIENCE_S, os._exit, [code])
    timer.daemon = True
    timer.start()
    raise Stopped(code)
