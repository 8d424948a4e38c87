"""From feedback to training groups: what competes for one query and how good each is."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from hydra_ray.learn.collect.plan import Unit
from hydra_ray.models.base import RERANKER
from hydra_ray.models.encoder import Texts
from hydra_ray.models.lexical import log_share
from hydra_ray.records import HistoryItem, Query, UserKey
from hydra_ray.steps.retrieval.retrievers import LexicalIndex, Retriever
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.steps.texts import adapter_texts, reranker_texts
from hydra_ray.tasks import Task

log = logging.getLogger(__name__)

# Allowed answers beside those that the LLM gave, and beside the user's own where no LLM was asked.
_RIVALS = 15
# Texts of other people beside the user's own: each is encoded.
_TEXTS_OF_OTHERS = 7


@dataclass(frozen=True, slots=True)
class Group:
    """Candidates or items that compete for one query of one user.

    Attributes:
        user: Whose query it is.
        decisions: What competes.
        scores: How good each is, 0 (bad) to 1 (good).
        priors: As `UserFeatures.priors`; empty where nothing is known.
        query: The query's id.
    """

    user: UserKey
    decisions: tuple[Texts, ...]
    scores: tuple[float, ...]
    priors: tuple[float, ...] = ()
    query: str = ""


def feedback_groups(
    role: str, rows: Iterable[dict[str, Any]], task: Task, loss: str, seed: int, unsaid: bool
) -> list[Group]:
    """Groups of a role from its feedback rows; groups that tell nothing apart are left out.

    Args:
        role: Reranker or adapter.
        rows: Its feedback, queries in one piece each.
        task: Scores answers.
        loss: As the base is trained with.
        seed: Draws allowed answers where there are many.
        unsaid: Whether answers compete that the LLM did not give (`steps.adapt.all_compete`).
    """
    if role == RERANKER:
        by_query = groupby(rows, key=lambda row: (row["tenant"], row["user"], row["query_id"]))
        groups = [_reranker_group(list(members), loss) for _, members in by_query]
    else:
        groups = [_adapter_group(row, task, seed, unsaid) for row in rows]
    return telling(groups)


def own_answer_groups(
    units: Iterable[Unit],
    task: Task,
    seed: int,
    others: AnswersOfOthers | None,
    retrieve: Retriever,
    most_evidence: int,
) -> list[Group]:
    """Adapter groups from history alone, without any LLM call.

    The user's own answer is good; other allowed answers are not, or, for free text, other people's
    answers to similar inputs.

    Args:
        units: Queries with the user's own answers.
        task: Scores the answers.
        seed: Draws allowed answers where there are many.
        others: For tasks without a closed answer set.
        retrieve: Finds the history whose answers the adapter reads.
        most_evidence: Answers of history that the adapter reads.
    """
    groups = []
    for unit in units:
        wrong = other_labels(task, unit.query.id, seed) if others is None else others(unit.query, _TEXTS_OF_OTHERS)
        evidence = [ranked.item.output for ranked in retrieve(unit.query, unit.history, most_evidence)]
        groups.append(answer_group(unit.query, own_among(unit.gold, wrong, task), evidence))
    return telling(groups)


def other_labels(task: Task, query_id: str, seed: int) -> list[str]:
    """Allowed answers that a query's own answer is compared to where no others were on offer."""
    return _some_labels(task, query_id, seed, _RIVALS)


def own_among(own: str, others: Iterable[str], task: Task) -> dict[str, float]:
    """How good the user's own answer and others are."""
    return {own: 1.0} | {answer: task.score(answer, own) for answer in others if answer != own}


def answer_group(query: Query, scores: Mapping[str, float], evidence: Sequence[str]) -> Group:
    """Answers that compete for a query.

    Args:
        query: Its id is the group's.
        scores: How good each answer is.
        evidence: Answers of retrieved history, nearest first.
    """
    decisions = tuple(adapter_texts(answer, query.input, evidence) for answer in scores)
    return Group(query.user, decisions, tuple(scores.values()), query=query.id)


def telling(groups: Iterable[Group]) -> list[Group]:
    """Those of the groups that tell better from worse; where all are equally good there is nothing to learn."""
    made = list(groups)
    found = [group for group in made if max(group.scores, default=0) > min(group.scores, default=0)]
    if len(found) < len(made):
        log.info("%d of %d groups teach nothing: all in them are equally good", len(made) - len(found), len(made))
    return found


class AnswersOfOthers:
    """Other people's answers to inputs like a given one, for tasks without a closed answer set."""

    def __init__(self, histories: Iterable[tuple[UserKey, Sequence[HistoryItem]]]) -> None:
        self._owned = [(key, item) for key, items in histories for item in items]
        # Indexed once: it is asked for every history item of every user.
        self._index = LexicalIndex([item.input for _, item in self._owned], stemmer=None)

    def __call__(self, query: Query, count: int) -> list[str]:
        """At most `count` answers of other users, to the most similar inputs first."""
        scores = self._index.scores(query.input)
        near = [self._owned[i] for i in (-scores).argsort(kind="stable")]
        answers = dict.fromkeys(item.output for key, item in near if key != query.user)
        return list(answers)[:count]


def _reranker_group(rows: list[dict[str, Any]], loss: str) -> Group:
    first = rows[0]
    decisions = tuple(
        reranker_texts(row["query"], HistoryItem(row["item_id"], row["item_input"], row["item_output"])) for row in rows
    )
    scores = tuple(_usefulness(row, loss) for row in rows)
    return Group(UserKey(first["tenant"], first["user"]), decisions, scores, _order(rows), first["query_id"])


def _order(items: Sequence[object]) -> tuple[float, ...]:
    # Items come in the retriever's order, which is what is known of them before they are judged.
    return tuple(-math.log(rank) for rank in range(1, len(items) + 1))


def _usefulness(row: dict[str, Any], loss: str) -> float:
    # Within a query the score without history is a constant, so a listwise loss needs only the other.
    if loss == "listwise":
        return float(row["score_with"])
    return float(helped(row))


def helped(row: Mapping[str, Any]) -> bool:
    """Whether a history item helped the LLM, or did no harm to an answer that nothing betters."""
    return row["score_with"] > row["score_without"] or row["score_with"] == row["score_without"] == 1


def _adapter_group(row: dict[str, Any], task: Task, seed: int, unsaid: bool) -> Group:
    scores = dict(zip(row["candidates"], row["scores"], strict=True))
    votes = dict(zip(row["candidates"], row["votes"], strict=True))
    # Only what will be chosen among teaches: where the LLM's texts compete alone, telling them from others' is no use.
    if unsaid:
        for answer in (row["gold"], *_some_labels(task, row["query_id"], seed, _RIVALS)):
            scores.setdefault(task.parse(answer) or answer, task.score(answer, row["gold"]))
        # What the LLM said beside the point is left out, as where candidates are chosen.
        scores = {answer: score for answer, score in scores.items() if answer in task.labels}
    total = sum(votes.get(answer, 0) for answer in scores)
    priors = tuple(log_share(votes.get(answer, 0), total) for answer in scores)
    decisions = tuple(adapter_texts(answer, row["query"], row["history"]) for answer in scores)
    return Group(UserKey(row["tenant"], row["user"]), decisions, tuple(scores.values()), priors, row["query_id"])


def _some_labels(task: Task, query_id: str, seed: int, count: int) -> list[str]:
    drawn = random.Random(stable_seed(seed, query_id))
    return drawn.sample(task.labels, min(count, len(task.labels)))
