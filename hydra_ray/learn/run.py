"""The three jobs of learning, from settings to what they leave behind: collect, train, fit."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from hydra_ray.learn.assembly import (
    cache_file,
    check_generator,
    chosen_users,
    generator_identity,
    load_data,
    local_checkpoint,
    make_askers,
    make_questions,
    open_cache,
)
from hydra_ray.learn.base_fit import check_enough, fit_base
from hydra_ray.learn.cluster import cluster
from hydra_ray.learn.collect import CollectReport, left_to_ask, record
from hydra_ray.learn.engine import engine_running
from hydra_ray.learn.estimate import Estimate, chat_token_counter, estimate
from hydra_ray.learn.feedback import FeedbackStore, unit_key
from hydra_ray.learn.groups import AnswersOfOthers, Group, feedback_groups, own_answer_groups, same_answer_groups
from hydra_ray.learn.head_fit import fit_heads
from hydra_ray.learn.pipeline import ask_all
from hydra_ray.learn.plan import Unit, plan_units, user_units
from hydra_ray.learn.progress import TrainState
from hydra_ray.models.base import ADAPTER, ROLES, Base
from hydra_ray.records import Dataset, HydraError, UserKey
from hydra_ray.settings import Settings
from hydra_ray.steps.generate.limits import estimate_tokens
from hydra_ray.store.users import UserStore
from hydra_ray.tasks import Task


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a training left behind: the version, and what each role's epochs reported."""

    version: str
    users: int
    epochs: list[dict[str, Any]]
    groups: dict[str, int]


@dataclass(frozen=True, slots=True)
class FitReport:
    """Heads fitted for how many users, by role, and what was asked of the LLM for it."""

    users: int
    heads: dict[str, int]
    collected: CollectReport | None


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
        use_golds=_are_training_users(settings),
        items=settings.feedback.items,
        max_calls=settings.feedback.max_calls,
        seed=settings.seed,
    )


def collect_feedback(settings: Settings, console: Console) -> CollectReport:
    """Collects the feedback of the chosen users that is not there yet.

    Raises:
        HydraError: The data, the users or the generator cannot be used, or the generator is down.
    """
    task, dataset = chosen_users(settings)
    return _collect(settings, task, planned_units(settings, dataset), console)


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
    ahead = estimate(todo, questions, cache, generator_identity(settings), count_tokens, exact=folder is not None)
    ahead.kept = len(units) - len(todo)
    return ahead


def _collect(settings: Settings, task: Task, units: list[Unit], console: Console) -> CollectReport:
    store = FeedbackStore(settings.feedback_dir)
    todo = left_to_ask(units, store)
    report = CollectReport(kept=len(units) - len(todo))
    if not todo:
        return report
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

        return record(todo, ask_all(todo, make_askers(settings, task)), store, report, show)


def train_base(settings: Settings, console: Console) -> TrainReport:
    """Trains both roles on the collected feedback of the training users; stores base, heads and histories.

    Raises:
        HydraError: There is too little feedback, or training failed.
    """
    task, dataset = load_data(settings, "train")
    groups = {role: _groups(role, settings, task, dataset, None, with_golds=True) for role in ROLES}
    for role in ROLES:
        check_enough(role, groups[role], settings.base)
    with cluster(settings.ray), progress_bar(console) as bar:
        lines = {
            role: bar.add_task(f"Training the {role}", total=None, note=f"{len(groups[role])} groups") for role in ROLES
        }

        def show(state: TrainState, steps: Mapping[str, int]) -> None:
            if state.role:
                done, total = state.epoch * steps[state.role] + state.step, settings.base.epochs * steps[state.role]
                note = f"epoch {state.epoch + 1}, loss {state.loss:.3f}"
                bar.update(lines[state.role], completed=done, total=total, note=note)

        fitted = fit_base(groups, settings.base, seed=settings.seed, storage=settings.model_dir / "training", show=show)
    base = Base(uuid.uuid4().hex[:12], task, *(fitted.roles[role].scorer for role in ROLES))
    base.save(settings.model_dir / "base")
    users = UserStore(settings.store_url)
    for role in ROLES:
        users.put_heads(base.version, role, fitted.roles[role].heads)
    _put_histories(users, dataset)
    users.close()
    counts = {role: len(groups[role]) for role in ROLES}
    return TrainReport(base.version, len(dataset.users), fitted.state.epochs, counts)


def fit_users(settings: Settings, console: Console) -> FitReport:
    """Fits heads of the chosen users on the trained base, from their history alone, and stores both.

    Raises:
        HydraError: There is no base, or the data does not fit it.
    """
    base = Base.load(settings.model_dir / "base")
    task, dataset = chosen_users(settings)
    check_task(base, task)
    units, collected = list[Unit](), None
    if settings.fit.mode == "llm":
        units = planned_units(settings, dataset)
        collected = _collect(settings, task, units, console)
    users = UserStore(settings.store_url)
    _put_histories(users, dataset)
    counts = {}
    with progress_bar(console) as bar:
        for role in ROLES:
            line = bar.add_task(f"Fitting heads of the {role}", total=len(dataset.users), note="")
            groups = _groups(role, settings, task, dataset, units, _are_training_users(settings))
            heads = fit_heads(
                base.scorer(role),
                _by_user(groups, dataset),
                settings.fit,
                settings.base.loss,
                lambda done, line=line: bar.update(line, completed=done),  # type: ignore[misc]
            )
            users.put_heads(base.version, role, heads)
            counts[role] = len(heads)
            bar.update(line, completed=len(dataset.users), note=f"{len(heads)} heads")
    users.close()
    return FitReport(len(dataset.users), counts, collected)


def check_task(base: Base, task: Task) -> None:
    """Refuses data of another task than the base's.

    Raises:
        HydraError: The tasks or their answer sets differ.
    """
    if base.task.name != task.name or set(base.task.labels) != set(task.labels):
        raise HydraError(
            f"data.task: the data is {task.name} with {len(task.labels)} allowed answers, the base in model.dir was "
            f"trained for {base.task.name} with {len(base.task.labels)}"
        )


def _groups(
    role: str, settings: Settings, task: Task, dataset: Dataset, units: list[Unit] | None, with_golds: bool
) -> list[Group]:
    """What the users' feedback and history teach a role.

    Args:
        role: Reranker or adapter.
        settings: Where feedback is; loss and seed.
        task: Scores answers.
        dataset: The users.
        units: Only these units' feedback counts, none when the list is empty; None takes all there is.
        with_golds: Whether the users' real queries may be used with their answers.
    """
    keys = [user.key for user in dataset.users]
    rows = [] if units == [] else FeedbackStore(settings.feedback_dir).read(role, keys)
    wanted = None if units is None else {unit_key(unit) for unit in units}
    rows = [row for row in rows if wanted is None or _row_key(row) in wanted]
    groups = feedback_groups(role, rows, task, settings.base.loss, settings.seed)
    asked = {_row_key(row) for row in rows}
    unasked = [unit for unit in _all_units(settings, dataset, with_golds) if unit_key(unit) not in asked]
    if role == ADAPTER and task.closed:
        groups += own_answer_groups(unasked, task, settings.seed, None)
    elif role == ADAPTER and units == []:
        # Beside texts of the LLM, people's own would only teach to tell people from LLMs.
        others = AnswersOfOthers((user.key, user.history) for user in dataset.users)
        groups += own_answer_groups(unasked, task, settings.seed, others)
    elif units == []:
        groups += same_answer_groups(unasked, task)
    return groups


def _all_units(settings: Settings, dataset: Dataset, with_golds: bool) -> list[Unit]:
    most = settings.feedback.own_answers
    return [unit for user in dataset.users for unit in user_units(dataset, user, most, with_golds, settings.seed)]


def _by_user(groups: list[Group], dataset: Dataset) -> dict[UserKey, list[Group]]:
    by_user: dict[UserKey, list[Group]] = {user.key: [] for user in dataset.users}
    for group in groups:
        by_user[group.user].append(group)
    return by_user


def _row_key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["tenant"], row["user"], row["query_id"]


def _put_histories(users: UserStore, dataset: Dataset) -> None:
    for user in dataset.users:
        users.put_history(user.key, user.history)


def _are_training_users(settings: Settings) -> bool:
    return settings.users == "train" or (settings.users != "dev" and settings.data.split == "train")
