"""The prompts that a query's candidates come from, and how many each gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydra_ray.steps.retrieval.retrievers import RETRIEVERS

ZERO_SHOT, RECENT, RERANKED, PROFILE, PEERS = "zero-shot", "recent", "reranked", "profile", "peers"
# What a mix may name: no history, the first items of a retriever, those that the reranker puts first among
# `method.retriever`'s, and that retriever's with the user's profile.
PROMPTS = (ZERO_SHOT, *RETRIEVERS, RERANKED, PROFILE)


@dataclass(frozen=True, slots=True)
class PromptShare:
    """How many of a query's candidates one prompt gives.

    Attributes:
        prompt: Name of the prompt; "" where a method has one only and says itself what it shows.
        samples: Answers that the LLM gives to it.
        greedy: Whether one of them is the answer at temperature 0.
    """

    prompt: str
    samples: int
    greedy: bool


def mix_of_texts(retriever: str, candidates: int, greedy: bool) -> tuple[PromptShare, ...]:
    """Return the mix for answers that are texts: the nearest items, none, and the latest, in shares as equal as can be.

    The best of its candidates is hardly better than that of one prompt's, but an adapter tells them apart better
    (docs/research-log.md). Where a prompt would give less than two, there is no mix.

    Args:
        retriever: Name of the retriever of the nearest items (`method.retriever`).
        candidates: Number of candidates.
        greedy: Whether one of each prompt's answers is the one at temperature 0.
    """
    names = tuple(dict.fromkeys((retriever, ZERO_SHOT, RECENT)))
    each, more = divmod(candidates, len(names))
    if each < 2:
        return ()
    return tuple(PromptShare(name, each + (place < more), greedy) for place, name in enumerate(names))


def retriever_of(prompt: str, default: str) -> str | None:
    """Return the retriever whose items a prompt shows; None where it shows none.

    Args:
        prompt: One of `PROMPTS`.
        default: Retriever of the prompts that do not name one (`method.retriever`).
    """
    if prompt == ZERO_SHOT:
        return None
    return prompt if prompt in RETRIEVERS else default


def retrievers_of(mix: Sequence[PromptShare], default: str) -> tuple[str, ...]:
    """Return the distinct retrievers that a mix asks, the default one first: what the adapter reads comes from it."""
    named = (retriever_of(share.prompt, default) for share in mix)
    return tuple(dict.fromkeys([default, *(by for by in named if by is not None)]))
