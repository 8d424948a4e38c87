"""Loads data as settings say: the users of a split, or those that settings choose."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hydra_ray.data.chat import read_chat
from hydra_ray.data.dataset import Dataset, User
from hydra_ray.data.lamp import read_lamp
from hydra_ray.data.reviews import ReviewFilters, read_reviews
from hydra_ray.data.simulated import simulate
from hydra_ray.data.split import Split
from hydra_ray.data.table import read_records
from hydra_ray.data.user_source import HeldUsers, UserSource
from hydra_ray.dates import in_order
from hydra_ray.fingerprint import records_fingerprint
from hydra_ray.records import HydraError
from hydra_ray.runtime.models import chosen_manifest
from hydra_ray.runtime.users.deleted import without_deleted
from hydra_ray.runtime.users.id_files import listed_users
from hydra_ray.runtime.users.store_users import users_of_tenant
from hydra_ray.settings import Settings
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.store.backends import open_store
from hydra_ray.store.protocol import Store
from hydra_ray.store.types import MergeReport
from hydra_ray.tasks import TASKS, Task

log = logging.getLogger(__name__)

# Users that a message names.
_NAMED = 5


def load_data(settings: Settings, split: str | None = None) -> tuple[Task, Dataset]:
    """Task and users of one split, sampled to `data.max_users`.

    Args:
        settings: `data` says where the records are.
        split: None means `data.split`.

    Raises:
        HydraError: The task is unknown or the data is not well-formed.

    What was deleted from the store is left out, whatever the records hold.
    """
    data, split = settings.data, split or settings.data.split
    if data.task not in TASKS:
        raise HydraError(f"data.task: there is no task {data.task!r}; there are {', '.join(TASKS)}")
    task = TASKS[data.task]
    if data.format == "lamp":
        if data.dir is None:
            raise HydraError("data.dir: say in which folder LaMP's question files are")
        task, dataset = read_lamp(data.dir, task, split, settings.tenant, data.skip_bad)
    elif data.format == "records":
        assert data.path is not None, "settings check this"
        task = _described(task, settings)
        dataset = read_records(data.path, task, _split(settings, split), data.skip_bad)
    elif data.format == "reviews":
        assert data.path is not None, "settings check this"
        assert data.items is not None, "settings check this"
        task = _instructed(TASKS["review"], settings)
        filters = ReviewFilters(**data.reviews.model_dump())
        dataset = read_reviews(data.path, data.items, _split(settings, split), filters, data.skip_bad)
    elif data.format == "chat":
        assert data.path is not None, "settings check this"
        task = TASKS["chat"]
        dataset = read_chat(data.path, _split(settings, split), data.skip_bad)
    elif data.format == "store":
        task = chosen_manifest(settings).task
        dataset = _stored(settings, task)
    else:
        task = TASKS["demo"]
        users = data.train_users if split == "train" else data.dev_users
        dataset, _ = simulate(
            users=users,
            history=data.history,
            queries=data.queries,
            seed=settings.seed,
            split=split,
            tenant=settings.tenant,
        )
    if data.format != "store":
        dataset = without_deleted(dataset, settings)
    return task, replace(dataset, users=sampled_users(dataset.users, data.max_users, settings.seed))


def _stored(settings: Settings, task: Task) -> Dataset:
    """Load everybody of the tenant from the store, with history and without queries."""
    store = open_store(settings.store_target)
    histories = store.histories(settings.tenant)
    store.close()
    if not histories:
        raise _nobody(settings)
    users = (User(key, tuple(in_order(items, lambda item: item.ts))) for key, items in histories.items())
    return Dataset(tuple(users), pairs=task.pairs)


def records_digest(users: Sequence[User], golds: Mapping[str, str], rejected: Mapping[str, str] | None = None) -> str:
    """Return a fingerprint that changes whenever a record of these users or an answer does.

    Args:
        users: The users.
        golds: Preferred answers by query id.
        rejected: Rejected answers by query id; None where nothing is learnt from queries.
    """
    answers = [
        (user.key, item.id, item.rejected) for user in users for item in user.history if item.rejected is not None
    ]
    # Only where there are any, so that fingerprints of other records stay what they are.
    more = [answers, sorted((rejected or {}).items())] if answers or rejected else []
    return records_fingerprint([sorted(golds.items()), *users, *more])


def chosen_users(settings: Settings) -> tuple[Task, Dataset]:
    """The users that `users` names: those of split train or dev, or those that a file lists.

    Raises:
        HydraError: The file is missing, or names users whom the data does not have.
    """
    if settings.users in ("train", "dev"):
        return load_data(settings, settings.users)
    wanted = listed_users(Path(settings.users), "users (train, dev or a file)")
    task, dataset = load_data(settings)
    found = {user.key.user: user for user in dataset.users}
    _refuse([user for user in wanted if user not in found], settings)
    return task, replace(dataset, users=tuple(found[user] for user in wanted))


def chosen_source(settings: Settings) -> tuple[Task, UserSource]:
    """Return the users that `chosen_users` names, a few at a time; those of a store are never all in memory.

    Raises:
        HydraError: As `chosen_users`.
    """
    if settings.data.format != "store":
        task, dataset = chosen_users(settings)
        return task, HeldUsers(dataset)
    wanted = None
    if settings.users not in ("train", "dev"):
        wanted = listed_users(Path(settings.users), "users (train, dev or a file)")
    task = chosen_manifest(settings).task
    users = users_of_tenant(settings.store_target, settings.tenant, task.pairs)
    if not len(users):
        raise _nobody(settings)
    users = users.sampled(settings.data.max_users, settings.seed)
    if wanted is not None:
        users, absent = users.only(wanted)
        _refuse(absent, settings)
    return task, users


def _refuse(absent: Sequence[str], settings: Settings) -> None:
    if absent:
        raise HydraError(
            f"users: {settings.users} names {len(absent)} user(s) whom split {settings.data.split} lacks: {absent[:5]}"
        )


def _nobody(settings: Settings) -> HydraError:
    return HydraError(
        f"store.url: {settings.store_url} holds no history of tenant {settings.tenant!r}; `fit` from records "
        "puts it there"
    )


def _described(task: Task, settings: Settings) -> Task:
    data = settings.data
    if data.labels:
        return replace(task, kind="classification", instruction=data.instruction, labels=data.labels, max_tokens=16)
    return _instructed(task, settings)


def _instructed(task: Task, settings: Settings) -> Task:
    return replace(task, instruction=settings.data.instruction or task.instruction)


def _split(settings: Settings, name: str) -> Split:
    data = settings.data
    return Split(name, data.queries_per_user, data.dev_share, settings.seed, settings.tenant)


def sampled_users(users: tuple[User, ...], most: int | None, seed: int) -> tuple[User, ...]:
    """Return at most so many of the users, drawn by a seed, in their order; None takes all."""
    if most is None or most >= len(users):
        return users
    drawn = set(sorted(users, key=lambda user: stable_seed(seed, *user.key))[:most])
    return tuple(user for user in users if user in drawn)


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


def put_histories(users: Store, dataset: Dataset, replace: bool = False) -> MergeReport:
    """Merges the histories of a data set's users into the store's, or with `replace` puts them in their place.

    What is removed by that is said in the log, with those who lost most.
    """
    report = users.merge_histories({user.key: user.history for user in dataset.users}, replace)
    if report.losers:
        most = sorted(report.losers, key=lambda key: (-report.losers[key], key))[:_NAMED]
        log.warning(
            "%d history items and %d feedback events were replaced by records, of %d users: %s%s",
            report.removed,
            report.events,
            len(report.losers),
            ", ".join(f"{key.user} ({report.losers[key]})" for key in most),
            ", ..." if len(report.losers) > len(most) else "",
        )
    return report
