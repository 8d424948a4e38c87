"""Texts that the encoder reads for one decision: what is scored, and what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra_ray.records import HistoryItem
from hydra_ray.tasks.options import spelled_out

if TYPE_CHECKING:
    # Texts are written where nothing is encoded, too.
    from hydra_ray.models.layout import Texts


def reranker_texts(query: str, item: HistoryItem) -> Texts:
    """Return the texts for "would this history item help the LLM with this query?".

    The item's answer is part of what is scored, and stands first: a long item is cut at its end.
    """
    return item_text(item), query, ()


def item_text(item: HistoryItem) -> str:
    """Return what the reranker reads of an item, whatever the query."""
    return f"{item.output}: {item.input}"


def adapter_texts(candidate: str, query: str, history_answers: Sequence[str]) -> Texts:
    """Return the texts for "would this user prefer this candidate?", with answers of history nearest first.

    Where a query lists its answers by number, the text behind the candidate's number is scored.
    """
    return spelled_out(candidate, query), query, tuple(history_answers)
