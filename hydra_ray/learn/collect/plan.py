"""Plans what the LLM will be asked, before it is asked: seeded, and spread evenly over users."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.dates import before
from hydra_ray.learn.collect.rows import ExampleKey
from hydra_ray.records import HistoryItem, Query
from hydra_ray.steps.seeds import stable_seed


@dataclass(frozen=True, slots=True)
class Example:
    """One query with a known answer, and the history it may see.

    Attributes:
        query: A real query, or a history item asked again.
        gold: The user's own answer.
        history: Oldest first; of a pseudo-query, the items before it.
        pseudo: Whether the query is a history item.
    """

    query: Query
    gold: str
    history: tuple[HistoryItem, ...]
    pseudo: bool

    @property
    def key(self) -> ExampleKey:
        """Key of the query in feedback and in what is learnt from it."""
        return ExampleKey(*self.query.user, self.query.id, self.pseudo)


def calls_of(example: Example, items: int, candidate_calls: int) -> int:
    """Return how many LLM calls an example costs: for candidates, and for the reranker without and with each item.

    Args:
        example: The example.
        items: Most retrieved items tried one at a time; with 0 nothing is asked for the reranker.
        candidate_calls: Calls for its candidates.
    """
    return (1 + min(items, len(example.history)) if items else 0) + candidate_calls


def plan_examples(
    dataset: Dataset,
    *,
    pseudo_queries: int,
    use_golds: bool,
    items: int,
    candidate_calls: int,
    max_calls: int | None,
    seed: int,
) -> list[Example]:
    """Return the examples to ask about, in order: every user's first, then every user's second, and so on.

    A larger budget only adds examples at the end, so what was asked under a smaller one stays of use.

    Args:
        dataset: The chosen users.
        pseudo_queries: Most history items of a user asked again.
        use_golds: Whether the users' real queries may be used with their answers: training users only.
        items: Most retrieved items tried one at a time; 0 where there is no reranker.
        candidate_calls: Calls for a query's candidates.
        max_calls: The budget; None is no limit.
        seed: Seed that users' order and pseudo-queries are drawn with.
    """
    queues = [user_examples(dataset, user, pseudo_queries, use_golds, seed) for user in dataset.users]
    random.Random(seed).shuffle(queues)
    examples = [example for example in chain.from_iterable(zip_longest(*queues)) if example is not None]
    return examples if max_calls is None else _within(examples, items, candidate_calls, max_calls)


def user_examples(dataset: Dataset, user: User, pseudo_queries: int, use_golds: bool, seed: int) -> list[Example]:
    """Return one user's examples: real queries first where they may be used, then drawn pseudo-queries if any."""
    examples = real_examples(dataset, user) if use_golds else []
    if not dataset.pairs:
        return examples
    drawn = random.Random(stable_seed(seed, *user.key)).sample(
        range(len(user.history)), min(pseudo_queries, len(user.history))
    )
    return examples + [pseudo_example(user, place, dataset.same_time) for place in drawn]


def real_examples(dataset: Dataset, user: User) -> list[Example]:
    """Return a user's real queries whose answers are known."""
    return [
        Example(query, dataset.golds[query.id], dataset.history(user, query), pseudo=False)
        for query in user.queries
        if query.id in dataset.golds
    ]


def pseudo_example(user: User, place: int, same_time: bool = True) -> Example:
    """History item number `place` asked again, with the items before it as history.

    Args:
        user: The user whose history holds the item.
        place: Where the item stands in the history, oldest first.
        same_time: Whether items of exactly the same date count as earlier, as in `Dataset`.
    """
    item = user.history[place]
    query = Query(ExampleKey.of_item(user.key, item.id).query_id, user.key, item.input, item.ts, item.item_id)
    history = tuple(one for one in user.history[:place] if before(one.ts, item.ts, same=same_time))
    return Example(query, item.output, history, pseudo=True)


def _within(examples: Sequence[Example], items: int, candidate_calls: int, max_calls: int) -> list[Example]:
    kept, calls = [], 0
    for example in examples:
        calls += calls_of(example, items, candidate_calls)
        if calls > max_calls:
            break
        kept.append(example)
    return kept
