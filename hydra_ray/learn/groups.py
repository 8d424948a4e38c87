"""From feedback to training groups: the pairs of one query and how good each is."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from hydra_ray.learn.plan import Unit
from hydra_ray.models.base import ADAPTER, RERANKER
from hydra_ray.records import HistoryItem, Query, UserKey
from hydra_ray.steps.pairs import adapter_pair, reranker_pair
from hydra_ray.steps.retrieve import lexical
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.tasks import Task

_EXTRA_ANSWERS = 4


@dataclass(frozen=True, slots=True)
class Group:
    """Pairs of texts that compete for one query of one user; scores are 0 (bad) to 1 (good)."""

    user: UserKey
    pairs: tuple[tuple[str, str], ...]
    scores: tuple[float, ...]


def feedback_groups(role: str, rows: Iterable[dict[str, Any]], task: Task, loss: str, seed: int) -> list[Group]:
    """Groups of a role from its feedback rows; groups that tell nothing apart are left out."""
    if role == RERANKER:
        by_query = groupby(rows, key=lambda row: (row["tenant"], row["user"], row["query_id"]))
        groups = [_reranker_group(list(members), loss) for _, members in by_query]
    else:
        groups = [_adapter_group(row, task, seed) for row in rows]
    return [group for group in groups if max(group.scores, default=0) > min(group.scores, default=0)]


def zero_call_groups(role: str, units: Sequence[Unit], task: Task, others: AnswersOfOthers, seed: int) -> list[Group]:
    """Groups from history alone, without any LLM call.

    For the adapter the user's own answer is good, and allowed answers or other people's answers to
    similar inputs are not. For the reranker an item is as good as its answer is for the query.
    """
    groups = []
    for unit in units:
        found = [ranked.item for ranked in lexical(unit.query, unit.history, 24)]
        if role == ADAPTER:
            groups.append(_own_answer_group(unit, found, task, others, seed))
        else:
            pairs = tuple(reranker_pair(unit.query.input, item) for item in found[:10])
            scores = tuple(task.score(item.output, unit.gold) for item in found[:10])
            groups.append(Group(unit.query.user, pairs, scores))
    return [group for group in groups if max(group.scores, default=0) > min(group.scores, default=0)]


class AnswersOfOthers:
    """Other people's answers to inputs like a given one, for tasks without a closed answer set."""

    def __init__(self, histories: Iterable[tuple[UserKey, Sequence[HistoryItem]]]) -> None:
        owned = [(key, item) for key, items in histories for item in items]
        self._owners = [key for key, _ in owned]
        self._items = tuple(HistoryItem(str(i), item.input, item.output) for i, (_, item) in enumerate(owned))

    def __call__(self, query: Query, count: int) -> list[str]:
        """At most `count` answers of other users, to the most similar inputs first."""
        near = lexical(query, self._items, 4 * count)
        answers = [r.item.output for r in near if self._owners[int(r.item.id)] != query.user]
        return list(dict.fromkeys(answers))[:count]


def _reranker_group(rows: list[dict[str, Any]], loss: str) -> Group:
    first = rows[0]
    pairs = tuple(
        reranker_pair(row["query"], HistoryItem(row["item_id"], row["item_input"], row["item_output"])) for row in rows
    )
    return Group(UserKey(first["tenant"], first["user"]), pairs, tuple(_usefulness(row, loss) for row in rows))


def _usefulness(row: dict[str, Any], loss: str) -> float:
    # Within a query the score without history is a constant, so a listwise loss needs only the other.
    if loss == "listwise":
        return float(row["score_with"])
    return float(row["score_with"] > row["score_without"] or row["score_with"] == row["score_without"] == 1.0)


def _adapter_group(row: dict[str, Any], task: Task, seed: int) -> Group:
    scores = dict(zip(row["candidates"], row["scores"], strict=True))
    if task.closed:
        # Samples miss the user's own answer now and then; and more wrong answers cost nothing. Free
        # text gets neither: there the adapter has to rank the LLM's own texts, not tell them from people's.
        for answer in (row["gold"], *_some_labels(task, row["query_id"], seed)):
            scores.setdefault(task.parse(answer) or answer, task.score(answer, row["gold"]))
    pairs = tuple(adapter_pair(answer, row["query"], row["history"]) for answer in scores)
    return Group(UserKey(row["tenant"], row["user"]), pairs, tuple(scores.values()))


def _own_answer_group(
    unit: Unit, found: Sequence[HistoryItem], task: Task, others: AnswersOfOthers, seed: int
) -> Group:
    wrong = list(task.labels) if task.closed else others(unit.query, 7)
    answers = {unit.gold: 1.0} | {answer: task.score(answer, unit.gold) for answer in wrong}
    evidence = [item.output for item in found]
    pairs = tuple(adapter_pair(answer, unit.query.input, evidence) for answer in answers)
    return Group(unit.query.user, pairs, tuple(answers.values()))


def _some_labels(task: Task, query_id: str, seed: int) -> list[str]:
    drawn = random.Random(stable_seed(seed, query_id))
    return drawn.sample(task.labels, min(_EXTRA_ANSWERS, len(task.labels)))
