"""People who write of films, a year each, as JSON Lines."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def write_films(
    folder: Path, users: int, films: Iterable[int], say: Callable[[int, int], tuple[str, str]], **more: Any
) -> str:
    """Writes `records.jsonl` and gives its path.

    Args:
        folder: Where.
        users: How many, called u0, u1, ...
        films: Their numbers, which are years, too.
        say: Gives input and output of a user and a film.
        more: Further fields, each a function of the film's number.
    """
    path = folder / "records.jsonl"
    with path.open("w", encoding="utf-8") as lines:
        for user in range(users):
            for film in films:
                text, answer = say(user, film)
                record = {"user_id": f"u{user}", "input": text, "output": answer, "ts": f"20{film:02}"}
                lines.write(json.dumps(record | {name: of(film) for name, of in more.items()}) + "\n")
    return str(path)
