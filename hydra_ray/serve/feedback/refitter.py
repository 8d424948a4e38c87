"""Hosts the refits: one place of the cluster that fits users' heads again while the base serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path

from ray import serve

from hydra_ray.learn.heads.refits import Refits
from hydra_ray.learn.heads.replay import replay_users
from hydra_ray.logs import set_up_logging
from hydra_ray.progress import SILENT
from hydra_ray.records import HydraError, UserKey
from hydra_ray.runtime.models import catalog_of, first_served
from hydra_ray.runtime.threads import use_given_cpus
from hydra_ray.serve.ending import ending
from hydra_ray.serve.observe.metrics import metrics_of
from hydra_ray.serve.observe.names import REFITS
from hydra_ray.serve.versions.polling import Poller
from hydra_ray.settings import Settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.schema import open_database
from hydra_ray.store.user_rows.news import News

_EVERY_S = 2.0


# One replica: two would fit the same users. It takes no CPU of the steps: a fit is some seconds now and then.
@serve.deployment(num_replicas=1, max_ongoing_requests=256, ray_actor_options={"num_cpus": 0})
class Refitter:
    """Fits heads again of users who told enough that is new, one batch at a time.

    Args:
        settings: Say how heads are fitted, after how much, and how many a minute.
    """

    def __init__(self, settings: Settings) -> None:
        set_up_logging(settings.logging)
        use_given_cpus()
        self._metrics = metrics_of(settings)
        self._refits = make_refits(settings, self._note_failed)
        self._poller = Poller(self._round, _EVERY_S)

    async def note(self, key: UserKey) -> None:
        """Notes that a user said something."""
        self._refits.note(key)

    def _round(self) -> None:
        self._metrics.note(REFITS, len(self._refits.round()), became="fitted")

    def _note_failed(self, number: int) -> None:
        self._metrics.note(REFITS, number, became="failed")

    def __del__(self) -> None:
        if hasattr(self, "_poller"):
            ending(self._poller.close)


def make_refits(settings: Settings, failed: Callable[[int], None]) -> Refits:
    """Make what fits heads again on the version that is served, as a replay from the store does.

    Args:
        settings: Settings of the service, in which `fit.refit_items` is set.
        failed: Called with the number of users whose heads could not be fitted.
    """
    least, per_minute = settings.fit.refit_items, settings.fit.refit_per_minute
    assert least is not None, "nothing is bound where heads are not fitted again"
    store, folders = open_store(settings.store_target), dict[str, Path]()

    def serving() -> str:
        return first_served(settings).version

    def refit(version: str, keys: Sequence[UserKey]) -> Iterable[UserKey]:
        _check_collected(settings)
        if version not in folders:
            with catalog_of(settings) as catalog:
                folders[version] = catalog.registry.fetch(version)
        left = set[UserKey]()
        for tenant, of_tenant in groupby(sorted(keys), lambda key: key.tenant):
            report = replay_users(_from_store(settings, tenant), folders[version], store, of_tenant, SILENT)
            left |= report.left
        return left

    news, wanted = News(open_database(settings.store_target)), store.records.is_personalised
    return Refits(news, wanted, refit, serving, least, per_minute, time.monotonic, failed)


def _from_store(settings: Settings, tenant: str) -> Settings:
    data = settings.data.model_copy(update={"format": "store", "max_users": None})
    return settings.model_copy(update={"data": data, "tenant": tenant})


def _check_collected(settings: Settings) -> None:
    """Looks whether what the LLM was asked about users is here: without it, heads would forget it.

    Raises:
        HydraError: It is not.
    """
    if settings.fit.mode == "llm" and not settings.feedback_dir.is_dir():
        raise HydraError(
            f"feedback.dir: {settings.feedback_dir} is not on this machine, and heads that are fitted without it would "
            "forget what was collected: share the folder, set fit.mode: zero-call, or switch this off with "
            "fit.refit_items: null"
        )
