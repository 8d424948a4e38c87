"""Collects feedback: from settings to the folder that keeps it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict

from hydra_ray.data.dataset import Dataset
from hydra_ray.data.user_source import UserSource
from hydra_ray.learn.collect.estimate import Estimate, chat_token_counter, estimate
from hydra_ray.learn.collect.example_plan import ExamplePlan, ExampleRules, plan_users, tried_items
from hydra_ray.learn.collect.first_query import ask_first, with_less
from hydra_ray.learn.collect.first_scores import FirstScores
from hydra_ray.learn.collect.pipeline import ask_all
from hydra_ray.learn.collect.plan import Example, plan_examples
from hydra_ray.learn.collect.report import CollectReport, left_to_ask, record
from hydra_ray.learn.collect.setup import collection_settings, make_generator_pool, make_request_writer
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.progress import ProgressListener
from hydra_ray.records import Usage
from hydra_ray.runtime.cluster import cluster
from hydra_ray.runtime.generators import (
    cache_file,
    calls_for_candidates,
    check_generator,
    generator_identity,
    known_dialect,
    local_checkpoint,
    open_cache,
)
from hydra_ray.runtime.loading import chosen_source
from hydra_ray.runtime.vllm_app import engine_running
from hydra_ray.settings import Settings
from hydra_ray.steps.generate.failures import FailureLog
from hydra_ray.steps.generate.limits import estimate_tokens
from hydra_ray.tasks import Task


def planned_examples(settings: Settings, task: Task, dataset: Dataset) -> list[Example]:
    """Return the examples that `collect` asks about for the chosen users.

    Real queries are used with their answers for training users only.
    """
    return plan_examples(dataset, **asdict(_rules(settings, task)))


def example_plan(settings: Settings, task: Task, users: UserSource) -> ExamplePlan:
    """Return what `planned_examples` does, of any number of users."""
    return plan_users(users, _rules(settings, task))


def _rules(settings: Settings, task: Task) -> ExampleRules:
    return ExampleRules(
        pseudo_queries=settings.feedback.pseudo_queries,
        use_golds=settings.of_training_users,
        items=tried_items(settings),
        candidate_calls=calls_for_candidates(settings, task),
        max_calls=settings.feedback.max_calls,
        seed=settings.seed,
    )


def collect_feedback(settings: Settings, listener: ProgressListener) -> CollectReport:
    """Collects the feedback of the chosen users that is not there yet.

    Raises:
        HydraError: The data or the users cannot be used; or any of the causes that `collect_planned` lists.
    """
    task, users = chosen_source(settings)
    return collect_plan(settings, task, users, listener)[1]


def estimate_feedback(settings: Settings) -> Estimate:
    """Estimate what `collect_feedback` would ask; neither the LLM nor Ray is touched.

    Raises:
        HydraError: The data or the users cannot be used.
    """
    task, users = chosen_source(settings)
    examples = example_plan(settings, task, users)
    todo = left_to_ask(examples, FeedbackStore(settings.feedback_dir))
    g = settings.generator
    folder = local_checkpoint(g)
    count_tokens = chat_token_counter(folder) if folder else estimate_tokens
    questions = make_request_writer(settings, task)
    # Looking must not leave a file behind.
    cache = open_cache(settings) if cache_file(settings).exists() else None
    ahead = estimate(
        todo,
        questions,
        cache,
        generator_identity(settings),
        count_tokens,
        exact=folder is not None,
        most_samples=known_dialect(settings).samples,
        reasoning_tokens=g.reasoning_tokens,
    )
    ahead.kept = len(examples) - len(todo)
    users.close()
    return ahead


def collect_plan(
    settings: Settings, task: Task, users: UserSource, listener: ProgressListener
) -> tuple[ExamplePlan, CollectReport]:
    """Plans examples within `feedback.max_calls`, collects their feedback, and returns the plan and the report.

    Raises:
        HydraError: Any of the causes that `collect_planned` lists.
    """
    with contextlib.closing(users):
        examples = example_plan(settings, task, users)
        spent = ask_first(settings, task, examples)
        if spent.calls:
            # A sample may cost a call of its own; that only drops examples at the end.
            examples = example_plan(settings, task, users)
        return examples, collect_planned(settings, task, examples, listener, spent)


def collect_planned(
    settings: Settings, task: Task, examples: Sequence[Example], listener: ProgressListener, spent: Usage | None = None
) -> CollectReport:
    """Collects the feedback of these examples that is not there yet.

    Args:
        settings: The LLM, and where feedback is kept.
        task: The task that the examples are about.
        examples: The plan.
        listener: Shows how far the collection is.
        spent: Calls and tokens that this collection has used already; None is none.

    Raises:
        HydraError: The generator cannot be used; the feedback that is there was collected with other settings; or all
            scores are equal.
        UnfinishedError: The generator is down.
    """
    store = FeedbackStore(settings.feedback_dir)
    store.keep_to(collection_settings(settings, task))
    todo = left_to_ask(examples, store)
    report = CollectReport(kept=len(examples) - len(todo), usage=spent or Usage())
    if not todo:
        return report
    store.note_added(collection_settings(settings, task))
    settings = with_less(settings, report.usage)
    check_generator(settings.generator, settings.feedback.labelers)
    with cluster(settings.ray), engine_running(settings.generator), listener.bars() as bar:
        line = bar.add_task("Asking the LLM", total=len(examples), completed=report.kept, note="")

        def show(report: CollectReport) -> None:
            done = report.kept + report.examples + report.unfinished + report.left
            note = (
                f"{report.usage.calls} calls, {report.rate:.1f}/s, {report.usage.prompt_tokens} tokens in, "
                f"{report.usage.completion_tokens} out, {report.failed.total()} failed"
            )
            bar.update(line, completed=done, note=note)

        log = FailureLog(settings.generator.max_failure_share, answered_before=report.kept)
        # Of a collection that goes on, the first scores were looked at before.
        first = FirstScores(task, len(todo)) if settings.feedback.stop_when_alike and not report.kept else None
        # Closed while Ray runs: what is under way ends with it.
        with contextlib.closing(ask_all(todo, make_generator_pool(settings, task))) as answers:
            return record(answers, store, report, show, log, first)
