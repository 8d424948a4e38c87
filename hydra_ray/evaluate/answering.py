"""Answers the queries of one cell by its methods and keeps what they answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hydra_ray.evaluate.cells import Cell
from hydra_ray.evaluate.controls import HEAD_CONTROLS, other_users
from hydra_ray.evaluate.dump import Asked, Dump, Row, read_dump, write_dump
from hydra_ray.evaluate.local import LocalSteps
from hydra_ray.evaluate.profile_book import ProfileBook
from hydra_ray.learn.assembly import (
    generator_identity,
    load_data,
    make_generator,
    make_peers,
    make_profile_writer,
    make_prompter,
    make_recipe,
    open_cache,
)
from hydra_ray.learn.features import encode_all
from hydra_ray.learn.feedback import FeedbackStore
from hydra_ray.learn.run import check_task, planned_units
from hydra_ray.learn.teaching import digest, teaching
from hydra_ray.learn.tuned import load_tuned, tuned_file
from hydra_ray.methods import METHODS, Method
from hydra_ray.models.base import ADAPTER, RERANKER, ROLES, Base
from hydra_ray.records import Dataset, HistoryItem, HydraError, Query, Usage, User, UserKey
from hydra_ray.settings import Settings
from hydra_ray.steps.generate import GenerateError, Generator
from hydra_ray.steps.generate.metered import MeteredGenerator, Outcome
from hydra_ray.steps.texts import reranker_texts
from hydra_ray.store.users import UserStore
from hydra_ray.tasks import Task

# Queries answered at a time: enough to keep an endpoint busy, few enough to hold in memory.
_IN_FLIGHT = 128
# Pairs by which the reranker is held against what it predicts; more would only take longer.
_MOST_JUDGED = 5000

# Called for each answered query with the name of the run and how many queries it has.
Advance = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """Some methods of one cell, answered in one process.

    Attributes:
        cell: Prepared.
        methods: Names; that of `hydra` stands for its controls too.
        shared_by: Processes that share the generator's limits.
    """

    cell: Cell
    methods: tuple[str, ...]
    shared_by: int = 1

    @property
    def runs(self) -> tuple[str, ...]:
        """The methods, with the controls that need answers of their own."""
        controlled = "hydra" in self.methods and self.cell.train_users is None
        return (*self.methods, *(HEAD_CONTROLS if controlled else ()))

    def path(self, run: str) -> Path:
        """Where a run is kept."""
        return self.cell.dumps / f"{run}.parquet"


def needs_base(method: str) -> bool:
    """Whether a method judges by a trained base."""
    return method.startswith("hydra")


def answer(job: Job, advance: Advance) -> list[Path]:
    """Answers what is not answered yet; each run is kept as soon as it is whole.

    Raises:
        HydraError: No base, data without answers, or data of another task.
    """
    settings = job.cell.settings
    task, dataset = load_data(settings)
    queries = [query for user in dataset.users for query in user.queries if query.id in dataset.golds]
    if not queries:
        raise HydraError(f"data.split: {settings.data.split} has no queries with answers")
    base, store = None, None
    if any(map(needs_base, job.methods)):
        base = Base.load(settings.model_dir / "base")
        check_task(base.task, task)
        store = UserStore(settings.store_url)
    made_of = {run: _made_of(settings, run, dataset, base, store) for run in job.runs}
    left = [run for run in job.runs if not _is_there(job.path(run), made_of[run])]
    for run in job.runs:
        if run not in left:
            for _ in queries:
                advance(run, len(queries))
    if left:
        knowledge = _Known.of(settings, task, dataset, base)
        asked = [knowledge.about(query) for query in queries]
        judged = _judged(settings, dataset, base) if base is not None else ()
        generator = make_generator(settings, open_cache(settings), shared_by=job.shared_by)
        peers = make_peers(settings, _everybody(settings, dataset))
        beside = list[Outcome]()
        writing = MeteredGenerator(generator, beside.append)
        book = ProfileBook(make_profile_writer(settings, task, writing, peers.comparable), store)
        recipe = make_recipe(settings)
        steps = LocalSteps(dataset, base, store, recipe, peers, settings.peers.similar_users, book)
        methods = _methods(left, steps, generator, settings, task, dataset)
        with asyncio.Runner() as runner:
            for run in left:
                method, head = methods[run]
                beside.clear()
                rows = runner.run(_answer_all(method, asked, head, partial(advance, run, len(asked))))
                write_dump(
                    job.path(run),
                    Dump(
                        task,
                        settings.data.split,
                        run,
                        job.cell.seed,
                        rows,
                        settings.method.vote_weight,
                        job.cell.train_users or 0,
                        judged if run in ("hydra", "hydra-reranker") else (),
                        made_of[run],
                        settings.method.decide == "expected",
                        sum((one.usage for one in beside), Usage()),
                    ),
                )
            runner.run(generator.close())
    if store is not None:
        store.close()
    return [job.path(run) for run in job.runs]


async def _answer_all(
    method: Method, asked: Sequence[Asked], head: Callable[[Query], UserKey | None], advance: Callable[[], None]
) -> tuple[Row, ...]:
    """One method's answers; a query whose LLM call failed has none."""
    slots = asyncio.Semaphore(_IN_FLIGHT)

    async def one(known: Asked) -> Row:
        async with slots:
            start = time.perf_counter()
            try:
                found = await method(known.query, head(known.query))
            except GenerateError:
                found = None
            seconds = time.perf_counter() - start
        advance()
        return Row(known, found, seconds)

    return tuple(await asyncio.gather(*map(one, asked)))


def _methods(
    runs: Sequence[str], steps: LocalSteps, generator: Generator, settings: Settings, task: Task, dataset: Dataset
) -> dict[str, tuple[Method, Callable[[Query], UserKey | None]]]:
    """What answers in each run, and whose head judges. Controls are hydra under a head that is not the user's."""
    others = other_users([user.key for user in dataset.users], settings.seed)
    heads: Mapping[str, Callable[[Query], UserKey | None]] = {
        "shared-head": lambda query: None,
        "other-head": lambda query: others.get(query.user),
    }
    ports, prompter, recipe = steps.ports(generator), make_prompter(settings, task), make_recipe(settings)
    return {
        run: (
            METHODS["hydra" if run in heads else run](ports, prompter, recipe),
            heads.get(run, lambda query: query.user),
        )
        for run in runs
    }


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the queries of a data set before anybody answers."""

    dataset: Dataset
    users: Mapping[UserKey, User]
    trained_items: frozenset[str] | None
    cohorts: Mapping[UserKey, str]

    @classmethod
    def of(cls, settings: Settings, task: Task, dataset: Dataset, base: Base | None) -> _Known:
        return cls(
            dataset,
            {user.key: user for user in dataset.users},
            _trained_items(settings),
            _cohorts(settings, task, dataset, base) if base is not None else {},
        )

    def about(self, query: Query) -> Asked:
        visible = self.dataset.history(self.users[query.user], query)
        seen = None
        if query.item_id is not None and self.trained_items is not None:
            seen = query.item_id in self.trained_items
        return Asked(
            query,
            self.dataset.golds[query.id],
            len(visible),
            _most_frequent(visible),
            seen,
            self.cohorts.get(query.user, ""),
        )


def _most_frequent(history: Sequence[HistoryItem]) -> str:
    counts = Counter(item.output for item in history)
    newest = {item.output: place for place, item in enumerate(history)}
    return max(counts, key=lambda output: (counts[output], newest[output]), default="")


def _everybody(settings: Settings, dataset: Dataset) -> Sequence[User]:
    """Those who may be told of in each other's prompts: the users of this split and those of training."""
    if settings.data.split == "train" or settings.data.format == "store":
        return dataset.users
    _, trained = load_data(settings, "train")
    return (*dataset.users, *trained.users)


def _trained_items(settings: Settings) -> frozenset[str] | None:
    """Items that training users' histories and queries are about; None where training users are judged themselves."""
    if settings.data.split == "train" or settings.data.format == "store":
        return None
    _, trained = load_data(settings, "train")
    items = {item.item_id for user in trained.users for item in user.history}
    items |= {query.item_id for user in trained.users for query in user.queries}
    return frozenset(item for item in items if item is not None)


def _cohorts(settings: Settings, task: Task, dataset: Dataset, base: Base) -> dict[UserKey, str]:
    """The users' cohorts, where a search found some."""
    tuned = load_tuned(tuned_file(settings.model_dir, base.version)).get(ADAPTER)
    if tuned is None:
        return {}
    # As `fit` saw these users: by what their history alone teaches.
    fit = settings.model_copy(update={"users": "dev"})
    units = planned_units(fit, dataset) if settings.fit.mode == "llm" else []
    told = teaching(fit, task, dataset, units)
    groups = {user.key: told.groups(ADAPTER, user) for user in dataset.users}
    keys = [key for key, own in groups.items() if own]
    features = encode_all(base.adapter, [groups[key] for key in keys]) if keys else []
    return {key: tuned.cohorts.of(one) for key, one in zip(keys, features, strict=True)}


def _judged(settings: Settings, dataset: Dataset, base: Base) -> tuple[tuple[float, bool], ...]:
    """What the shared reranker says of history items, and whether they helped the LLM; heads were fitted on these."""
    rows = FeedbackStore(settings.feedback_dir).read(RERANKER, [user.key for user in dataset.users])[:_MOST_JUDGED]
    if not rows:
        return ()
    texts = [
        reranker_texts(row["query"], HistoryItem(row["item_id"], row["item_input"], row["item_output"])) for row in rows
    ]
    logits = base.reranker.score(texts, [None] * len(rows)).tolist()
    helped = [
        row["score_with"] > row["score_without"] or row["score_with"] == row["score_without"] == 1 for row in rows
    ]
    return tuple(zip(logits, helped, strict=True))


def _made_of(settings: Settings, run: str, dataset: Dataset, base: Base | None, store: UserStore | None) -> str:
    """Digest of all that a run depends on: settings of data and methods, the LLM, base and heads."""
    elsewhere = {"out", "users", "preset", "generator", "feedback", "base", "fit", "model", "evaluate", "serve", "ray"}
    parts: list[Any] = [settings.model_dump(mode="json", exclude=elsewhere), generator_identity(settings), run]
    if base is not None and store is not None and (needs_base(run) or run in HEAD_CONTROLS):
        keys = [user.key for user in dataset.users]
        stamps = [sorted(store.stamps(keys, base.version, role).items()) for role in ROLES]
        parts += [base.version, stamps]
    return digest(parts)


def _is_there(path: Path, made_of: str) -> bool:
    return path.exists() and read_dump(path).made_of == made_of
