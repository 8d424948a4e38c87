"""Questions that list their answers by number, as LaMP-1 does: `... [1]: "one title" [2]: "another"`.

The number means nothing without the question. A retriever searches with, and an adapter
scores, the texts behind the numbers.
"""

from __future__ import annotations

import re

_NUMBER = re.compile(r'(\[\d+\]): "')


def options(question: str) -> dict[str, str]:
    """Return the listed texts by number as written, "[1]"; empty where the question does not end in such a list."""
    _, *listed = _NUMBER.split(question)
    numbers, texts = listed[::2], [text.rstrip() for text in listed[1::2]]
    if len(texts) < 2 or not all(text.endswith('"') for text in texts):
        return {}
    return {number: text[:-1] for number, text in zip(numbers, texts, strict=True)}


def search_text(question: str) -> str:
    """Return the text to search history with: the listed texts alone, as in LaMP-1, or else the whole question."""
    return " ".join(options(question).values()) or question


def spelled_out(answer: str, question: str) -> str:
    """Return the text that an answer stands for: that of its number in the question, or else the answer itself."""
    return options(question).get(answer, answer)
