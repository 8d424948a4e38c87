"""Finds any of many byte strings in time that does not grow with how many there are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_PREFIX, _BITS = 4, 20
# Knuth's multiplicative hash.
_FACTOR = np.uint32(2654435761)


class Finder:
    """Looks for byte strings of at least four bytes, as Rabin and Karp do: by a hash of the first four.

    Args:
        wanted: What is looked for.
    """

    def __init__(self, wanted: Iterable[bytes]) -> None:
        self._by_prefix: dict[bytes, tuple[bytes, ...]] = {}
        for one in wanted:
            prefix = one[:_PREFIX]
            self._by_prefix[prefix] = (*self._by_prefix.get(prefix, ()), one)
        self._table = np.zeros(1 << _BITS, bool)
        for prefix in self._by_prefix:
            self._table[_hashes(prefix)] = True

    def is_in(self, content: bytes) -> bool:
        """Return whether any of the strings stands in the bytes."""
        if len(content) < _PREFIX or not self._by_prefix:
            return False
        for at in np.flatnonzero(self._table[_hashes(content)]).tolist():
            found = self._by_prefix.get(content[at : at + _PREFIX])
            if found is not None and content.startswith(found, at):
                return True
        return False


def _hashes(content: bytes) -> np.ndarray:
    signs = np.frombuffer(content, np.uint8).astype(np.uint32)
    last = len(signs) - _PREFIX + 1
    words = signs[:last] | signs[1 : last + 1] << 8 | signs[2 : last + 2] << 16 | signs[3 : last + 3] << 24
    return (words * _FACTOR) >> np.uint32(32 - _BITS)
