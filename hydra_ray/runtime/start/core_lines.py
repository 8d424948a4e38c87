"""Keeps what Ray's C++ core says to itself off a command's stderr."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# E.g. "[2026-11-28 18:15:47,721 I 12308 12308] logging.cc:303: Set ray log level ...".
_CORE_LINE = re.compile(rb"\[\d{4}-\d\d-\d\d [\d:,.]+ [A-Z] \d+ \d+\] .*\.cc:\d+: .*")


@contextlib.contextmanager
def without_core_lines() -> Iterator[None]:
    """Holds back stderr while the body runs, and then writes it without the core's lines.

    `RAY_BACKEND_LOG_LEVEL` silences the core, but for a line which says that it does. The core writes to the file
    descriptor, so nothing in Python sees it.
    """
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        before = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            held.seek(0)
            for line in held:
                if not _CORE_LINE.match(line):
                    os.write(2, line)
