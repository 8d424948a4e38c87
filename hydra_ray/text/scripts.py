"""The scripts that texts are written in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

import regex

LATIN = "Latin"
OTHER = "other"

_SCRIPTS = {
    LATIN: r"\p{Script=Latin}",
    "Han": r"\p{Script=Han}",
    "Kana": r"[\p{scx=Hiragana}\p{scx=Katakana}]",
    "Hangul": r"\p{Script=Hangul}",
    "Thai": r"\p{Script=Thai}",
    "Arabic": r"\p{Script=Arabic}",
    "Devanagari": r"\p{Script=Devanagari}",
    "Cyrillic": r"\p{Script=Cyrillic}",
    "Greek": r"\p{Script=Greek}",
    "Hebrew": r"\p{Script=Hebrew}",
    "emoji": r"\p{Extended_Pictographic}",
}
_PATTERNS = {name: regex.compile(pattern) for name, pattern in _SCRIPTS.items()}
_LETTER = regex.compile(r"\p{L}")


def script_shares(texts: Iterable[str]) -> dict[str, float]:
    """Return the share of each script among all letters and emoji, largest first; empty where there are none.

    Digits, punctuation and what combines with a letter belong to no script.
    """
    signs: Counter[str] = Counter()
    for text in texts:
        signs.update(text)
    counts: Counter[str] = Counter()
    for sign, count in signs.items():
        if script := _script(sign):
            counts[script] += count
    return {script: count / counts.total() for script, count in counts.most_common()}


@lru_cache(maxsize=1 << 14)
def _script(sign: str) -> str | None:
    if _LETTER.fullmatch(sign):
        return next((name for name, pattern in _PATTERNS.items() if pattern.fullmatch(sign)), OTHER)
    return "emoji" if _PATTERNS["emoji"].fullmatch(sign) and not sign.isascii() else None
