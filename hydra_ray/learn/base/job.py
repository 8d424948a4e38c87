"""Two jobs of learning, from settings to what they leave behind: collect and train. `learn.fit` is the third."""

from __future__ import annotations

import contextlib
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from hydra_ray.learn.base.shared_parts import fit_commons
from hydra_ray.learn.base.trainer import check_enough, fit_base
from hydra_ray.learn.collect.estimate import Estimate, chat_token_counter, estimate
from hydra_ray.learn.collect.first_query import ask_first, with_less
from hydra_ray.learn.collect.first_scores import FirstScores
from hydra_ray.learn.collect.pipeline import ask_all
from hydra_ray.learn.collect.plan import Unit, plan_units
from hydra_ray.learn.collect.report import CollectReport, left_to_ask, record
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.learn.examples.training_data import teaching
from hydra_ray.learn.progress import TrainState
from hydra_ray.models.base import ROLES, Base
from hydra_ray.records import Dataset, HydraError, Usage
from hydra_ray.runtime.cluster import cluster
from hydra_ray.runtime.factory import (
    asked_with,
    cache_file,
    calls_for_candidates,
    check_generator,
    generator_identity,
    known_dialect,
    local_checkpoint,
    make_askers,
    make_questions,
    open_cache,
)
from hydra_ray.runtime.loading import chosen_users, load_data
from hydra_ray.runtime.vllm_app import engine_running
from hydra_ray.settings import BaseSettings, Settings
from hydra_ray.steps.generate.failures import FailureLog
from hydra_ray.steps.generate.limits import estimate_tokens
from hydra_ray.store.users import UserStore
from hydra_ray.tasks import Task

# Of the time that a step takes in which a frozen encoder reads texts; measured on the demo's data.
_STEP_WITHOUT_READING = 0.1


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a training left behind: the version, and what each role's epochs reported."""

    version: str
    users: int
    epochs: list[dict[str, Any]]
    groups: dict[str, int]


def progress_bar(console: Console) -> Progress:
    """The progress bar of all commands."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )


def planned_units(settings: Settings, dataset: Dataset) -> list[Unit]:
    """What `collect` asks for the chosen users. Real queries are used with their answers for training users only."""
    return plan_units(
        dataset,
        pseudo_queries=settings.feedback.pseudo_queries,
        use_golds=settings.of_training_users,
        items=settings.feedback.items,
        candidate_calls=calls_for_candidates(settings),
        max_calls=settings.feedback.max_calls,
        seed=settings.seed,
    )


def collect_feedback(settings: Settings, console: Console) -> CollectReport:
    """Collects the feedback of the chosen users that is not there yet.

    Raises:
        HydraError: As of `collect_planned`; or the data or the users cannot be used.
    """
    task, dataset = chosen_users(settings)
    return collect_plan(settings, task, dataset, console)[1]


def estimate_feedback(settings: Settings) -> Estimate:
    """What `collect_feedback` would ask; neither the LLM nor Ray is touched.

    Raises:
        HydraError: The data or the users cannot be used.
    """
    task, dataset = chosen_users(settings)
    units = planned_units(settings, dataset)
    todo = left_to_ask(units, FeedbackStore(settings.feedback_dir))
    g = settings.generator
    folder = local_checkpoint(g)
    count_tokens = chat_token_counter(folder) if folder else estimate_tokens
    questions = make_questions(settings, task)
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
    ahead.kept = len(units) - len(todo)
    return ahead


def collect_plan(
    settings: Settings, task: Task, dataset: Dataset, console: Console
) -> tuple[list[Unit], CollectReport]:
    """Plans what to ask the users about within `feedback.max_calls`, collects it, and gives the plan as well.

    Raises:
        HydraError: As `collect_planned`.
    """
    units = planned_units(settings, dataset)
    spent = ask_first(settings, task, units)
    if spent.calls:
        # A sample may cost a call of its own; that only drops units at the end.
        units = planned_units(settings, dataset)
    return units, collect_planned(settings, task, units, console, spent)


def collect_planned(
    settings: Settings, task: Task, units: list[Unit], console: Console, spent: Usage | None = None
) -> CollectReport:
    """Collects the feedback of these units that is not there yet.

    Args:
        settings: The LLM, and where feedback is kept.
        task: The task that the units are about.
        units: The plan.
        console: Shows progress.
        spent: What was asked for this collection before.

    Raises:
        HydraError: The generator cannot be used; the feedback that is there was collected with other settings; or all
            scores are equal.
        UnfinishedError: The generator is down.
    """
    store = FeedbackStore(settings.feedback_dir)
    store.keep_to(asked_with(settings, task))
    todo = left_to_ask(units, store)
    report = CollectReport(kept=len(units) - len(todo), usage=spent or Usage())
    if not todo:
        return report
    settings = with_less(settings, report.usage)
    check_generator(settings.generator, settings.feedback.askers)
    with cluster(settings.ray), engine_running(settings.generator), progress_bar(console) as bar:
        line = bar.add_task("Asking the LLM", total=len(units), completed=report.kept, note="")

        def show(report: CollectReport) -> None:
            done = report.kept + report.units + report.unfinished + report.left
            note = (
                f"{report.usage.calls} calls, {report.rate:.1f}/s, {report.usage.prompt_tokens} tokens in, "
                f"{report.usage.completion_tokens} out, {report.failed.total()} failed"
            )
            bar.update(line, completed=done, note=note)

        log = FailureLog(settings.generator.max_failure_share, answered_before=report.kept)
        # Of a collection that goes on, the first scores were looked at before.
        first = FirstScores(task, len(todo)) if settings.feedback.stop_when_alike and not report.kept else None
        # Closed while Ray runs: what is under way ends with it.
        with contextlib.closing(ask_all(todo, make_askers(settings, task))) as answers:
            return record(todo, answers, store, report, show, log, first)


def train_base(settings: Settings, console: Console) -> TrainReport:
    """Trains both roles on the collected feedback of the training users; stores base, heads and histories.

    Raises:
        HydraError: There is too little feedback, or training failed.
    """
    task, dataset = load_data(settings, "train")
    told = teaching(settings.model_copy(update={"users": "train"}), task, dataset, None)
    by_user = {role: {user.key: told.groups(role, user) for user in dataset.users} for role in ROLES}
    groups = {role: [group for own in by_user[role].values() for group in own] for role in ROLES}
    for role in ROLES:
        check_enough(role, groups[role], settings.base)
    seed = settings.seed if settings.base.seed is None else settings.base.seed
    with cluster(settings.ray), progress_bar(console) as bar:
        lines = {
            role: bar.add_task(f"Training the {role}", total=None, note=f"{len(groups[role])} groups") for role in ROLES
        }

        def show(state: TrainState, steps: Mapping[str, int]) -> None:
            if state.role:
                done, total = course(state.epoch, state.step, steps[state.role], settings.base)
                # Before the first step there is none.
                loss = "" if math.isnan(state.loss) else f", loss {state.loss:.3f}"
                note = f"epoch {state.epoch + 1}{loss}"
                bar.update(lines[state.role], completed=done, total=total, note=note)

        fitted = fit_base(
            groups,
            settings.base,
            prior_weights=settings.method.prior_weights,
            seed=seed,
            storage=settings.model_dir / "training",
            show=show,
        )
    with progress_bar(console) as bar:
        for role in ROLES:
            line = bar.add_task(f"Fitting what heads of the {role} share", total=None, note="texts encoded")

            def encoded(done: int, total: int, line: TaskID = line) -> None:
                bar.update(line, completed=done, total=total)

            fit_commons(fitted.roles[role].scorer, by_user[role], settings.base.loss, seed, encoded)
    base = Base(uuid.uuid4().hex[:12], task, *(fitted.roles[role].scorer for role in ROLES))
    base.save(settings.model_dir / "base")
    users = UserStore(settings.store_url)
    for role in ROLES:
        users.put_heads(base.version, role, fitted.roles[role].heads)
    put_histories(users, dataset)
    users.close()
    counts = {role: len(groups[role]) for role in ROLES}
    return TrainReport(base.version, len(dataset.users), fitted.state.epochs, counts)


def course(epoch: int, step: int, steps: int, base: BaseSettings) -> tuple[float, float]:
    """How much of a role's training is done and how much there is, in steps of the first epoch.

    A frozen encoder reads its texts in the first epoch; after that a step takes next to nothing, and the time left is
    told by the bar's speed.

    Args:
        epoch: Under way, from 0.
        step: Steps done in it.
        steps: Steps that one epoch takes.
        base: How many epochs, and whether the encoder is frozen.
    """
    later = _STEP_WITHOUT_READING if base.encoder.trained_layers == 0 else 1.0
    done = step if epoch == 0 else steps + ((epoch - 1) * steps + step) * later
    return done, steps + (base.epochs - 1) * steps * later


def check_task(known: Task, task: Task) -> None:
    """Refuses data of another task than the one that the base was trained for.

    Raises:
        HydraError: The tasks or their answer sets differ.
    """
    if known.name != task.name or set(known.labels) != set(task.labels):
        differing = sorted(set(known.labels) ^ set(task.labels))
        labels = f" Allowed answers that only one of them has: {', '.join(differing[:5])}." if differing else ""
        raise HydraError(
            f"data.task: the data is {task.name} with {len(task.labels)} allowed answers, the base in model.dir was "
            f"trained for {known.name} with {len(known.labels)}.{labels} Use the data that it was trained for, or "
            "another model.dir"
        )


def put_histories(users: UserStore, dataset: Dataset) -> None:
    """Stores the histories of a data set's users."""
    users.put_histories({user.key: user.history for user in dataset.users})
