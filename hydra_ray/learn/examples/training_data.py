"""Training groups from the users' feedback and history, user by user."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, TypeVar

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.fingerprint import fingerprint
from hydra_ray.learn.collect.plan import Example, pseudo_example, real_examples, user_examples
from hydra_ray.learn.collect.rows import AdapterRow, ExampleKey, RerankerRow
from hydra_ray.learn.collect.rows_by_user import RowsByUser
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.learn.examples.feedback_events import event_group, history_answers_of, rejected_group, what_teaches
from hydra_ray.learn.examples.groups import (
    AnswersOfOthers,
    RankingGroup,
    adapter_groups,
    own_answer_groups,
    reranker_groups,
)
from hydra_ray.models.base import ADAPTER, RERANKER
from hydra_ray.records import HistoryItem, Query, UserKey
from hydra_ray.runtime.embedding import make_embedder, ranked_by
from hydra_ray.settings import Settings
from hydra_ray.steps.adapt import all_compete
from hydra_ray.steps.retrieval.embed import Embed
from hydra_ray.steps.retrieval.retrievers import retriever
from hydra_ray.store.types import FeedbackEvent
from hydra_ray.tasks import Task

# What is rejected stands apart, so that heads of users without any stay what they are.
_columns = attrgetter(*(field.name for field in fields(HistoryItem) if field.name != "rejected"))
_Row = TypeVar("_Row", RerankerRow, AdapterRow)


@dataclass(frozen=True, slots=True)
class FeedbackRows:
    """Rows of feedback by role and user, queries in a fixed order; users without any are left out."""

    reranker: Mapping[UserKey, Sequence[RerankerRow]]
    adapter: Mapping[UserKey, Sequence[AdapterRow]]

    def of(self, role: str, user: UserKey) -> Sequence[RerankerRow] | Sequence[AdapterRow]:
        """Return a user's rows of a role."""
        return self.reranker.get(user, ()) if role == RERANKER else self.adapter.get(user, ())


@dataclass(slots=True)
class TrainingData:
    """Makes the training groups of any user of a data set.

    Attributes:
        task: Scores answers.
        dataset: The users.
        rows: Feedback from the LLM's answers.
        events: What users said of answers that were served, by user; they teach the adapter.
        loss: Name of the loss that the base is trained with.
        seed: Seed that other answers are drawn with.
        own_answers: Most history items of a user that teach without an LLM call.
        with_golds: Whether the users' real queries may be used with their answers.
        zero_call: Whether no feedback is used, so that history alone has to teach. It teaches the adapter: what helps
            the LLM only the LLM can tell, and the shared reranker goes on ranking.
        retriever: Name of the method's retriever.
        ranked_by: Name of what the retriever's rankings depend on, from `ranked_by`; empty is its name alone.
        embed: Gives the vectors that dense and hybrid retrieval compare.
        history_answers: Retrieved history answers that the adapter reads.
        unsaid: Whether answers compete that the LLM did not give.
        stemmer: Language whose endings the method's retriever cuts off words; None cuts none.
        others: Gives everybody's answers, where the data set has a part of the users; None makes them of the data set.
    """

    task: Task
    dataset: Dataset
    rows: FeedbackRows
    events: Mapping[UserKey, Sequence[FeedbackEvent]]
    loss: str
    seed: int
    own_answers: int
    with_golds: bool
    zero_call: bool
    retriever: str
    ranked_by: str
    embed: Embed | None
    history_answers: int
    unsaid: bool
    stemmer: str | None
    others: Callable[[], AnswersOfOthers] | None = None
    _others: AnswersOfOthers | None = field(default=None, init=False)
    _task: dict[str, Any] | None = field(default=None, init=False)

    def groups(self, role: str, user: User) -> list[RankingGroup]:
        """A user's groups for a role, oldest query first."""
        # Real queries, and what was rejected, are newer than all of the history.
        place: dict[str | None, int] = {item.id: place for place, item in enumerate(user.history)}
        if role == RERANKER:
            rows = [row for row in self.rows.reranker.get(user.key, ()) if _is_there(row.key, place)]
            groups = reranker_groups(rows, self.loss)
        else:
            groups = self._adapter_groups(user, place)
        return sorted(groups, key=lambda group: place.get(group.key.item_id, len(place)))

    def _adapter_groups(self, user: User, place: Mapping[str | None, int]) -> list[RankingGroup]:
        said, named = list[RankingGroup](), set[ExampleKey]()
        # What the user said of the texts on offer tells more than what is made up beside their answer.
        for groups in (self._event_groups(user), self._rejected_groups(user), self._collected_and_own(user, place)):
            said = [group for group in groups if group.key not in named] + said
            named |= {group.key for group in groups}
        return said

    def _event_groups(self, user: User) -> list[RankingGroup]:
        history = {item.id: item for item in user.history}
        made = (
            event_group(user.key, event, history_answers_of(event, history), self.task, self.seed)
            for event in self.events.get(user.key, ())
        )
        return [group for group in made if group is not None]

    def _rejected_groups(self, user: User) -> list[RankingGroup]:
        """Groups of records that name a rejected answer, at most `own_answers` of them, the latest."""
        examples = self._with_rejected(user)
        if not examples:
            return []
        retrieve, found = retriever(self.retriever, self.embed, self.stemmer), list[RankingGroup | None]()
        for example, rejected in examples:
            ranked = retrieve(example.query, example.history, self.history_answers)
            answers = [one.item.output for one in ranked]
            found.append(rejected_group(example, rejected, answers, self.task, self.seed))
        return [group for group in found if group is not None]

    def _with_rejected(self, user: User) -> list[tuple[Example, str]]:
        """Examples with the answer that the user would not have, oldest first."""
        if not (self.dataset.pairs and self.own_answers):
            return []
        # What was said of an item while it was served counts more, also where that was nothing.
        said = {event.item_id for event in self.events.get(user.key, ())}
        places = [place for place, item in enumerate(user.history) if item.rejected is not None and item.id not in said]
        same_time = self.dataset.same_time
        found = [
            (pseudo_example(user, place, same_time), user.history[place].rejected or "")
            for place in places[-self.own_answers :]
        ]
        if self.with_golds and self.dataset.rejected:
            real = real_examples(self.dataset, user)
            found += [
                (one, self.dataset.rejected[one.query.id]) for one in real if one.query.id in self.dataset.rejected
            ]
        return found[-self.own_answers :]

    def _collected_and_own(self, user: User, place: Mapping[str | None, int]) -> list[RankingGroup]:
        rows = [row for row in self.rows.adapter.get(user.key, ()) if _is_there(row.key, place)]
        groups = adapter_groups(rows, self.task, self.seed, self.unsaid)
        if not self.task.closed and not self.zero_call:
            # Beside texts of the LLM, people's own would only teach to tell people from LLMs.
            return groups
        asked = {row.key for row in rows}
        examples = user_examples(self.dataset, user, self.own_answers, self.with_golds, self.seed)
        unasked = [example for example in examples if example.key not in asked]
        others = None if self.task.closed else self._answers_of_others()
        retrieve = retriever(self.retriever, self.embed, self.stemmer)
        return groups + own_answer_groups(unasked, self.task, self.seed, others, retrieve, self.history_answers)

    def fingerprint(self, role: str, user: User) -> str:
        """Return the fingerprint of what a user teaches; it changes whenever that may have changed."""
        values = [
            # Not `astuple`, which copies every text: this is asked of every user, whether anything changed or not.
            [_columns(item) for item in user.history],
            [row.to_columns() for row in self.rows.of(role, user.key)],
            [
                self._task_values(),
                self.loss,
                self.seed,
                self.own_answers,
                self.with_golds,
                self.zero_call,
                self.ranked_by or self.retriever,
                self.history_answers,
                self.unsaid,
                # Only where there is one, so that heads fitted before there were any stay what they are.
                *((self.stemmer,) if self.stemmer else ()),
            ],
            [self._real(user, query) for query in user.queries if self.with_golds],
        ]
        if role == ADAPTER and (events := self.events.get(user.key)):
            # Only of who said something, so that heads of all others stay what they are.
            history = {item.id: item for item in user.history}
            values.append([what_teaches(event, history) for event in sorted(events, key=lambda one: one.item_id)])
        if role == ADAPTER and (rejected := self._rejected_answers(user)):
            values.append(rejected)
        return fingerprint(values)

    def _rejected_answers(self, user: User) -> list[tuple[str, str, str]]:
        """Sort, id and rejected answer of all records of a user that name one."""
        found = [("item", item.id, item.rejected) for item in user.history if item.rejected is not None]
        known = self.dataset.rejected if self.with_golds else {}
        return found + [("query", query.id, known[query.id]) for query in user.queries if query.id in known]

    def _task_values(self) -> dict[str, Any]:
        if self._task is None:
            self._task = self.task.to_json()
        return self._task

    def _real(self, user: User, query: Query) -> tuple[Any, ...]:
        visible = [item.id for item in self.dataset.history(user, query)]
        return query.id, query.input, self.dataset.golds.get(query.id), visible

    def _answers_of_others(self) -> AnswersOfOthers:
        # Only where it is asked for: it indexes everybody's history.
        if self.others is not None:
            return self.others()
        if self._others is None:
            self._others = AnswersOfOthers((user.key, user.history) for user in self.dataset.users)
        return self._others


def load_training_data(
    settings: Settings,
    task: Task,
    dataset: Dataset,
    examples: Sequence[Example] | None,
    events: Mapping[UserKey, Sequence[FeedbackEvent]] | None = None,
) -> TrainingData:
    """Load what the users of a data set teach.

    Args:
        settings: Say where feedback is, whose answers may be used, the loss and the seed.
        task: Scores answers.
        dataset: The users.
        examples: Only the feedback of these examples counts, none when the list is empty; None takes all there is.
        events: What users said of answers that were served, by user; None is nothing.
    """
    wanted = None if examples is None else {example.key for example in examples}
    if wanted is not None and not wanted:
        return make_training_data(settings, task, dataset, None, None, events)
    return make_training_data(settings, task, dataset, FeedbackStore(settings.feedback_dir), wanted, events)


def make_training_data(
    settings: Settings,
    task: Task,
    dataset: Dataset,
    feedback: FeedbackStore | RowsByUser | None,
    wanted: Container[ExampleKey] | None,
    events: Mapping[UserKey, Sequence[FeedbackEvent]] | None,
    others: Callable[[], AnswersOfOthers] | None = None,
) -> TrainingData:
    """Return what the users of a data set teach.

    Args:
        settings: Say whose answers may be used, the loss and the seed.
        task: Scores answers.
        dataset: The users, all or some.
        feedback: Where the rows of feedback are; None where history alone has to teach.
        wanted: Examples whose feedback counts; None is all.
        events: What users said of answers that were served, by user; None is nothing.
        others: Gives everybody's answers where the data set has some of the users.
    """
    keys, rows = [user.key for user in dataset.users], FeedbackRows({}, {})
    if feedback is not None:
        rows = FeedbackRows(
            _by_user(feedback.read(RerankerRow, keys), wanted), _by_user(feedback.read(AdapterRow, keys), wanted)
        )
    return TrainingData(
        task,
        dataset,
        rows,
        events or {},
        settings.base.loss,
        settings.seed,
        settings.feedback.own_answers,
        settings.of_training_users,
        feedback is None,
        settings.method.retriever,
        ranked_by(settings),
        make_embedder(settings),
        settings.method.history_answers,
        all_compete(task, settings.method.allowed_answers),
        settings.method.stemmer,
        others,
    )


def _is_there(key: ExampleKey, place: Mapping[str | None, int]) -> bool:
    """Whether a query may teach: a history item that was asked again and is gone, since it was deleted, may not."""
    return not key.pseudo or key.item_id in place


def _by_user(rows: Iterable[_Row], wanted: Container[ExampleKey] | None) -> Mapping[UserKey, Sequence[_Row]]:
    by_user: dict[UserKey, list[_Row]] = {}
    for row in rows:
        if wanted is None or row.key in wanted:
            by_user.setdefault(row.key.owner, []).append(row)
    return by_user
