"""Commands in a line of shell: those of hydra-ray, wherever in it they are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

_OPERATORS = {"&&", "||", ";", "|", "&", "\n", ";;", "(", ")", "|&"}
_SHELLS = {"bash", "sh", "/bin/bash", "/bin/sh", "dash"}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
# Run what follows them.
_BEFORE = {"exec", "nohup", "time", "env", "command"}
_PROGRAM = "hydra-ray"
_DEEPEST = 4


class ShellError(ValueError):
    """A line of shell that cannot be taken apart."""


def words_of(line: str) -> list[str]:
    """Return the words of a line; operators outside of quotes are words of their own.

    Raises:
        ShellError: A quote is not closed.
    """
    lexer = shlex.shlex(line.replace("\\\n", " ").replace("\n", " ; "), posix=True, punctuation_chars=";&|()")
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError as error:
        raise ShellError(f"it cannot be read as a command line: {error}") from None


def is_operator(word: str) -> bool:
    """Return whether the word is the shell's and no argument."""
    return word in _OPERATORS


def our_commands(words: Sequence[str], deep: int = 0) -> Iterator[list[str]]:
    """Yield the arguments of each call of `hydra-ray`, also of those that a `bash -c` runs.

    Args:
        words: Words of a line, or the command and arguments of a container.
        deep: How many shells are around it.

    Raises:
        ShellError: A script cannot be taken apart.
    """
    command: list[str] = []
    for word in [*words, ";"]:
        if not is_operator(word):
            command.append(word)
            continue
        yield from _of_one(command, deep)
        command = []


def _of_one(command: list[str], deep: int) -> Iterator[list[str]]:
    while command and (command[0] in _BEFORE or _ASSIGNMENT.fullmatch(command[0])):
        command = command[1:]
    if not command:
        return
    name, *rest = command
    if name.rpartition("/")[2] == _PROGRAM:
        yield rest
    elif name.rpartition("/")[2].startswith("python") and rest[:2] == ["-m", "hydra_ray"]:
        yield rest[2:]
    elif name in _SHELLS and deep < _DEEPEST:
        script = next((place for place, word in enumerate(rest) if re.fullmatch(r"-[a-z]*c", word)), None)
        if script is not None and script + 1 < len(rest):
            yield from our_commands(words_of(rest[script + 1]), deep + 1)
