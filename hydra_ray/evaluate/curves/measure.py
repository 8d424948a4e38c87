"""Curves of gain against LLM calls spent on a new user's fit, and against the length of their history."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace

from hydra_ray.atomic import write_text
from hydra_ray.bootstrap import Array, Bootstrap, interval, paired_difference
from hydra_ray.data.dataset import Dataset
from hydra_ray.evaluate.curves.report import Curves, Point, plot_curves
from hydra_ray.evaluate.runner.answer import no_answers
from hydra_ray.evaluate.runner.local_steps import LocalSteps
from hydra_ray.evaluate.scoring.metrics import metrics_of, prepare
from hydra_ray.learn.collect.example_plan import tried_items
from hydra_ray.learn.collect.job import collect_planned
from hydra_ray.learn.collect.plan import Example, calls_of, user_examples
from hydra_ray.learn.examples.features import encode_all
from hydra_ray.learn.examples.training_data import load_training_data
from hydra_ray.learn.heads.todo import make_fitter
from hydra_ray.methods import METHODS
from hydra_ray.methods.ports import StepError
from hydra_ray.models.base import Base, roles_of
from hydra_ray.models.encodings import KeptEncodings
from hydra_ray.models.heads import Head
from hydra_ray.progress import ProgressListener
from hydra_ray.records import HydraError, Query, UserKey
from hydra_ray.runtime.cluster import cluster
from hydra_ray.runtime.embedding import make_embedder
from hydra_ray.runtime.factory import make_prompter, make_recipe
from hydra_ray.runtime.generators import calls_for_candidates, make_generator, open_cache
from hydra_ray.runtime.loading import check_task, load_data
from hydra_ray.runtime.models import chosen_base
from hydra_ray.runtime.vllm_app import generator_running
from hydra_ray.settings import Settings
from hydra_ray.steps.generate import Generator
from hydra_ray.steps.generate.failures import Failure, FailureLog, ask_each
from hydra_ray.tasks import Task

# More pseudo-queries than any history has items: the budget decides.
_ALL = 1_000_000
# 100,000 encodings of width 384.
_ENCODING_BYTES = 200_000_000

Outputs = dict[str, str]


class GivenHeads:
    """Holds heads in memory, in place of a `Store` that is only read."""

    def __init__(self, heads: Mapping[tuple[UserKey, str], Head]) -> None:
        self._heads = heads

    def head(self, key: UserKey, version: str, role: str) -> Head | None:
        """Return one user's head, None without one; there is one version only, so `version` is ignored."""
        return self._heads.get((key, role))


class CurveMaker:
    """Fits and answers at each point; LLM calls are kept, so that a second run asks nothing again.

    `log` counts the requests that failed: points say something only where nothing is unfinished.

    Args:
        settings: Settings that say how feedback is collected, heads are fitted and queries are answered.
        task: Task that the data belongs to.
        base: Trained base.
        generator: LLM that answers the queries.
        runner: Runner of the one event loop that the generator's connections belong to.
        listener: Listener that progress is reported to.
    """

    def __init__(
        self,
        settings: Settings,
        task: Task,
        base: Base,
        generator: Generator,
        runner: asyncio.Runner,
        listener: ProgressListener,
    ) -> None:
        self._settings, self._task, self._base, self._generator = settings, task, base, generator
        self._runner, self._listener = runner, listener
        self.log = FailureLog(settings.generator.max_failure_share)
        # Once: all points are counted alike.
        self._candidate_calls = calls_for_candidates(settings, task)
        kept = KeptEncodings(_ENCODING_BYTES)
        self._roles = roles_of(base.version, base.roles, rerank=settings.method.rerank)
        for role in self._roles:
            base.scorer(role).encoder.remember(kept)

    def by_calls(self, dataset: Dataset, budgets: Sequence[int]) -> tuple[Point, ...]:
        """Return one point for each budget of LLM calls a user."""
        self._collect(dataset, max(budgets), "calls")
        prompted, shared = self._answers(dataset, {}, "rag"), self._answers(dataset, {}, "hydra")
        points = []
        for budget in budgets:
            examples = self._examples(dataset, budget)
            own = self._answers(dataset, self._fit(dataset, examples, "calls"), "hydra")
            points.append(self._point(budget, examples, dataset, own, prompted, shared))
        return tuple(points)

    def by_history(self, dataset: Dataset, lengths: Sequence[int], budget: int) -> tuple[Point, ...]:
        """Return one point for each length of history, fitted within a budget of LLM calls a user."""
        points = []
        for length in lengths:
            cut = replace(dataset, users=tuple(replace(u, history=_last(u.history, length)) for u in dataset.users))
            name = f"history-{length}"
            self._collect(cut, budget, name)
            examples = self._examples(cut, budget)
            own = self._answers(cut, self._fit(cut, examples, name), "hydra")
            prompted, shared = self._answers(cut, {}, "rag"), self._answers(cut, {}, "hydra")
            points.append(self._point(length, examples, cut, own, prompted, shared))
        return tuple(points)

    def _examples(self, dataset: Dataset, calls: int) -> list[Example]:
        """Return as many pseudo-queries of each user as the budget allows; a larger budget only adds some."""
        kept = []
        for user in dataset.users:
            left = calls
            for example in user_examples(dataset, user, _ALL, False, self._settings.seed):
                left -= self._calls(example)
                if left < 0:
                    break
                kept.append(example)
        return kept

    def _calls(self, example: Example) -> int:
        return calls_of(example, tried_items(self._settings), self._candidate_calls)

    def _of(self, name: str) -> Settings:
        """Return the settings with a feedback folder of their own, since the same query has another history there."""
        settings = self._settings
        folder = settings.out / "curves" / name
        # Real queries of these users are never learnt from.
        return settings.model_copy(
            update={"users": "dev", "feedback": settings.feedback.model_copy(update={"dir": folder})}
        )

    def _collect(self, dataset: Dataset, calls: int, name: str) -> None:
        collect_planned(self._of(name), self._task, self._examples(dataset, calls), self._listener).check()

    def _fit(self, dataset: Dataset, examples: list[Example], name: str) -> dict[tuple[UserKey, str], Head]:
        data = load_training_data(self._of(name), self._task, dataset, examples)
        heads: dict[tuple[UserKey, str], Head] = {}
        for role in self._roles:
            groups = {user.key: data.groups(role, user) for user in dataset.users}
            keys = [key for key, own in groups.items() if own]
            features = encode_all(self._base.scorer(role), [groups[key] for key in keys]) if keys else []
            fitter = make_fitter(self._settings, self._base.version, self._base.scorer(role).heads, role)
            heads |= {(one.user, role): one.head for one in fitter(zip(keys, features, strict=True))}
        return heads

    def _answers(self, dataset: Dataset, heads: Mapping[tuple[UserKey, str], Head], method: str) -> Outputs:
        recipe = make_recipe(self._settings)
        similar, embed = self._settings.peers.similar_users, make_embedder(self._settings)
        steps = LocalSteps(dataset, self._base, GivenHeads(heads), recipe, similar, embed=embed)
        answer = METHODS[method](steps.ports(self._generator), make_prompter(self._settings, self._task), recipe)
        queries = _queries(dataset)

        async def one(query: Query) -> str:
            return (await answer(query, query.user)).text

        found = self._runner.run(ask_each(queries, one, self.log, at_once=64, failing=(StepError,)))
        if self.log.stop:
            self.check()
        # What the LLM refuses counts as wrong, as in the table of methods.
        texts = ["" if isinstance(text, Failure) else text for text in found]
        return dict(zip([q.id for q in queries], texts, strict=True))

    def check(self) -> None:
        """Refuse curves with missing answers.

        Raises:
            UnfinishedError: The LLM did not answer everything.
        """
        self.log.check("There are no curves yet. What was answered is kept.")

    def _point(
        self, x: int, examples: Sequence[Example], dataset: Dataset, own: Outputs, prompted: Outputs, shared: Outputs
    ) -> Point:
        queries, metric = _queries(dataset), metrics_of(self._task.kind)[0]
        bootstrap = Bootstrap([query.user for query in queries], self._settings.evaluate.bootstrap, self._settings.seed)
        golds = [dataset.golds[query.id] for query in queries]

        def values(outputs: Outputs) -> Array:
            return metric.value(bootstrap.sums(prepare(self._task, [outputs[q.id] for q in queries], golds)))

        mine, rag, everyones = values(own), values(prompted), values(shared)
        count, better = len(queries), metric.higher_is_better
        return Point(
            x,
            sum(map(self._calls, examples)) / len(dataset.users),
            interval(mine, count),
            interval(rag, count),
            interval(everyones, count),
            paired_difference(mine, rag, count, better),
            paired_difference(mine, everyones, count, better),
        )


def measure_curves(settings: Settings, listener: ProgressListener) -> Curves:
    """Measure both curves on one split; write them to `curves.json` and `curves.png` in `out`.

    Raises:
        HydraError: There is no base, the data is of another task or has no answers, or the generator cannot be used.
        UnfinishedError: The LLM did not answer everything; nothing is written.
    """
    task, dataset = load_data(settings)
    if not _queries(dataset):
        raise HydraError(no_answers(settings))
    base = Base.load(chosen_base(settings).folder, settings.base.encoder.computing)
    check_task(base.task, task)
    with cluster(settings.ray), generator_running(settings), asyncio.Runner() as runner, ExitStack() as aligned:
        generator = make_generator(settings, open_cache(settings))
        aligned.callback(lambda: runner.run(generator.close()))
        maker = CurveMaker(settings, task, base, generator, runner, listener)
        wanted = settings.evaluate
        curves = Curves(
            task.name,
            metrics_of(task.kind)[0].name,
            len(dataset.users),
            maker.by_calls(dataset, wanted.curve_calls),
            maker.by_history(dataset, wanted.curve_history, wanted.curve_history_calls),
            maker.log.final,
        )
        maker.check()
    write_text(settings.out / "curves.json", json.dumps(asdict(curves), indent=1))
    plot_curves(curves, settings.out / "curves.png")
    return curves


def _queries(dataset: Dataset) -> list[Query]:
    return [query for user in dataset.users for query in user.queries if query.id in dataset.golds]


def _last(history: tuple, count: int) -> tuple:
    return history[-count:] if count else ()
