"""How the answers of a kind of task are parsed and scored, one class a kind.

Classes and ratings compare parsed answers for equality: with substring tests, as the public HYDRA
code has them, "comedy" would match "dark comedy" and an empty answer would match everything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Protocol

import regex

from hydra_ray.text.normal import normalised, without_marks
from hydra_ray.text.rouge import rouge
from hydra_ray.text.words import letters, letters_and_signs, without_skin_tones

Spelling = Callable[[str], str]

# Blanks, quotes, brackets and stops around an answer; a plus or a hash belongs to it.
_AROUND = regex.compile(r"""^[\s\p{Pi}\p{Pf}\p{Ps}"'`*]+|[\s\p{Pi}\p{Pf}\p{Pe}"'`*.,:;!?。،।]+$""")
# LLMs vary case, width, quotes, final stops, the spaces around hyphens, and marks: "Sci - Fi." is sci-fi.
_SPELLINGS: tuple[Spelling, ...] = (
    str.strip,
    lambda text: _AROUND.sub("", normalised(text)),
    letters_and_signs,
    letters,
    lambda text: without_marks(letters(text)),
    lambda text: without_skin_tones(letters_and_signs(text)),
)
# With the stop of a sentence, or the box of an emoji, after it.
_NUMBER = re.compile(r"\s*([-\u2212+]?)(\d+)(?:[.,\u066B](\d+))?\u20E3?[.\u3002\u0964]?\s*")


class AnswerKind(Protocol):
    """Parses and scores the answers of one kind of task."""

    def parse(self, output: str, labels: Sequence[str]) -> str | None:
        """Return the answer that an LLM's output gives, in its canonical form; None when it gives none."""
        ...

    def score(self, output: str, gold: str, labels: Sequence[str]) -> float:
        """Return how good the output is against the gold answer, 0 (worst) to 1."""
        ...


class Classification:
    """One label of a closed set."""

    def parse(self, output: str, labels: Sequence[str]) -> str | None:
        for spelling, found in _spellings(tuple(labels)):
            written = spelling(output)
            if written and written in found:
                return found[written]
        return None

    def score(self, output: str, gold: str, labels: Sequence[str]) -> float:
        parsed = self.parse(output, labels)
        return float(parsed is not None and parsed == self.parse(gold, labels))


class Rating:
    """A whole number on a scale; the labels are the scale, lowest first."""

    def parse(self, output: str, labels: Sequence[str]) -> str | None:
        # 4.0, ４ and ٤ are one answer; 4.5 and 7 are none.
        value = _number(output)
        return None if value is None else next((label for label in labels if _number(label) == value), None)

    def score(self, output: str, gold: str, labels: Sequence[str]) -> float:
        parsed = self.parse(output, labels)
        if parsed is None:
            return 0.0
        span = float(labels[-1]) - float(labels[0])
        return 1.0 - abs(float(parsed) - float(gold)) / span


class Text:
    """Free text, scored by the mean of ROUGE-1 and ROUGE-L (F measure, unstemmed, as LaMP has them)."""

    def parse(self, output: str, labels: Sequence[str]) -> str | None:
        return output.strip() or None

    def score(self, output: str, gold: str, labels: Sequence[str]) -> float:
        return sum(rouge(output, gold)) / 2


KINDS: dict[str, AnswerKind] = {
    "classification": Classification(),
    "rating": Rating(),
    "generation": Text(),
}


@cache
def _spellings(labels: tuple[str, ...]) -> Sequence[tuple[Spelling, Mapping[str, str]]]:
    """Return ways to write an answer, strictest first, each with the labels that it tells apart from all others.

    Labels that differ in signs only ("c", "c++"), or in marks only, can only be told apart as they are written.
    """
    spellings = []
    for spelling in _SPELLINGS:
        counts = Counter(map(spelling, dict.fromkeys(labels)))
        spellings.append((spelling, {spelling(label): label for label in labels if counts[spelling(label)] == 1}))
    return spellings


def _number(text: str) -> float | None:
    found = _NUMBER.fullmatch(normalised(text))
    return float(f"{found[1] or ''}{found[2]}.{found[3] or 0}".replace("\u2212", "-")) if found else None
