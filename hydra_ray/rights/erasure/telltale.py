"""Texts by which a user is found in a file: pieces of what they wrote, and nobody else."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hydra_ray.rights.erasure.finder import Finder

# Prompts cut long texts, and databases keep them in pieces: a text is looked for in pieces of so many characters.
PIECE = 48
# What is shorter is no evidence of anybody: a label, a greeting.
SHORTEST = 16
_BATCH_CHARS = 1 << 20


def plain(text: str) -> str:
    """Return a text with single spaces: prompts and tables break lines in ways of their own."""
    return " ".join(text.split())


def pieces(text: str) -> Iterator[str]:
    """Yield the pieces of a text that is long enough to be evidence; the last one ends where the text ends."""
    text = plain(text)
    if len(text) >= SHORTEST:
        yield from (text[at : at + PIECE] for at in range(0, max(1, len(text) - PIECE + 1), PIECE))
        yield text[-PIECE:]


def strings(value: Any) -> Iterator[str]:
    """Yield all texts within a value: of lists and mappings, and of JSON that stands in a text."""
    if isinstance(value, str):
        yield value
        if value[:1] in "[{" and value:
            try:
                inner = json.loads(value)
            except ValueError:
                return
            yield from strings(inner)
    elif isinstance(value, dict):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from strings(one)


@dataclass(slots=True)
class Telltale:
    """Pieces of what some users wrote, from which those are taken away that somebody else wrote too.

    Two people may review the same film, and a task's labels are everybody's: such texts are no evidence, and files that
    hold them hold others' data.
    """

    found: set[str] = field(default_factory=set)
    _waiting: list[str] = field(default_factory=list)
    _chars: int = 0
    _finder: Finder | None = None

    def add(self, texts: Iterable[str]) -> None:
        """Adds what the users wrote."""
        self._finder = None
        for text in texts:
            self.found.update(pieces(text))

    def take_away(self, texts: Iterable[str]) -> None:
        """Takes away what others wrote; all that the users wrote must have been added."""
        for text in texts:
            self._waiting.append(plain(text))
            self._chars += len(text)
            if self._chars > _BATCH_CHARS:
                self._compare()
        self._compare()

    def _compare(self) -> None:
        others = "\n".join(self._waiting)
        self.found = {piece for piece in self.found if piece not in others}
        self._waiting, self._chars, self._finder = [], 0, None

    def in_text(self, text: str) -> bool:
        """Return whether a text holds one of the pieces, whatever stands between its words."""
        return self.in_bytes(plain(text).encode(errors="replace"))

    def in_bytes(self, content: bytes) -> bool:
        """Return whether bytes hold one of the pieces as UTF-8: as it is, or as JSON or HTML writes it."""
        if self._finder is None:
            written = {way(piece) for piece in self.found for way in _WAYS}
            self._finder = Finder(text.encode(errors="replace") for text in written)
        return self._finder.is_in(content)

    def in_value(self, value: Any) -> bool:
        """Return whether any text within a value holds one of the pieces."""
        return any(self.in_text(text) for text in strings(value))

    def blanked(self, value: Any) -> Any:
        """Return a value with "" for each text that holds one of the pieces."""
        if isinstance(value, str):
            return "" if self.in_value(value) else value
        if isinstance(value, dict):
            return {name: self.blanked(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self.blanked(one) for one in value]
        return value


_WAYS = (
    lambda piece: piece,
    lambda piece: json.dumps(piece)[1:-1],
    lambda piece: json.dumps(piece, ensure_ascii=False)[1:-1],
    lambda piece: html.escape(piece),
)
