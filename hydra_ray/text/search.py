"""What BM25 searches by: words, and of scripts without blanks overlapping pairs of characters.

A single character of them means little, and where words end only a dictionary knows. Chinese characters stand for
themselves besides, since many a word is one. Korean goes in pairs of syllables too: of eight queries about eight
messages words found none and pairs all, for particles hang on nouns.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import pairwise
from threading import Lock
from typing import Any

import regex

from hydra_ray.text.normal import normalised, without_marks
from hydra_ray.text.words import Piece, graphemes, pieces, signed_words, words

_HAN = regex.compile(r"\p{Script=Han}")
_STEMMING = Lock()


def search_words(text: str, stemmer: str | None = None) -> list[str]:
    """The words by which a text is found and searched with, in their order, without English stop words.

    Args:
        text: The text to index or to search with, in any language.
        stemmer: Language whose endings are cut off, a name of `snowballstemmer`; None leaves words as they are.
    """
    if text.isascii():
        stop_words = _stop_words()
        plain = (word for word in words(text) if len(word) > 1 and word not in stop_words)
        found = [_stem(stemmer, word) for word in plain] if stemmer else list(plain)
    else:
        found = [word for piece in pieces(normalised(text)) for word in _words_of(piece, stemmer)]
    found += signed_words(text)
    # A single letter or digit is what an apostrophe leaves over, unless it is the whole text.
    return found or [word for word in words(text) if _tells(word)]


def stemmers() -> tuple[str, ...]:
    """Languages that `search_words` can stem."""
    import snowballstemmer

    return tuple(snowballstemmer.algorithms())


def _tells(word: str) -> bool:
    return word not in _stop_words() and word not in _stop_characters()


# bm25s loads a compiler, which most processes that know of a search have no use for: imported with the first one.
@cache
def _stop_words() -> frozenset[str]:
    from bm25s.stopwords import STOPWORDS_EN

    return frozenset(STOPWORDS_EN)


@cache
def _stop_characters() -> frozenset[str]:
    """Chinese characters that mean little alone: particles, pronouns. In a pair they count."""
    from bm25s.stopwords import STOPWORDS_CHINESE

    return frozenset(word for word in STOPWORDS_CHINESE if len(word) == 1)


def _words_of(piece: Piece, stemmer: str | None) -> Iterator[str]:
    if piece.kind == "sign":
        yield piece.text
    elif piece.kind == "word":
        if len(piece.text) > 1 and _tells(piece.text):
            yield without_marks(_stem(stemmer, piece.text) if stemmer else piece.text)
    else:
        characters = graphemes(without_marks(piece.text))
        yield from map("".join, pairwise(characters))
        alone = len(characters) == 1
        yield from (one for one in characters if (alone or _HAN.match(one)) and _tells(one))


# Words come again and again, and one takes the stemmer 20 microseconds.
@lru_cache(maxsize=50_000)
def _stem(language: str, word: str) -> str:
    # A stemmer keeps the word that it is at, and texts are searched in several threads.
    with _STEMMING:
        stem: str = _stemmer(language).stemWord(word)
    return stem


@cache
def _stemmer(language: str) -> Any:
    from snowballstemmer import stemmer

    return stemmer(language)
