"""How the program ends: what the user can mend in one line, with an exit code that says which kind it was."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from hydra_ray import stopping
from hydra_ray.records import HydraError
from hydra_ray.steps.generate.failures import UnfinishedError
from hydra_ray.stopping import Stopped

# Exit code of a command that left something unanswered.
UNFINISHED = 3


@contextmanager
def plain_errors() -> Iterator[None]:
    """Shows what the user can mend as one message on stderr; all else is a bug and keeps its traceback.

    Exit code 1: something is to be mended first. 3: not everything was answered, and the same command goes on. 130 and
    143: stopped by SIGINT and SIGTERM.
    """
    try:
        yield
    except UnfinishedError as error:
        _say(f"[red]error:[/red] {escape(str(error))}")
        sys.exit(UNFINISHED)
    except HydraError as error:
        _say(f"[red]error:[/red] {escape(str(error))}")
        sys.exit(1)
    except SystemExit as end:
        # Until it runs, Ray has a handler of its own, which exits with the signal's number.
        if not isinstance(end, Stopped) and end.code != signal.SIGTERM:
            raise
        _say("Stopped. The same command goes on where it was.")
        stopping.leave(int(end.code or 0) if isinstance(end, Stopped) else 128 + signal.SIGTERM)


def _say(line: str) -> None:
    Console(stderr=True, soft_wrap=True).print(line)
