"""Files that name users, or items of their histories, one a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hydra_ray.records import HydraError, as_user_id
from hydra_ray.utf8 import EncodingError, decode


def listed_users(path: Path, option: str) -> list[str]:
    """Return the user ids of a file, one a line, each once; blank lines are left out.

    Args:
        path: File to read.
        option: Setting or option that names the file, for messages.

    Raises:
        HydraError: The file cannot be read, or a line is no user id.
    """
    return list(dict.fromkeys(_user(line, place) for line, place in _lines(path, option)))


def listed_items(path: Path, option: str) -> list[tuple[str, str]]:
    """Return users and items of a file, one a line: a user's id, or a user's id and an item's with a tab between them.

    Args:
        path: File to read.
        option: Setting or option that names the file, for messages.

    Returns:
        Ids of user and item; the item's is empty where the line names a user alone.

    Raises:
        HydraError: The file cannot be read, or a line does not begin with a user id.
    """
    found = []
    for line, place in _lines(path, option):
        user, _, item = line.partition("\t")
        found.append((_user(user, place), item.strip()))
    return found


def _lines(path: Path, option: str) -> Iterator[tuple[str, str]]:
    """Give each line that says something, with where it stands."""
    try:
        lines = decode(path.read_bytes()).split("\n")
    except OSError as error:
        raise HydraError(f"{option}: {path} is not a readable file: {error.strerror}") from None
    except EncodingError as error:
        raise HydraError(f"{option}: {path}: {error}") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield line, f"{option}: {path}, line {number}"


def _user(text: str, place: str) -> str:
    try:
        return as_user_id(text)
    except ValueError as error:
        raise HydraError(f"{place}: the user id {error}.") from None
