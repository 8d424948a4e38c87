"""The prompts that a query's candidates come from, and how many each gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydra_ray.steps.retrieval.retrievers import RETRIEVERS

ZERO_SHOT, RERANKED, PROFILE, PEERS = "zero-shot", "reranked", "profile", "peers"
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
