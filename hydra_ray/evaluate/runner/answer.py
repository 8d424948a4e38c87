"""Answers the queries of one experiment by its methods and keeps what they answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.evaluate.runner.annotate import Knowledge, judged_history, training_users
from hydra_ray.evaluate.runner.experiments import Experiment
from hydra_ray.evaluate.runner.local_steps import LocalSteps
from hydra_ray.evaluate.runner.profiles import ProfileBook
from hydra_ray.evaluate.runs import EvalQuery, Row, RunRecord, read_run, write_run
from hydra_ray.evaluate.scoring.controls import HEAD_CONTROLS, other_users
from hydra_ray.fingerprint import fingerprint
from hydra_ray.methods import METHODS, Method, needs_base
from hydra_ray.methods.ports import StepError
from hydra_ray.models.base import Base, roles_of
from hydra_ray.records import HydraError, Query, Usage, UserKey
from hydra_ray.runtime.embedding import make_embedder
from hydra_ray.runtime.factory import make_peers, make_profile_writer, make_prompter, make_recipe
from hydra_ray.runtime.generators import generator_identity, make_generator, open_cache
from hydra_ray.runtime.loading import check_task, load_data, records_digest
from hydra_ray.runtime.models import chosen_base
from hydra_ray.settings import Settings
from hydra_ray.settings.files.renamed import with_first_names
from hydra_ray.steps.adapt import prior_weight
from hydra_ray.steps.generate import Generator
from hydra_ray.steps.generate.failures import FailureLog, ask_each
from hydra_ray.steps.generate.metered import CallOutcome, MeteredGenerator
from hydra_ray.steps.profiles.profile import Readable
from hydra_ray.store.backends import open_store
from hydra_ray.store.protocol import Store
from hydra_ray.tasks import Task

# Queries answered at a time: enough to keep an endpoint busy, few enough to hold in memory.
_IN_FLIGHT = 128

# A query among those of one run.
_Place = tuple[UserKey, str]

# Name that the reranker's scoring of its own feedback has where progress is shown.
JUDGING = "judging history"

# Called for each answered query with the name of the run and how many queries it has.
Advance = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """Some methods of one experiment, answered in one process.

    Attributes:
        experiment: The experiment, prepared.
        methods: Names of the methods; `hydra` stands for its controls too.
        shared_by: Number of processes that share the generator's limits.
    """

    experiment: Experiment
    methods: tuple[str, ...]
    shared_by: int = 1

    @property
    def runs(self) -> tuple[str, ...]:
        """The methods, with the controls that need answers of their own."""
        controlled = "hydra" in self.methods and self.experiment.train_users is None
        return (*self.methods, *(HEAD_CONTROLS if controlled else ()))

    def path(self, run: str) -> Path:
        """Return the path of a run's record."""
        return self.experiment.records / f"{run}.parquet"


def answer(job: Job, advance: Advance) -> list[Path]:
    """Answer the queries that are not answered yet, and keep each run.

    A run in which queries failed for now is kept too: the next call goes on from its other answers.

    Raises:
        HydraError: There is no base, or it lacks the reranker that settings want; the data has no answers, or is of
            another task.
        UnfinishedError: The LLM was given up, or answered nothing.
    """
    settings = job.experiment.settings
    task, dataset = load_data(settings)
    queries = [query for user in dataset.users for query in user.queries if query.id in dataset.golds]
    if not queries:
        raise HydraError(no_answers(settings))
    trained = training_users(settings)
    data = [records_digest(dataset.users, dataset.golds), records_digest(trained, {})]
    base, store = None, None
    if any(map(needs_base, job.methods)):
        base = Base.load(chosen_base(settings).folder, settings.base.encoder.computing)
        check_task(base.task, task)
        roles_of(base.version, base.roles, rerank=settings.method.rerank)
        store = open_store(settings.store_target)
    fingerprints = {run: fingerprint(data, _fingerprint_of(settings, run, dataset, base, store)) for run in job.runs}
    known = {run: _known(job.path(run), wanted) for run, wanted in fingerprints.items()}
    left = {run: wanted for run, wanted in fingerprints.items() if not (kept := known[run]) or not kept.whole}
    for run in fingerprints:
        for _ in queries if run not in left else _finished(known[run]):
            advance(run, len(queries))
    if left:
        knowledge = Knowledge.of(settings, task, dataset, trained, base)
        asked = [knowledge.about(query) for query in queries]
        _answer_runs(job, left, known, asked, task, dataset, trained, base, store, advance)
    if store is not None:
        store.close()
    return [job.path(run) for run in job.runs]


def _answer_runs(
    job: Job,
    fingerprints: Mapping[str, str],
    known: Mapping[str, RunRecord | None],
    asked: Sequence[EvalQuery],
    task: Task,
    dataset: Dataset,
    trained: Sequence[User],
    base: Base | None,
    store: Store | None,
    advance: Advance,
) -> None:
    """Answer and keep run after run; they share encodings, LLM answers and profiles."""
    settings = job.experiment.settings
    recipe, beside, read = make_recipe(settings), list[CallOutcome](), Counter[Readable]()
    generator = make_generator(settings, open_cache(settings), shared_by=job.shared_by)
    peers = make_peers(settings, (*dataset.users, *trained))

    def note(readable: Readable) -> None:
        read[readable] += 1

    writer = make_profile_writer(settings, task, MeteredGenerator(generator, beside.append), peers.comparable, note)
    book = ProfileBook(writer, store)
    similar, embed = settings.peers.similar_users, make_embedder(settings)
    steps = LocalSteps(dataset, base, store, recipe, similar, peers, book, embed)
    methods = _methods(list(fingerprints), steps, generator, settings, task, dataset)
    judged = (
        judged_history(settings, dataset, base, partial(advance, JUDGING))
        if base is not None and settings.method.rerank
        else ()
    )
    about: dict[str, Any] = {
        "vote_weight": prior_weight(base.adapter, None, recipe.vote_weight) if base is not None else 1.0,
        "expected": recipe.expected,
        "allowed_answers": recipe.allowed_answers,
    }
    log = FailureLog(settings.generator.max_failure_share, sum(len(_finished(record)) for record in known.values()))
    held_back = list[RunRecord]()
    # One loop for all: the generator's connections belong to it.
    with asyncio.Runner() as runner:
        for run, (method, head) in methods.items():
            beside.clear()
            read.clear()
            before, advanced = known[run], partial(advance, run, len(asked))
            rows = runner.run(_answer_all(method, asked, _finished(before), head, log, advanced))
            # What was written of users before costs nothing where the cache has it.
            paid = [one.usage for one in beside if one.usage.calls or before is None]
            about["beside"] = sum(paid, before.beside if before else Usage())
            about["read"] = Counter(before.read if before else {}) + read
            about["judged"] = judged if run in ("hydra", "hydra-reranker") else ()
            about["train_users"] = _train_users(job.experiment, run, trained)
            split = settings.data.split
            record = RunRecord(task, split, run, job.experiment.seed, rows, **about, fingerprint=fingerprints[run])
            if log.nothing_answered:
                held_back.append(record)
            else:
                write_run(job.path(run), record)
            if log.stop:
                break
        runner.run(generator.close())
    # Refusals count where something else was answered; where nothing was, they tell of the endpoint.
    for record in held_back if not log.nothing_answered else ():
        write_run(job.path(record.method), record)
    if log.stop or log.nothing_answered:
        log.check("There are no scores yet. What was answered is kept.")


def _train_users(experiment: Experiment, run: str, trained: Sequence[User]) -> int:
    """Return how many users taught what a run depends on; 0 where that is nobody, or not known."""
    if not needs_base(run) and run not in HEAD_CONTROLS:
        return 0
    return experiment.train_users or (len(trained) if experiment.prepared else 0)


async def _answer_all(
    method: Method,
    asked: Sequence[EvalQuery],
    known: Mapping[_Place, Row],
    head: Callable[[Query], UserKey | None],
    log: FailureLog,
    advance: Callable[[], None],
) -> tuple[Row, ...]:
    """Return one method's rows; a query whose LLM call, or another step that it needs, failed has no answer."""

    async def answered(one: EvalQuery) -> Row:
        start = time.perf_counter()
        found = await method(one.query, head(one.query))
        advance()
        return Row(one, found, time.perf_counter() - start)

    left = [one for one in asked if _place(one) not in known]
    found = await ask_each(left, answered, log, at_once=_IN_FLIGHT, failing=(StepError,))
    now = {
        _place(one): row if isinstance(row, Row) else Row(one, None, failure=row)
        for one, row in zip(left, found, strict=True)
    }
    # The query as it is now: what is known of it, such as its user's cohort, may have been found out since.
    before = {_place(one): replace(known[_place(one)], asked=one) for one in asked if _place(one) in known}
    return tuple((before | now)[_place(one)] for one in asked)


def _place(asked: EvalQuery) -> _Place:
    return asked.query.user, asked.query.id


def _finished(record: RunRecord | None) -> dict[_Place, Row]:
    """Return the rows of a run that need not be asked again."""
    return {_place(row.asked): row for row in record.rows if row.finished} if record else {}


def _methods(
    runs: Sequence[str], steps: LocalSteps, generator: Generator, settings: Settings, task: Task, dataset: Dataset
) -> dict[str, tuple[Method, Callable[[Query], UserKey | None]]]:
    """Return each run's method and whose head it uses. Controls are hydra under a head that is not the user's."""
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


def _fingerprint_of(settings: Settings, run: str, dataset: Dataset, base: Base | None, store: Store | None) -> str:
    """Digest what a run depends on beside the records: settings of data and methods, the LLM, base and heads."""
    elsewhere = (
        "out",
        "users",
        "preset",
        "generator",
        "feedback",
        "base",
        "fit",
        "gate",
        "model",
        "registry",
        "store",
        "evaluate",
        "serve",
        "ray",
        "logging",
    )
    # In which arithmetic and by what texts are encoded differs by processor, and is no reason to ask again.
    excluded: Any = {**dict.fromkeys(elsewhere, True), "embedder": {"precision", "runtime"}}
    parts: list[Any] = [
        with_first_names(settings.model_dump(mode="json", exclude=excluded)),
        generator_identity(settings),
        run,
    ]
    if base is not None and store is not None and (needs_base(run) or run in HEAD_CONTROLS):
        keys = [user.key for user in dataset.users]
        roles = roles_of(base.version, base.roles, rerank=settings.method.rerank)
        stamps = [sorted(store.stamps(keys, base.version, role).items()) for role in roles]
        parts += [base.version, stamps]
    if settings.method.stemmer:
        # Runs of versions that left it out, and ranked by whole words here, are asked again.
        parts.append("stemmed")
    if METHODS[run if run in METHODS else "hydra"] is METHODS["hydra"]:
        # Runs of versions that did not keep what the gate decided are answered again, of what the LLM said then.
        parts.append("gate")
    return fingerprint(parts)


def no_answers(settings: Settings) -> str:
    """Say that the split cannot be evaluated, and why that may be."""
    data = settings.data
    return (
        f"data.split: no query of split {data.split} in {data.dir or data.path or data.format} has an answer. LaMP has "
        f"them in {data.split}_outputs.json; of records it takes users with at least two; or choose another split"
    )


def _known(path: Path, fingerprint: str) -> RunRecord | None:
    """Return the record of an earlier run that has the same fingerprint; None without one."""
    try:
        record = read_run(path)
    except HydraError:
        # There is none, or another version's, which is replaced.
        return None
    return record if record.fingerprint == fingerprint else None
