"""Progress of a job, shown as its caller wants it: on a terminal, in a notebook's widget, or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol


class ProgressBars(Protocol):
    """Bars of one part of a job. `rich.progress.Progress` is one."""

    def add_task(self, description: str, /, *, total: float | None, completed: int = 0, note: str = "") -> Any:
        """Adds a bar and returns its id.

        Args:
            description: What is done, e.g. "Asking the LLM".
            total: Amount of work, in steps; None where it is not known yet.
            completed: Steps that were done before.
            note: A few words shown behind the bar.
        """
        ...

    def update(
        self,
        task: Any,
        /,
        *,
        total: float | None = None,
        completed: float | None = None,
        advance: float | None = None,
        note: str = "",
    ) -> None:
        """Says how far a bar is. What is not given stays as it is.

        Args:
            task: Id of the bar.
            total: Amount of work, in steps.
            completed: Steps that are done.
            advance: Steps that were done since the last call, in place of `completed`.
            note: A few words shown behind the bar.
        """
        ...


class ProgressListener(Protocol):
    """Listener that shows how far a job is."""

    def heading(self, text: str) -> None:
        """Begins one of several parts of a job."""
        ...

    def bars(self) -> AbstractContextManager[ProgressBars]:
        """Opens bars, which end with the context."""
        ...


class Silent:
    """A listener that shows nothing."""

    def heading(self, text: str) -> None:
        """Shows nothing."""

    @contextlib.contextmanager
    def bars(self) -> Iterator[ProgressBars]:
        """Bars that show nothing."""
        yield _SilentBars()


class _SilentBars:
    def add_task(self, description: str, /, *, total: float | None, completed: int = 0, note: str = "") -> int:
        return 0

    def update(self, task: Any, /, **changes: Any) -> None:
        pass


SILENT = Silent()
