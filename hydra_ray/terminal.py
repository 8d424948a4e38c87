"""Progress on a terminal, with rich."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class TerminalProgress:
    """A `ProgressListener` that draws bars with the time left.

    Args:
        console: Where they are drawn.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def heading(self, text: str) -> None:
        """Draw a rule with the text in it."""
        self._console.rule(Text(text, style="rule.text"))

    def bars(self) -> Progress:
        """Return bars of the columns that all commands have."""
        return Progress(
            SpinnerColumn(),
            # As it is: what stands in brackets, such as a path, is no markup.
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            _NoteColumn(),
            console=self._console,
        )


class _NoteColumn(ProgressColumn):
    """The few words behind a bar; a bar may have none."""

    def render(self, task: Task) -> Text:
        return Text(task.fields.get("note", ""))
