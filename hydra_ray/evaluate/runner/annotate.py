"""Gathers what is known of a data set's queries and users before any method answers."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.data.errors import DataError
from hydra_ray.evaluate.runs import EvalQuery
from hydra_ray.learn.collect.job import planned_examples
from hydra_ray.learn.collect.rows import RerankerRow
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.learn.examples.features import encode_all
from hydra_ray.learn.examples.training_data import load_training_data
from hydra_ray.learn.heads.tuned import load_tuned, tuned_file
from hydra_ray.models.base import ADAPTER, RERANKER, Base
from hydra_ray.records import HistoryItem, Query, Ranked, UserKey
from hydra_ray.runtime.loading import load_data
from hydra_ray.settings import Settings
from hydra_ray.steps.rerank import Reranker, RerankRequest
from hydra_ray.tasks import Task

log = logging.getLogger(__name__)

# Pairs that the reranker's predictions are checked on; more would only take longer.
_MOST_JUDGED = 5000
# Queries whose pairs are scored at a time.
_PIECE = 32


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Knows the facts about each query that no method changes, its gold answer for scoring included.

    Attributes:
        dataset: Data set that the queries are from.
        users: Users by key.
        trained_items: Ids of the items that training users' records are about; None where they are not known.
        cohorts: Cohort of each user; empty where no search found any.
    """

    dataset: Dataset
    users: Mapping[UserKey, User]
    trained_items: frozenset[str] | None
    cohorts: Mapping[UserKey, str]

    @classmethod
    def of(
        cls, settings: Settings, task: Task, dataset: Dataset, trained: Sequence[User], base: Base | None
    ) -> Knowledge:
        """Gather facts from the data, the training users and, where there is a base, the cohorts found for it."""
        return cls(
            dataset,
            {user.key: user for user in dataset.users},
            _items(trained),
            _cohorts(settings, task, dataset, base) if base is not None else {},
        )

    def about(self, query: Query) -> EvalQuery:
        """Return one query with what is known of it."""
        visible = self.dataset.history(self.users[query.user], query)
        seen = None
        if query.item_id is not None and self.trained_items is not None:
            seen = query.item_id in self.trained_items
        return EvalQuery(
            query,
            self.dataset.golds[query.id],
            len(visible),
            # Where history holds no answers to questions, none is the most frequent.
            _most_frequent(visible) if self.dataset.pairs else "",
            seen,
            self.cohorts.get(query.user, ""),
        )


def _most_frequent(history: Sequence[HistoryItem]) -> str:
    counts = Counter(item.output for item in history)
    newest = {item.output: place for place, item in enumerate(history)}
    return max(counts, key=lambda output: (counts[output], newest[output]), default="")


def training_users(settings: Settings) -> tuple[User, ...]:
    """Return the users of split train; none where that split is itself evaluated, or is not at hand."""
    if settings.data.split == "train" or settings.data.format == "store":
        return ()
    try:
        return load_data(settings, "train")[1].users
    except DataError as error:
        # The base may come from elsewhere: without the people it was trained on there is less to tell.
        log.warning("the training users are not at hand, so nothing is told by items that were seen", exc_info=error)
        return ()


def _items(users: Sequence[User]) -> frozenset[str] | None:
    items = {item.item_id for user in users for item in user.history}
    items |= {query.item_id for user in users for query in user.queries}
    return frozenset(item for item in items if item is not None) if users else None


def _cohorts(settings: Settings, task: Task, dataset: Dataset, base: Base) -> dict[UserKey, str]:
    """Return the users' cohorts; empty where no search found any."""
    tuned = load_tuned(tuned_file(settings.model_dir, base.version)).get(ADAPTER)
    if tuned is None:
        return {}
    # As `fit` saw these users: by what their history alone teaches.
    fit = settings.model_copy(update={"users": "dev"})
    examples = planned_examples(fit, task, dataset) if settings.fit.mode == "llm" else []
    data = load_training_data(fit, task, dataset, examples)
    groups = {user.key: data.groups(ADAPTER, user) for user in dataset.users}
    keys = [key for key, own in groups.items() if own]
    features = encode_all(base.adapter, [groups[key] for key in keys]) if keys else []
    return {key: tuned.cohorts.of(one) for key, one in zip(keys, features, strict=True)}


def judged_history(
    settings: Settings, dataset: Dataset, base: Base, advance: Callable[[int], None] = lambda total: None
) -> tuple[tuple[float, bool], ...]:
    """Return the shared head's scores of history items, each with whether the item helped the LLM.

    Users' heads were fitted on these same items.

    Args:
        settings: Settings that say where feedback is and how much the retriever's order weighs.
        dataset: Data set of the users whose feedback is read.
        base: Base whose reranker scores the items.
        advance: Called for each query whose items are scored, with the number of queries.
    """
    rows = FeedbackStore(settings.feedback_dir).read(RerankerRow, [user.key for user in dataset.users])[:_MOST_JUDGED]
    # A query's rows come in one piece, in the retriever's order.
    queries = [list(own) for _, own in groupby(rows, key=lambda row: row.key)]
    reranker = Reranker(base.scorer(RERANKER), settings.method.rank_weight)
    judged = []
    # Piece by piece, so that it can be said how far it is: each text has to be encoded.
    for start in range(0, len(queries), _PIECE):
        piece = queries[start : start + _PIECE]
        for own, ranked in zip(piece, reranker([_ask_again(own) for own in piece]), strict=True):
            scores = {one.item.id: one.score for one in ranked}
            judged += [(scores[row.item_id], row.helped) for row in own]
            advance(len(queries))
    return tuple(judged)


def _ask_again(rows: Sequence[RerankerRow]) -> RerankRequest:
    first = rows[0]
    query = Query(first.key.query_id, first.key.owner, first.query)
    return RerankRequest(query, tuple(Ranked(row.item, 0.0) for row in rows))
