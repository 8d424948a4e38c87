"""A command line of hydra-ray, read as the program itself would read it, and not run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

# What a wrong command line raises: typer has no public name of it.
_UsageError: Any = typer.BadParameter.__mro__[1]


class CommandError(ValueError):
    """A command line that the program would refuse."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command line that the program would take.

    Attributes:
        name: E.g. `model promote`.
        settings: The settings file; None where the command takes none.
        overrides: Single settings that go over the file's.
        files: Other paths on the line.
    """

    name: str
    settings: Path | None
    overrides: tuple[str, ...]
    files: tuple[Path, ...]


def read_command(program: Any, arguments: list[str]) -> Command | None:
    """Return what a command line says; None where it only asks for help.

    Args:
        program: The program's root, a click group.
        arguments: All that follows its name.

    Raises:
        CommandError: There is no such command or option, or something is missing.
    """
    if "--help" in arguments:
        return None
    try:
        return _read(program, list(arguments))
    except _UsageError as error:
        raise CommandError(" ".join(error.format_message().split())) from None


def _read(program: Any, arguments: list[str]) -> Command:
    names: list[str] = []
    context = None
    rest = arguments
    while True:
        is_group = hasattr(program, "resolve_command")
        missing = CommandError(f"a command is missing after {' '.join(['hydra-ray', *names])}")
        if is_group and not rest:
            # The program would print its help.
            raise missing
        context = program.make_context(names[-1] if names else "hydra-ray", rest, parent=context)
        if not is_group:
            break
        left = [*context._protected_args, *context.args]
        if not left:
            raise missing
        name, program, rest = program.resolve_command(context, left)
        names.append(name)
    given = dict(context.params)
    settings, overrides = given.pop("settings", None), given.pop("overrides", None)
    paths = (one for value in given.values() for one in (value if isinstance(value, list | tuple) else [value]))
    return Command(
        " ".join(names),
        settings if isinstance(settings, Path) else None,
        tuple(overrides or ()),
        tuple(path for path in paths if isinstance(path, Path)),
    )
