"""Users of a task for cross-validation: those of train and dev together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hydra_ray.data.dataset import Dataset
from hydra_ray.records import HydraError
from hydra_ray.runtime.loading import check_task, load_data, sampled_users
from hydra_ray.settings import Settings
from hydra_ray.tasks import Task

_SPLITS = ("train", "dev")


def with_task(settings: Settings, task: str) -> Settings:
    """Return the settings of one of `evaluate.tasks`."""
    return settings.model_copy(update={"data": settings.data.model_copy(update={"task": task})})


def load_everybody(settings: Settings) -> tuple[Task, Dataset]:
    """Load users of splits train and dev, at most `data.max_users` of both together, drawn by the seed.

    Only who has a query with an answer counts.

    Raises:
        HydraError: The splits are of different tasks, share ids of users or queries, or have no answers.
    """
    everybody: Any = settings.model_copy(update={"data": settings.data.model_copy(update={"max_users": None})})
    (task, first), (other, second) = (load_data(everybody, split) for split in _SPLITS)
    check_task(task, other)
    _refuse_shared("user", {user.key for user in first.users} & {user.key for user in second.users})
    _refuse_shared("query", _queries(first) & _queries(second))
    golds = {**first.golds, **second.golds}
    having = tuple(user for user in (*first.users, *second.users) if any(query.id in golds for query in user.queries))
    if not having:
        raise HydraError(f"data.task: no query of {task.name} in the splits train and dev has an answer")
    users = sampled_users(having, settings.data.max_users, settings.seed)
    visible, rejected = {**first.visible, **second.visible}, {**first.rejected, **second.rejected}
    return task, replace(first, users=users, golds=golds, visible=visible, rejected=rejected)


def _queries(dataset: Dataset) -> set[str]:
    return {query.id for user in dataset.users for query in user.queries}


def _refuse_shared(what: str, shared: set[Any]) -> None:
    if shared:
        raise HydraError(
            f"data: the splits train and dev share {len(shared)} {what} id(s), e.g. {min(shared)}: cross-validation "
            "puts both together, and could not tell them apart. Give each its own"
        )
