"""How the answers of a kind of task are parsed and scored, one class a kind.

Classes and ratings compare parsed answers for equality: with substring tests, as the public HYDRA
code has them, "comedy" would match "dark comedy" and an empty answer would match everything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Protocol

from rouge_score.rouge_scorer import RougeScorer


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
        return _by_letters(tuple(labels)).get(_letters(output))

    def score(self, output: str, gold: str, labels: Sequence[str]) -> float:
        parsed = self.parse(output, labels)
        return float(parsed is not None and _letters(parsed) == _letters(gold))


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
    return re.sub(r"[\W_]+", "", text.casefold())


@cache
def _by_letters(labels: tuple[str, ...]) -> dict[str, str]:
    return {_letters(label): label for label in labels}


@cache
def _rouge() -> RougeScorer:
    return RougeScorer(["rouge1", "rougeL"], use_stemmer=False)
