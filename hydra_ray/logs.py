"""Logging of all processes: what is done without, tried again or left out, each with its cause, on stderr.

Modules log to `logging.getLogger(__name__)`. The command line and whatever Ray hosts (actors, replicas) call
`set_up_logging` once; in code that only imports hydra_ray, the caller's own logging is left alone.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator
from typing import Protocol, TextIO

from pythonjsonlogger.json import JsonFormatter
from rich.file_proxy import FileProxy

# Of messages that differ in their arguments only one is written in so many seconds.
_EVERY_S = 10.0
_ROOT = "hydra_ray"
_NUMBER = re.compile(r"\d+(\.\d+)?")


class LogSettings(Protocol):
    """Section `logging` of the settings."""

    @property
    def level(self) -> str:
        """Lowest level that is written: debug, info, warning or error."""
        ...

    @property
    def json_lines(self) -> bool:
        """Whether each message is a line of JSON."""
        ...


def set_up_logging(settings: LogSettings) -> None:
    """Writes what hydra_ray logs to stderr; called again, it only changes level and format."""
    root = logging.getLogger(_ROOT)
    for handler in [own for own in root.handlers if isinstance(own, StderrHandler)]:
        root.removeHandler(handler)
    handler = StderrHandler(plain=not settings.json_lines)
    handler.addFilter(_Rarely())
    handler.setFormatter(_json() if settings.json_lines else _Line())
    root.addHandler(handler)
    root.setLevel(settings.level.upper())


class StderrHandler(logging.Handler):
    """Writes to whatever stderr is at the moment: above a progress bar where one is drawn on the same terminal.

    Args:
        plain: Whether lines are for people, and may be drawn as the terminal wants it.
    """

    def __init__(self, plain: bool) -> None:
        super().__init__()
        self._plain = plain

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        try:
            stream = self._stream()
            stream.write(self.format(record) + "\n")
            stream.flush()
        except Exception:
            self.handleError(record)

    def _stream(self) -> TextIO:
        stream = sys.stderr
        if isinstance(stream, FileProxy):
            # Rich takes stderr's lines above its bar on stdout; a file, and JSON, are to get them as they are.
            below = stream.rich_proxied_file
            return stream if self._plain and below.isatty() else below  # type: ignore[return-value]
        return stream


class _Rarely(logging.Filter):
    """Lets one of alike messages through every few seconds, with the number of those that were held back."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        record.suppressed = 0
        if record.levelno < logging.INFO:
            return True
        # The template, so that messages about different queries are alike; libraries fill in numbers beforehand.
        key, now = (record.name, record.levelno, _NUMBER.sub("0", str(record.msg))), time.monotonic()
        written, held_back = self._last.get(key, (float("-inf"), 0))
        if now - written < _EVERY_S:
            self._last[key] = written, held_back + 1
            return False
        self._last[key] = now, 0
        record.suppressed = held_back
        return True


class _Line(logging.Formatter):
    """One line a message, causes included; tracebacks only at level debug."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        if logging.getLogger(_ROOT).isEnabledFor(logging.DEBUG):
            return super().format(record) + _more(record)
        record.message = record.getMessage()
        record.asctime = self.formatTime(record, self.datefmt)
        causes = _causes(record.exc_info[1]) if record.exc_info else iter(())
        line = ": ".join([self.formatMessage(record), *causes])
        return " ".join(line.splitlines()) + _more(record)


def _more(record: logging.LogRecord) -> str:
    held_back = getattr(record, "suppressed", 0)
    return f" ({held_back} alike were not written since the last)" if held_back else ""


def _causes(error: BaseException | None) -> Iterator[str]:
    """The error and what caused it, each once, in a few words."""
    seen: set[str] = set()
    while error is not None:
        # Ray's errors hold whole tracebacks; the last line says what went wrong.
        words = next((line for line in reversed(str(error).splitlines()) if line.strip()), "")
        message = f"{type(error).__name__}: {words.strip()[:300]}" if words else type(error).__name__
        if message not in seen:
            yield message
        seen.add(message)
        error = error.__cause__


def _json() -> JsonFormatter:
    names = {"asctime": "time", "levelname": "level", "name": "logger"}
    return JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s %(suppressed)s", rename_fields=names)
