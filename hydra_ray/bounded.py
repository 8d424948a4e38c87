"""Memory that is bounded in bytes: what was used last is kept."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Concatenate, Generic, ParamSpec, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")
Words = TypeVar("Words", bound=Iterable[str])
Options = ParamSpec("Options")
TakesApart = Callable[Concatenate[str, Options], Words]

# Of an entry: its place in the dict, a tuple and a number.
_OVERHEAD = 300


def not_counted(found: int, missed: int) -> None:
    """Counts nothing: for caches whose use nobody wants to know.

    Args:
        found: Number of things that were looked for and kept.
        missed: Number of those that were not.
    """


class BoundedCache(Generic[Key, Value]):
    """Values of known sizes, those used last. Any thread may use it.

    Args:
        max_bytes: Most bytes that all values may take together; one that is larger is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of the values kept now."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Value | None:
        """Return the value, which counts as used; None where none is kept."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Key, value: Value, nbytes: int) -> bool:
        """Keeps a value in place of the key's former one; returns False where it is too large."""
        with self._lock:
            self._drop(key)
            if nbytes > self._max_bytes:
                return False
            self._kept[key] = value, nbytes
            self._bytes += nbytes
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))
            return True

    def drop(self, key: Key) -> None:
        """Drops the key's value."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        if key in self._kept:
            self._bytes -= self._kept.pop(key)[1]


def words_remembered(max_bytes: int) -> Callable[[TakesApart[Options, Words]], TakesApart[Options, Words]]:
    """Decorates what takes a text apart into words: a text that comes again is not taken apart again.

    Args:
        max_bytes: About the most that texts and words may take. A text that needs over a hundredth is not kept, so that
            none pushes out many.
    """

    def decorate(apart: TakesApart[Options, Words]) -> TakesApart[Options, Words]:
        cache: BoundedCache[object, Words] = BoundedCache(max_bytes)

        @wraps(apart)
        def remembered(text: str, /, *args: Options.args, **options: Options.kwargs) -> Words:
            key = text, args, tuple(options.items())
            words = cache.get(key)
            if words is None:
                words = apart(text, *args, **options)
                nbytes = _OVERHEAD + sys.getsizeof(text) + sys.getsizeof(words) + sum(map(sys.getsizeof, words))
                if 100 * nbytes <= max_bytes:
                    cache.put(key, words, nbytes)
            return words

        remembered.cache = cache  # type: ignore[attr-defined]
        return remembered

    return decorate
