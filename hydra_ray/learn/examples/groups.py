"""Makes ranking groups from feedback: what competes for one query, and how good each is."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.rows import AdapterRow, ExampleKey, RerankerRow
from hydra_ray.models.beside import Beside, sources_beside
from hydra_ray.models.layout import Texts
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
class RankingGroup:
    """Candidates or items that compete for one query of one user.

    Attributes:
        key: Identifies the query.
        decisions: What competes.
        scores: How good each is, 0 (bad) to 1 (good).
        priors: What is known of each decision before any head scores it (`UserFeatures.priors`); empty where nothing.
        beside: Numbers beside the texts of each decision (`models.beside`); empty where nothing is known of any.
    """

    key: ExampleKey
    decisions: tuple[Texts, ...]
    scores: tuple[float, ...]
    priors: tuple[float, ...] = ()
    beside: tuple[Beside, ...] = ()

    @property
    def user(self) -> UserKey:
        """The user who has the query."""
        return self.key.owner


def reranker_groups(rows: Iterable[RerankerRow], loss: str) -> list[RankingGroup]:
    """Return a group of items for each query; those that tell nothing apart are left out.

    Args:
        rows: Feedback, a query's rows in one piece and in the retriever's order.
        loss: Name of the loss that the base is trained with.
    """
    by_query = groupby(rows, key=lambda row: row.key)
    return telling(_reranker_group(key, list(members), loss) for key, members in by_query)


def adapter_groups(rows: Iterable[AdapterRow], task: Task, seed: int, unsaid: bool) -> list[RankingGroup]:
    """Return a group of answers for each row; those that tell nothing apart are left out.

    Args:
        rows: Feedback, a row for each query.
        task: Task that scores the answers.
        seed: Seed that allowed answers are drawn with where there are many.
        unsaid: Whether answers compete that the LLM did not give (`steps.adapt.all_compete`).
    """
    return telling(_adapter_group(row, task, seed, unsaid) for row in rows)


def own_answer_groups(
    examples: Iterable[Example],
    task: Task,
    seed: int,
    others: AnswersOfOthers | None,
    retrieve: Retriever,
    most_history_answers: int,
) -> list[RankingGroup]:
    """Return adapter groups from history alone, without any LLM call.

    The user's own answer is good; other allowed answers are not, or, for free text, other people's
    answers to similar inputs.

    Args:
        examples: Queries with the user's own answers.
        task: Task that scores the answers.
        seed: Seed that allowed answers are drawn with where there are many.
        others: Finds other people's answers, for tasks without a closed answer set; None for tasks with one.
        retrieve: Finds the history whose answers the adapter reads.
        most_history_answers: Answers of history that the adapter reads.
    """
    groups = []
    for example in examples:
        wrong = (
            other_labels(task, example.query.id, seed) if others is None else others(example.query, _TEXTS_OF_OTHERS)
        )
        history_answers = [
            ranked.item.output for ranked in retrieve(example.query, example.history, most_history_answers)
        ]
        groups.append(
            answer_group(example.key, example.query.input, own_among(example.gold, wrong, task), history_answers)
        )
    return telling(groups)


def other_labels(task: Task, query_id: str, seed: int) -> list[str]:
    """Allowed answers that a query's own answer is compared to where no others were on offer."""
    return _some_labels(task, query_id, seed, _RIVALS)


def own_among(own: str, others: Iterable[str], task: Task) -> dict[str, float]:
    """Return how good each answer is, 0 to 1: the user's own is 1, others have the task's score against it."""
    return {own: 1.0} | {answer: task.score(answer, own) for answer in others if answer != own}


def answer_group(
    key: ExampleKey, query: str, scores: Mapping[str, float], history_answers: Sequence[str]
) -> RankingGroup:
    """Return the group of answers that compete for a query.

    Args:
        key: Identifies the query.
        query: The query's text.
        scores: How good each answer is.
        history_answers: Answers of retrieved history, nearest first.
    """
    decisions = tuple(adapter_texts(answer, query, history_answers) for answer in scores)
    return RankingGroup(key, decisions, tuple(scores.values()))


def telling(groups: Iterable[RankingGroup]) -> list[RankingGroup]:
    """Return the groups whose scores differ; where all are equally good there is nothing to learn."""
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
        """Return at most `count` answers of other users, those to the most similar inputs first."""
        scores = self._index.scores(query.input)
        near = [self._owned[i] for i in (-scores).argsort(kind="stable")]
        answers = dict.fromkeys(item.output for key, item in near if key != query.user)
        return list(answers)[:count]


def _reranker_group(key: ExampleKey, rows: Sequence[RerankerRow], loss: str) -> RankingGroup:
    decisions = tuple(reranker_texts(row.query, row.item) for row in rows)
    # Within a query the score without history is a constant, so a listwise loss needs only the other.
    scores = tuple(row.score_with if loss == "listwise" else float(row.helped) for row in rows)
    return RankingGroup(key, decisions, scores, _order(rows))


def _order(items: Sequence[object]) -> tuple[float, ...]:
    # Items come in the retriever's order, which is what is known of them before they are scored.
    return tuple(-math.log(rank) for rank in range(1, len(items) + 1))


def _adapter_group(row: AdapterRow, task: Task, seed: int, unsaid: bool) -> RankingGroup:
    scores = dict(zip(row.candidates, row.scores, strict=True))
    votes = dict(zip(row.candidates, row.votes, strict=True))
    sources = dict(zip(row.candidates, row.sources, strict=True)) if row.sources else {}
    # Only what will be chosen among teaches: where the LLM's texts compete alone, telling them from others' is no use.
    if unsaid:
        for answer in (row.gold, *_some_labels(task, row.key.query_id, seed, _RIVALS)):
            scores.setdefault(task.parse(answer) or answer, task.score(answer, row.gold))
        # What the LLM said beside the point is left out, as where candidates are chosen.
        scores = {answer: score for answer, score in scores.items() if answer in task.labels}
    total = sum(votes.get(answer, 0) for answer in scores)
    priors = tuple(log_share(votes.get(answer, 0), total) for answer in scores)
    decisions = tuple(adapter_texts(answer, row.query, row.history) for answer in scores)
    beside = sources_beside([sources.get(answer, ()) for answer in scores])
    return RankingGroup(row.key, decisions, tuple(scores.values()), priors, beside)


def _some_labels(task: Task, query_id: str, seed: int, count: int) -> list[str]:
    drawn = random.Random(stable_seed(seed, query_id))
    return drawn.sample(task.labels, min(count, len(task.labels)))
