"""Makes texts shorter, in words or characters, without cutting what readers take for one character."""

from __future__ import annotations

import regex

from hydra_ray.text.words import WITHOUT_BLANKS

# Of scripts without blanks each character is a word; anything else ends at the next blank.
_WITHOUT_BLANKS = regex.compile(WITHOUT_BLANKS, regex.V1)
_UNIT = regex.compile(rf"(?={WITHOUT_BLANKS})\X|(?:(?!{WITHOUT_BLANKS})\S)+", regex.V1)
_LONGEST_WORD = 40
_GRAPHEME = regex.compile(r"\X")
_WORD = regex.compile(r"[\p{L}\p{N}\p{So}]")


def count_words(text: str) -> int:
    """Count words as `first_words` does: what stands between blanks; in scripts without blanks, characters."""
    return sum(1 if not _WITHOUT_BLANKS.search(part) else len(_ends(part)) for part in text.split())


def first_words(text: str, most: int, most_characters: int | None = None) -> str:
    """Return the text's first words, white space made single.

    Args:
        text: The text to shorten, in any language.
        most: Most words. A word is what stands between blanks; in scripts without blanks each character is one, and so
            is what stands between such characters if it has letters or digits.
        most_characters: Most code points besides; None is 40 a word, which only addresses and encoded files reach.
    """
    kept, left = [], most
    for part in text.split():
        if left <= 0:
            break
        ends = _ends(part) if _WITHOUT_BLANKS.search(part) else [len(part)]
        kept.append(part if len(ends) <= left else part[: ends[left - 1]])
        left -= len(ends)
    most_characters = most * _LONGEST_WORD if most_characters is None else most_characters
    return first_characters(" ".join(kept), most_characters).rstrip()


def first_characters(text: str, most: int) -> str:
    """Return the text's beginning, at most `most` code points, ending where a grapheme cluster does."""
    if len(text) <= most or _apart(text[most - 1], text[most]):
        return text[:most]
    end = 0
    for cluster in _GRAPHEME.finditer(text):
        if cluster.end() > most:
            break
        end = cluster.end()
    return text[:end]


def _ends(part: str) -> list[int]:
    """Return where each word of a part without blanks ends; signs alone are none, but for a part of nothing else."""
    return [unit.end() for unit in _UNIT.finditer(part) if _WORD.search(unit[0])] or [len(part)]


def _apart(before: str, after: str) -> bool:
    return before.isascii() and after.isascii() and (before, after) != ("\r", "\n")
