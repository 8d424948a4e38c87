"""What one recipe learns from and decides about: groups of all users, and candidates of all queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hydra_ray.data.dataset import Dataset
from hydra_ray.evaluate.crossval.asking import AskedQuery
from hydra_ray.evaluate.crossval.recipes import TriedRecipe
from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.rows import AdapterRow
from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.learn.examples.training_data import FeedbackRows, make_training_data
from hydra_ray.models.base import ADAPTER
from hydra_ray.models.layout import Texts
from hydra_ray.records import Candidate, UserKey
from hydra_ray.runtime.embedding import make_embedder
from hydra_ray.steps.adapt import with_allowed
from hydra_ray.steps.retrieval.retrievers import Retriever, retriever
from hydra_ray.steps.texts import adapter_texts
from hydra_ray.tasks import Task


@dataclass(frozen=True, slots=True)
class Contest:
    """What competes for one query.

    Attributes:
        example: The query with its gold answer and the history that it may see.
        said: Distinct answers of the LLM, with their votes and sources.
        competing: The same with allowed answers that nobody said, where these compete.
        history_answers: Answers of retrieved history that the adapter reads.
    """

    example: Example
    said: tuple[Candidate, ...]
    competing: tuple[Candidate, ...]
    history_answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Material:
    """Material of one recipe on one task, whoever is held out.

    Attributes:
        task: The task.
        in_training: Groups by user, for when the user is in training: real queries with their answers, and history.
        held_out: Groups by user, for when the user is held out: their history alone, as a fit without LLM calls has it.
        contests: What competes for each query, by user.
    """

    task: Task
    in_training: Mapping[UserKey, Sequence[RankingGroup]]
    held_out: Mapping[UserKey, Sequence[RankingGroup]]
    contests: Mapping[UserKey, Sequence[Contest]]

    @property
    def decisions(self) -> Iterator[Texts]:
        """All that is decided about, some of it more than once."""
        for by_user in (self.in_training, self.held_out):
            for groups in by_user.values():
                for group in groups:
                    yield from group.decisions
        for contests in self.contests.values():
            for one in contests:
                for candidate in one.competing:
                    yield adapter_texts(candidate.text, one.example.query.input, one.history_answers)


def make_material(recipe: TriedRecipe, task: Task, dataset: Dataset, asked: Sequence[AskedQuery]) -> Material:
    """Make a recipe's material.

    Args:
        recipe: The recipe.
        task: Task of the data.
        dataset: All users.
        asked: What the LLM said to each of their queries.
    """
    method = recipe.settings.method
    # Made once: it may load an encoder.
    retrieve = retriever(method.retriever, make_embedder(recipe.settings), method.stemmer)
    contests: dict[UserKey, list[Contest]] = {}
    for one in asked:
        contests.setdefault(one.example.query.user, []).append(_contest(recipe, task, one, retrieve))
    rows = {user: [_row(contest, task) for contest in own] for user, own in contests.items()}
    settings = recipe.settings
    as_trained = settings.model_copy(update={"users": "train"})
    trained_with = replace(
        make_training_data(as_trained, task, dataset, None, None, None), rows=FeedbackRows({}, rows), zero_call=False
    )
    as_new = settings.model_copy(update={"users": "dev"})
    fitted_with = make_training_data(as_new, task, dataset, None, None, None)
    return Material(
        task,
        {user.key: trained_with.groups(ADAPTER, user) for user in dataset.users},
        {user.key: fitted_with.groups(ADAPTER, user) for user in dataset.users},
        contests,
    )


def _contest(recipe: TriedRecipe, task: Task, asked: AskedQuery, retrieve: Retriever) -> Contest:
    method, example = recipe.settings.method, asked.example
    found = retrieve(example.query, example.history, method.history_answers)
    said = asked.candidates(task, recipe.mix)
    competing = with_allowed(task, said, method.allowed_answers)
    answers = tuple(ranked.item.output for ranked in found)
    return Contest(example, said, competing, answers)


def _row(contest: Contest, task: Task) -> AdapterRow:
    example, said = contest.example, contest.said
    return AdapterRow(
        example.key,
        example.query.input,
        gold=example.gold,
        history=contest.history_answers,
        candidates=tuple(candidate.text for candidate in said),
        votes=tuple(candidate.votes for candidate in said),
        scores=tuple(task.score(candidate.text, example.gold) for candidate in said),
        sources=tuple(candidate.sources for candidate in said),
    )
