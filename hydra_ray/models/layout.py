"""Where the texts of decisions stand, each distinct one once, and what features are made of their encodings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import torch
from torch import Tensor
from torch.nn import functional as F

# What is scored (a candidate, a history item), and what it is compared with: a query ("" for none), and answers.
Texts = tuple[str, str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Layout:
    """Layout of decisions: the distinct texts, and where they stand.

    Attributes:
        texts: Distinct texts, which are encoded.
        places: Three tensors. `place`, shape (decisions, 3): rows of the texts, in the last column rows of the distinct
            lists of answers, -1 where there is none. `answers`: rows of the texts, list after list. `starts`: where
            each list of answers begins.
    """

    texts: list[str]
    places: dict[str, Tensor]

    @classmethod
    def of(cls, decisions: Sequence[Texts]) -> Layout:
        """Lay out decisions, in which texts and lists of answers come again and again."""
        lists = {answers: [text for text in answers if text] for *_, answers in decisions if any(answers)}
        single = [text for candidate, query, _ in decisions for text in (candidate, query) if text]
        texts = list(dict.fromkeys([*single, *chain.from_iterable(lists.values())]))
        rows = {text: row for row, text in enumerate(texts)}
        row_of_list = {answers: row for row, answers in enumerate(lists)}
        place = [
            [rows.get(candidate, -1), rows.get(query, -1), row_of_list.get(answers, -1)]
            for candidate, query, answers in decisions
        ]
        starts = [0, *accumulate(len(own) for own in lists.values())][:-1]
        return cls(
            texts,
            {
                "place": torch.tensor(place, dtype=torch.long).reshape(-1, 3),
                "answers": torch.tensor([rows[text] for own in lists.values() for text in own], dtype=torch.long),
                "starts": torch.tensor(starts, dtype=torch.long),
            },
        )


def features_of(encoded: Tensor, places: dict[str, Tensor], lexical: Tensor) -> Tensor:
    """Return features z of decisions, shape (decisions, width), as `TextsEncoder` has them.

    Args:
        encoded: Encodings of the distinct texts, shape (texts, hidden size).
        places: Where they stand, as `Layout.places` has it.
        lexical: Lexical features, shape (decisions, 3).
    """
    place, none = places["place"], encoded.new_zeros(1, encoded.shape[1])
    means = none[:0]
    if len(places["starts"]):
        mean = F.embedding_bag(places["answers"], encoded, places["starts"], mode="mean")
        means = F.normalize(mean, dim=1) * encoded.shape[1] ** 0.5
    # One more row of zeros, at -1, for where there is no text.
    rows, means = torch.cat([encoded, none]), torch.cat([means, none])
    candidate, query, answers = rows[place[:, 0]], rows[place[:, 1]], means[place[:, 2]]
    return torch.cat([candidate, candidate * query, candidate * answers, lexical], dim=1)
