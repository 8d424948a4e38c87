"""The two texts that the encoder reads for one decision.

What must not be cut stands first: the encoder cuts the longer text of a pair at its end.
"""

from __future__ import annotations

from collections.abc import Sequence

from hydra_ray.records import HistoryItem


def reranker_pair(query: str, item: HistoryItem) -> tuple[str, str]:
    """Would this history item help the LLM with this query? The item's answer is part of the question."""
    return query, f"{item.output}: {item.input}"


def adapter_pair(candidate: str, query: str, evidence: Sequence[str]) -> tuple[str, str]:
    """Would this user prefer this candidate? `evidence` are the answers of retrieved history, nearest first."""
    return f"{candidate}: {query}", " | ".join(evidence)
