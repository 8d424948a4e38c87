"""What the users' feedback and history teach, user by user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from hydra_ray.fingerprint import fingerprint
from hydra_ray.learn.collect.plan import Unit, user_units
from hydra_ray.learn.collect.store import FeedbackStore, UnitKey, unit_key
from hydra_ray.learn.examples.groups import AnswersOfOthers, Group, feedback_groups, own_answer_groups
from hydra_ray.models.base import ADAPTER, ROLES
from hydra_ray.records import Dataset, Query, User, UserKey
from hydra_ray.runtime.embedding import make_embedder, ranked_by
from hydra_ray.settings import Settings
from hydra_ray.steps.adapt import all_compete
from hydra_ray.steps.retrieval.embed import Embed
from hydra_ray.steps.retrieval.retrievers import retriever
from hydra_ray.tasks import Task

Rows = Mapping[UserKey, Sequence[dict[str, Any]]]


@dataclass(slots=True)
class Teaching:
    """Makes the training groups of any user of a data set.

    Attributes:
        task: Scores answers.
        dataset: The users.
        rows: Feedback by role and user.
        loss: As the base is trained with.
        seed: Draws other answers.
        own_answers: Most history items of a user that teach without an LLM call.
        with_golds: Whether the users' real queries may be used with their answers.
        zero_call: Whether no feedback is used, so that history alone has to teach. It teaches the adapter: what helps
            the LLM only the LLM can tell, and the shared reranker goes on ranking.
        retriever: Of the method.
        ranked_by: What its rankings depend on; empty is its name alone.
        embed: Gives the vectors that dense and hybrid retrieval compare.
        evidence: Retrieved history answers that the adapter reads.
        unsaid: Whether answers compete that the LLM did not give.
        stemmer: Language whose endings the method's retriever cuts off words; None cuts none.
    """

    task: Task
    dataset: Dataset
    rows: Mapping[str, Rows]
    loss: str
    seed: int
    own_answers: int
    with_golds: bool
    zero_call: bool
    retriever: str
    ranked_by: str
    embed: Embed | None
    evidence: int
    unsaid: bool
    stemmer: str | None
    _others: AnswersOfOthers | None = field(default=None, init=False)

    def groups(self, role: str, user: User) -> list[Group]:
        """A user's groups for a role, oldest query first."""
        rows = self.rows[role].get(user.key, [])
        groups = feedback_groups(role, rows, self.task, self.loss, self.seed, self.unsaid)
        asked = {_row_key(row) for row in rows}
        units = user_units(self.dataset, user, self.own_answers, self.with_golds, self.seed)
        unasked = [unit for unit in units if unit_key(unit) not in asked]
        if role == ADAPTER and (self.task.closed or self.zero_call):
            # Beside texts of the LLM, people's own would only teach to tell people from LLMs.
            others = None if self.task.closed else self._answers_of_others()
            retrieve = retriever(self.retriever, self.embed, self.stemmer)
            groups += own_answer_groups(unasked, self.task, self.seed, others, retrieve, self.evidence)
        place = {f"{item.id}@pseudo": place for place, item in enumerate(user.history)}
        return sorted(groups, key=lambda group: place.get(group.query, len(place)))

    def mark(self, role: str, user: User) -> str:
        """Changes whenever what the user teaches may have changed."""
        told = [
            [astuple(item) for item in user.history],
            self.rows[role].get(user.key, []),
            [
                self.task.to_json(),
                self.loss,
                self.seed,
                self.own_answers,
                self.with_golds,
                self.zero_call,
                self.ranked_by or self.retriever,
                self.evidence,
                self.unsaid,
                # Only where there is one, so that heads fitted before there were any stay what they are.
                *((self.stemmer,) if self.stemmer else ()),
            ],
            [self._real(user, query) for query in user.queries if self.with_golds],
        ]
        return fingerprint(told)

    def _real(self, user: User, query: Query) -> tuple[Any, ...]:
        visible = [item.id for item in self.dataset.history(user, query)]
        return query.id, query.input, self.dataset.golds.get(query.id), visible

    def _answers_of_others(self) -> AnswersOfOthers:
        # Only where it is asked for: it indexes everybody's history.
        if self._others is None:
            self._others = AnswersOfOthers((user.key, user.history) for user in self.dataset.users)
        return self._others


def teaching(settings: Settings, task: Task, dataset: Dataset, units: Sequence[Unit] | None) -> Teaching:
    """What the users of a data set teach.

    Args:
        settings: Where feedback is; loss and seed; whose answers may be used.
        task: Scores answers.
        dataset: The users.
        units: Only these units' feedback counts, none when the list is empty; None takes all there is.
    """
    keys = [user.key for user in dataset.users]
    wanted = None if units is None else {unit_key(unit) for unit in units}
    store = FeedbackStore(settings.feedback_dir)
    rows = {role: _by_user(store.read(role, keys) if wanted != set() else [], wanted) for role in ROLES}
    return Teaching(
        task,
        dataset,
        rows,
        settings.base.loss,
        settings.seed,
        settings.feedback.own_answers,
        settings.of_training_users,
        wanted == set(),
        settings.method.retriever,
        ranked_by(settings),
        make_embedder(settings),
        settings.method.evidence,
        all_compete(task, settings.method.allowed_answers),
        settings.method.stemmer,
    )


def _by_user(rows: Iterable[dict[str, Any]], wanted: set[UnitKey] | None) -> Rows:
    by_user: dict[UserKey, list[dict[str, Any]]] = {}
    for row in rows:
        if wanted is None or _row_key(row) in wanted:
            by_user.setdefault(UserKey(row["tenant"], row["user"]), []).append(row)
    return by_user


def _row_key(row: dict[str, Any]) -> UnitKey:
    return row["tenant"], row["user"], row["query_id"]
