"""Requests for candidates: the same for a method and for the feedback that teaches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from hydra_ray.records import ChatRequest, Generation, Message, Sampling, Usage, UserKey
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.steps.sources import PromptShare


class Sample(NamedTuple):
    """One of the LLM's answers, before it is parsed.

    Attributes:
        text: The answer.
        greedy: Whether it is its prompt's answer at temperature 0.
        prompt: Name of the prompt that gave it; "" where that is not told.
        end: Why it ended.
    """

    text: str
    greedy: bool
    prompt: str = ""
    end: str = "stop"


class PromptRequest(NamedTuple):
    """A request for candidates, and the name of its prompt."""

    prompt: str
    request: ChatRequest

    def samples(self, found: Generation) -> list[Sample]:
        """Return the answers to the request, each with where it comes from."""
        greedy = self.request.temperature == 0
        return [Sample(text, greedy, self.prompt, end) for text, end in zip(found.texts, found.ends, strict=True)]


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


def mixed_requests(
    chats: Mapping[str, tuple[Message, ...]],
    mix: Sequence[PromptShare],
    temperature: float,
    max_tokens: int,
    seed: int,
    users: tuple[UserKey, ...],
    sampling: Sampling,
) -> tuple[PromptRequest, ...]:
    """Return the requests of all prompts, in the order of the mix.

    A greedy request is the one that a method with this prompt alone makes. Samples of all prompts but the first have
    a seed of their own: of a user without history all prompts are one chat, which would be sampled alike.

    Args:
        chats: Chats by the name of their prompt; each of the mix is there.
        mix: Prompts, and how many answers of each are wanted.
        temperature: Temperature of the samples.
        max_tokens: Most tokens of an answer.
        seed: Seed of the query.
        users: Users whose texts the chats hold.
        sampling: Further parameters, the same for all.
    """
    found: list[PromptRequest] = []
    for place, share in enumerate(mix):
        how = share.samples, temperature, share.greedy, max_tokens, seed, users, sampling
        for request in candidate_requests(chats[share.prompt], *how):
            if place and request.temperature:
                request = replace(request, seed=stable_seed(seed, share.prompt))
            found.append(PromptRequest(share.prompt, request))
    return tuple(found)


def candidate_calls(mix: Sequence[PromptShare], calls: Callable[[int], int]) -> int:
    """Return how many LLM calls a query's candidates take.

    Args:
        mix: Prompts with the number of candidates that each gives, the greedy ones included.
        calls: Returns how many calls a number of samples of one request takes.
    """
    lefts = [share.samples - share.greedy for share in mix]
    return sum(share.greedy for share in mix) + sum(calls(left) for left in lefts if left)


def joined(generations: tuple[Generation, ...]) -> Generation:
    """All answers as one generation, in the order of the requests."""
    return sum(generations, Generation((), Usage()))
