"""Requests for candidates: the same for a method and for the feedback that teaches it."""

from __future__ import annotations

from collections.abc import Callable

from hydra_ray.records import ChatRequest, Generation, Message, Sampling, Usage, UserKey


def candidate_requests(
    messages: tuple[Message, ...],
    count: int,
    temperature: float,
    greedy: bool,
    max_tokens: int,
    seed: int,
    users: tuple[UserKey, ...],
    sampling: Sampling,
) -> tuple[ChatRequest, ...]:
    """Return requests that together bring `count` candidates.

    Args:
        messages: The chat.
        count: Answers wanted.
        temperature: Temperature of the samples.
        greedy: Whether one of the answers is the LLM's greedy one: samples of a small LM are worse than that.
        max_tokens: Most tokens of an answer.
        seed: Seed of the samples.
        users: Users whose texts the chat holds.
        sampling: Further parameters, the same for all.
    """
    first = (ChatRequest(messages, 1, 0.0, max_tokens, seed, users, sampling),) if greedy else ()
    left = count - len(first)
    return (*first, ChatRequest(messages, left, temperature, max_tokens, seed, users, sampling)) if left else first


def candidate_calls(count: int, greedy: bool, calls: Callable[[int], int]) -> int:
    """Return how many LLM calls `count` candidates take.

    Args:
        count: Candidates wanted for one query, the greedy one included.
        greedy: Whether one of them is the LLM's greedy answer.
        calls: Returns how many calls a number of samples of one request takes.
    """
    left = count - greedy
    return greedy + (calls(left) if left else 0)


def joined(generations: tuple[Generation, ...]) -> Generation:
    """All answers as one generation, in the order of the requests."""
    return sum(generations, Generation((), Usage()))
