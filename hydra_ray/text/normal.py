"""Normalises what people write in several ways: NFKC, case folding, and letters without marks people leave out."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import regex

# NFKC writes "10½" as "101⁄2" and "Foo™" as "FooTM": such signs become words of their own.
_SIGN = regex.compile(r"[\p{No}\p{So}]")
# What is not seen: soft hyphens, joiners, directions, variants of a sign. The joiner of emoji stays, and so does the
# space of width zero, which parts words.
_UNSEEN = regex.compile(
    r"[[\p{Default_Ignorable_Code_Point}]--[\u200B\u200D\U000E0020-\U000E007F\p{L}]]"
    r"|(?<![\p{Extended_Pictographic}\p{Emoji_Modifier}\uFE0F])\u200D",
    regex.V1,
)
_DIGIT = regex.compile(r"[\p{Nd}--[0-9]]", regex.V1)
# Of these scripts people leave marks out, and leave vowels to the reader. Elsewhere a mark makes another letter or is
# the vowel itself: Japanese が is not か, Hindi की is not का, and Russian й is not и.
_MARKED = regex.compile(r"([\p{Latin}\p{Greek}\p{Hebrew}\p{Arabic}])\p{M}+")
_STRESSED = regex.compile("([аеиоуыэюяіє])[\u0300\u0301]|(е)\u0308")
# Letters that are no letter with a mark to Unicode, and Arabic letters that keyboards tell apart and readers do not.
_LETTERS = str.maketrans(
    {
        "ł": "l",
        "ø": "o",
        "đ": "d",
        "ħ": "h",
        "ŧ": "t",
        "ı": "i",
        "æ": "ae",
        "œ": "oe",
        "ð": "d",
        "þ": "th",
        "ی": "ي",
        "ى": "ي",
        "ک": "ك",
        "ہ": "ه",
        "ـ": "",
    }
)


def normalised(text: str) -> str:
    """Return the text in NFKC, case folded, its digits 0 to 9, without what is not seen.

    ASCII text is in lower case and otherwise as it was.
    """
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", _SIGN.sub(_apart, text)).casefold()
    text = _DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), _UNSEEN.sub("", text))
    # Case folding takes letters apart.
    return unicodedata.normalize("NFC", text)


def without_marks(text: str) -> str:
    """Return normalised text as people write it who leave marks out: "grusse" for "grüße", "سلام" for "سَلام"."""
    if text.isascii():
        return text
    apart = unicodedata.normalize("NFD", text)
    apart = _STRESSED.sub(lambda found: found[1] or found[2], _MARKED.sub(r"\1", apart))
    return unicodedata.normalize("NFC", apart).translate(_LETTERS)


@lru_cache(maxsize=4096)
def _compatible(sign: str) -> str:
    plain = unicodedata.normalize("NFKC", sign)
    return sign if plain == sign else f" {plain} "


def _apart(found: regex.Match[str]) -> str:
    return _compatible(found[0])
