"""Writes the requests to the LLM about one example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.rows import ExampleKey
from hydra_ray.methods import Recipe
from hydra_ray.records import (
    LEFT_TO_THE_LLM,
    ChatRequest,
    HistoryItem,
)
from hydra_ray.steps.candidates import mixed_requests
from hydra_ray.steps.prompt import Prompt, Prompter
from hydra_ray.steps.retrieval.embed import Embed
from hydra_ray.steps.retrieval.retrievers import retriever
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.steps.sources import retriever_of


@dataclass(frozen=True, slots=True)
class ExampleRequests:
    """All requests about one example, and what the LLM's answers are compared with.

    Attributes:
        key: Identifies the query in each row of feedback.
        query: The query's text.
        gold: The user's own answer.
        items: Retrieved items tried one at a time.
        history_answers: Answers of the history that the adapter will read.
        alone: Requests without history and with each item; none where there is no reranker to teach.
        several: Requests for candidates.
        prompts: Name of the prompt of each of these; "" where there is one prompt.
        truncated: Texts cut to fit the prompt.
    """

    key: ExampleKey
    query: str
    gold: str
    items: tuple[HistoryItem, ...]
    history_answers: tuple[str, ...]
    alone: tuple[ChatRequest, ...]
    several: tuple[ChatRequest, ...]
    prompts: tuple[str, ...]
    truncated: int

    @property
    def requests(self) -> tuple[ChatRequest, ...]:
        """All requests: those for one answer first, then those for candidates."""
        return (*self.alone, *self.several)


@dataclass(frozen=True, slots=True)
class RequestWriter:
    """Writes the requests about an example.

    Args:
        prompter: Writes its prompts.
        recipe: Shots, candidates and temperature, as the method that is trained will use them.
        items: Most retrieved items tried one at a time, after none at all; 0 where there is no reranker to teach.
        embed: Gives the vectors that dense and hybrid retrieval compare.
    """

    prompter: Prompter
    recipe: Recipe
    items: int
    embed: Embed | None = None

    def __call__(self, example: Example) -> ExampleRequests:
        """Return the example's requests; they depend on nothing that the LLM answers."""
        recipe, task = self.recipe, self.prompter.task
        most = max(self.items, recipe.history_answers, recipe.shots)
        nearest = self._retrieved(example, recipe.retriever, most)
        items = nearest[: self.items]
        seed, longest = stable_seed(recipe.seed, example.query.user, example.query.id), task.max_tokens
        whose = example.query.whose
        tried = [[], *([item] for item in items)] if self.items else []
        alone = [
            ChatRequest(self.prompter(example.query, shots).messages, 1, 0.0, longest, seed, whose) for shots in tried
        ]
        # Texts cut above are cut again, and counted, in the candidates' prompts.
        prompts = self._prompts(example, nearest)
        chats = {name: prompt.messages for name, prompt in prompts.items()}
        asked = mixed_requests(chats, recipe.shares(task), recipe.temperature, longest, seed, whose, LEFT_TO_THE_LLM)
        return ExampleRequests(
            example.key,
            example.query.input,
            example.gold,
            tuple(items),
            tuple(item.output for item in nearest[: recipe.history_answers]),
            tuple(alone),
            tuple(one.request for one in asked),
            tuple(one.prompt for one in asked),
            sum(prompt.truncated for prompt in prompts.values()),
        )

    def _prompts(self, example: Example, nearest: Sequence[HistoryItem]) -> dict[str, Prompt]:
        """Return the prompts for candidates by name.

        There is no reranker yet, and a profile would be made of what is asked about: both show the nearest items.
        """
        recipe, prompts = self.recipe, dict[str, Prompt]()
        for share in recipe.shares(self.prompter.task):
            by = retriever_of(share.prompt, recipe.retriever)
            shots = nearest if by == recipe.retriever else self._retrieved(example, by, recipe.shots) if by else []
            prompts[share.prompt] = self.prompter(example.query, shots[: recipe.shots])
        return prompts

    def _retrieved(self, example: Example, by: str, most: int) -> list[HistoryItem]:
        found = retriever(by, self.embed, self.recipe.stemmer)(example.query, example.history, most)
        return [ranked.item for ranked in found]
