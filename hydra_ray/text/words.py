"""The words of a text in any language.

A word is a run of letters with their marks, and digits, as ROUGE has it for ASCII; UAX 29's own words would keep
"end.Next" and "don't" whole. Of scripts that put no blanks between words each grapheme cluster (UAX 29) is a word, and
of Hangul each syllable: Korean hangs its particles on nouns, so what stands between blanks is hardly ever met twice.
An emoji is one, whatever it is joined of, and so is a sign that is not ASCII (★, €).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

import regex

from hydra_ray.text.normal import normalised, without_marks

# Letters of scripts without blanks: Chinese and Japanese; Thai, Lao, Khmer, Burmese and their like (UAX 14's class SA).
HAN_KANA = r"[[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Bopomofo}\p{Script=Yi}]&&[\p{L}\p{Nl}]]"
SOUTH_EAST_ASIAN = r"[\p{Line_Break=SA}]"
WITHOUT_BLANKS = rf"[{HAN_KANA}{SOUTH_EAST_ASIAN}]"
HANGUL = r"[\p{Script=Hangul}&&\p{L}]"
_RUNS = rf"[{WITHOUT_BLANKS}{HANGUL}]"

_PIECE = regex.compile(
    rf"""
    (?P<word> [[\p{{L}}\p{{N}}]--{_RUNS}] [[[\p{{L}}\p{{N}}]--{_RUNS}]\p{{M}}]* )
  | (?P<characters> (?:(?={HAN_KANA})\X)+ )
  | (?P<letters> (?:(?={SOUTH_EAST_ASIAN})\X)+ )
  | (?P<syllables> (?:(?={HANGUL})\X)+ )
  | (?P<sign> (?=[\p{{Extended_Pictographic}}\p{{Regional_Indicator}}])\X | [0-9#*]\u20E3
            | [[\p{{So}}\p{{Sm}}\p{{Sc}}]--[\x00-\x7F]]\p{{M}}* )
    """,
    regex.V1 | regex.X,
)
_CHARACTER = regex.compile(_RUNS, regex.V1)
_NO_LETTER = regex.compile(r"[^\p{L}\p{N}\p{M}]+")
_NO_SIGN = regex.compile(r"[^\p{L}\p{N}\p{M}\u200D\U000E0020-\U000E007F[\p{S}--[\x00-\x7F]]]+", regex.V1)
_SKIN_TONE = regex.compile(r"\p{Emoji_Modifier}+")
_BLANKLESS = regex.compile(WITHOUT_BLANKS, regex.V1)
# With Chinese and Japanese punctuation, which has none either.
_ALONE = regex.compile(rf"(?={WITHOUT_BLANKS})\X|[\p{{scx=Han}}&&\p{{P}}]|[\uFF01-\uFF0F\uFF1A-\uFF1F]", regex.V1)
# Beside a character of a script without blanks a word ends, too.
_BESIDE = rf"[[\w]--{_RUNS}]"
_SIGN_BEFORE = regex.compile(rf"(?<!{_BESIDE})[.$€£¥]{_BESIDE}+", regex.V1)
_SIGN_AFTER = regex.compile(
    rf"(?<!{_BESIDE})(?:[\p{{L}}--{_RUNS}]+(?:\+\+|\#)|[\p{{L}}--{_RUNS}]\+)(?!{_BESIDE})", regex.V1
)
_ASCII_WORD = re.compile("[a-z0-9]+")

PieceKind = Literal["word", "characters", "letters", "syllables", "sign"]


class Piece(NamedTuple):
    """A part of a text that is one word, or a run of a script without blanks.

    Attributes:
        kind: "word" and "sign" are one word; "characters" are of Chinese or Japanese, "letters" of Thai and its like,
            "syllables" of Korean.
        text: The part as it stands in the text.
    """

    kind: PieceKind
    text: str


def pieces(text: str) -> Iterator[Piece]:
    """Yield the text's parts in their order; whatever is no word is left out."""
    for found in _PIECE.finditer(text):
        yield Piece(found.lastgroup, found[0])


def graphemes(text: str) -> list[str]:
    """Return the text's extended grapheme clusters (UAX 29): what a reader takes for one character each."""
    return regex.findall(r"\X", text)


def signed_words(text: str) -> list[str]:
    """Return the words that signs make other words: C++, C#, A+, .NET, $5; `words` has them without the signs."""
    plain = normalised(text)
    found = _SIGN_BEFORE.findall(plain)
    # Few texts have any, and looking for words takes longer than looking for signs.
    found += _SIGN_AFTER.findall(plain) if "+" in plain or "#" in plain else []
    return [without_marks(word) for word in found]


def parted(text: str) -> str:
    """Put blanks around each character of scripts that have none between words, for whoever splits at blanks."""
    return _ALONE.sub(r" \g<0> ", text) if _BLANKLESS.search(text) else text


def letters(text: str) -> str:
    """Return the normalised text's letters with their marks, and digits, without anything between them."""
    return _NO_LETTER.sub("", normalised(text))


def letters_and_signs(text: str) -> str:
    """Return what `letters` does, with emoji and other signs that are not ASCII."""
    return _NO_SIGN.sub("", normalised(text))


def without_skin_tones(text: str) -> str:
    """Return the text with each emoji in the colour that it has by itself."""
    return _SKIN_TONE.sub("", text)


def is_character(word: str) -> bool:
    """Return whether a word is one character of a script that puts no blanks between words, or of Korean."""
    return _CHARACTER.match(word) is not None


def words(text: str) -> list[str]:
    """Return the text's words, normalised and without the marks that people leave out.

    For ASCII text they are the tokens of `rouge_score`, which is what LaMP's metrics are computed by.
    """
    plain = without_marks(normalised(text))
    if plain.isascii():
        return _ASCII_WORD.findall(plain)
    return [word for piece in pieces(plain) for word in _words_of(piece)]


def _words_of(piece: Piece) -> list[str]:
    return [piece.text] if piece.kind in ("word", "sign") else graphemes(piece.text)
