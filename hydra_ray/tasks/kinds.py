"""How the answers of a kind of task are parsed and scored, one class a kind.

Classes and ratings compare parsed answers for equality: with substring tests, as the public HYDRA
code has them, "comedy" would match "dark comedy" and an empty answer would match everything.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol


class AnswerKind(Protocol):
    """What the answers of one kind of task mean."""

    def parse(self, output: str, labels: Sequence[str]) -> str | None:
        """The answer that an LLM's output gives, in its canonical form; None when it gives none."""
        ...

    def score(self, output: str, gold: str, labels: Sequence[str]) -> float:
        """How good the output is against the gold answer, 0 (worst) to 1."""
        ...


class Classification:
    """One label of a closed set."""

    def parse(self, output: str, labels: Sequence[str]) -> str | None:
        exact = {label.casefold(): label for label in labels}
        by_letters = {} if not _letters(output) else _by_letters(tuple(labels))
        return exact.get(output.strip().casefold()) or by_letters.get(_letters(output))

    def score(self, output: str, gold: str, labels: Sequence[str]) -> float:
        parsed = self.parse(output, labels)
        return float(parsed is not None and parsed == self.parse(gold, labels))


class Rating:
    """A whole number on a scale; the labels are the scale, lowest first."""

    def parse(self, output: str, labels: Sequence[str]) -> str | None:
        try:
            value = float(output.strip().rstrip("."))
        except ValueError:
            return None
        # 4.0 and 4 are one answer; 4.5 and 7 are none.
        text = str(int(value)) if value.is_integer() else ""
        return text if text in labels else None

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
        rouge = _rouge().score(gold, output)
        return float((rouge["rouge1"].fmeasure + rouge["rougeL"].fmeasure) / 2)


KINDS: dict[str, AnswerKind] = {
    "classification": Classification(),
    "rating": Rating(),
    "generation": Text(),
}


def _letters(text: str) -> str:
    # LLMs vary case, quotes, final stops and the spaces around hyphens: "Sci - Fi." is sci-fi.
    # Marks are kept with their letters, which Python's \w does not do for all scripts.
    return "".join(sign for sign in text.casefold() if unicodedata.category(sign)[0] in "LNM")


@cache
def _by_letters(labels: tuple[str, ...]) -> dict[str, str]:
    # Labels that differ in signs only ("c", "c++") can only be told apart as they are written.
    counts = Counter(_letters(label) for label in labels)
    return {_letters(label): label for label in labels if counts[_letters(label)] == 1}


@cache
def _rouge() -> Any:
    # It imports half of scikit-learn, seconds that every process would pay.
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rougeL"], use_stemmer=False)
