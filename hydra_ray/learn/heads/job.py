"""Fits heads of users whom the base has never seen: from settings to the store."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hydra_ray.data.dataset import Dataset
from hydra_ray.learn.collect.job import collect_plan
from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.report import CollectReport
from hydra_ray.learn.examples.training_data import load_training_data
from hydra_ray.learn.heads.fitter import HeadFitter
from hydra_ray.learn.heads.pipeline import FittedShard, ItemsToKeep, encoding, fit_shards, make_shards
from hydra_ray.learn.heads.progress import EncodeLines
from hydra_ray.learn.heads.stored_users import read_users
from hydra_ray.learn.heads.todo import changed_users, make_fitter
from hydra_ray.logs import set_up_logging
from hydra_ray.models.base import ROLES
from hydra_ray.models.heads import HeadModel, check_kind
from hydra_ray.progress import ProgressListener
from hydra_ray.records import HydraError, UserKey
from hydra_ray.runtime.cluster import cluster
from hydra_ray.runtime.loading import check_task, chosen_users, put_histories
from hydra_ray.runtime.models import chosen_base, fetch_if_missing
from hydra_ray.runtime.progress import watch
from hydra_ray.settings import Settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.protocol import Store
from hydra_ray.store.schema import open_database
from hydra_ray.store.types import MergeReport, StoreError
from hydra_ray.store.user_rows.encodings import EncodingStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FitReport:
    """Report of a fit: for how many users heads were fitted, by role, and what was collected for it.

    Attributes:
        users: Number of users whose heads were looked at: the chosen ones, and those with feedback events.
        heads: Number of heads fitted now, by role.
        kept: Number of users, by role, whose history and settings are those of their last fit.
        collected: Report of the collection; None in mode zero-call.
        merged: What became of the records in the store; None where users were read from there.
        events: Number of feedback events that were joined.
        left: Number of heads, by role, that were left as they are, since their users said or deleted something
            meanwhile: the next fit takes them up.
    """

    users: int
    heads: dict[str, int]
    kept: dict[str, int]
    collected: CollectReport | None
    merged: MergeReport | None = None
    events: int = 0
    left: Mapping[str, int] = field(default_factory=dict)


def fit_users(settings: Settings, listener: ProgressListener, replace_histories: bool = False) -> FitReport:
    """Fits heads of the chosen users on the trained base, from history and from what they said of answers.

    Records are merged into the store's histories first. With the splits `train` and `dev`, everybody of the tenant who
    said something of an answer is fitted as well, whether the records have them or not. Users whose history, feedback
    and settings are those of their last fit keep their heads.

    Args:
        settings: All of them.
        listener: Shows how far the job is.
        replace_histories: Whether records take the place of histories and feedback events of the chosen users.

    Raises:
        HydraError: There is no base, the data does not fit it, or there are no records to replace histories with.
        UnfinishedError: The LLM did not answer all that the heads are fitted from.
    """
    if replace_histories and settings.data.format == "store":
        raise HydraError(
            "--replace: data.format store has no records that could replace histories; name the records' format"
        )
    chosen = chosen_base(settings)
    base, version, known = chosen.folder, chosen.version, chosen.task
    task, dataset = chosen_users(settings)
    check_task(known, task)
    for role in ROLES:
        # Before anything is asked of an LLM.
        check_kind(base / role, settings.fit.head.kind)
    with cluster(settings.ray):
        store, merged = open_store(settings.store_target), None
        if settings.data.format != "store":
            # What is read from the store may have grown meanwhile.
            merged = put_histories(store, dataset, replace_histories)
        if settings.users in ("train", "dev"):
            dataset = _with_who_said_something(dataset, store, settings.tenant)
        examples, collected = list[Example](), None
        if settings.fit.mode == "llm":
            examples, collected = collect_plan(settings, task, dataset, listener)
            collected.check()
        stored = read_users(store, [user.key for user in dataset.users])
        # The LLM was asked about the records alone, so that nothing that is said changes what it is asked.
        dataset = replace(dataset, users=tuple(map(stored.whole, dataset.users)))
        data = load_training_data(settings, task, dataset, examples, stored.events)
        fitted, kept = dict.fromkeys(ROLES, 0), dict.fromkeys(ROLES, 0)
        left = dict.fromkeys(ROLES, 0)
        shards = []
        for role in ROLES:
            changed = changed_users(data, role, store, version, settings)
            kept[role] = len(dataset.users) - len(changed)
            shards += make_shards(role, changed, settings.fit.users_per_shard)
        # Shards are closed while Ray runs: what is under way ends with them.
        with listener.bars() as bar, contextlib.ExitStack() as stack:
            encoded = EncodeLines(bar, shards)
            lines = {
                role: bar.add_task(
                    f"Fitting heads of the {role}", total=len(dataset.users), completed=kept[role], note=""
                )
                for role in ROLES
            }
            fit = partial(_load_fitter, settings, version)
            folder = (settings.out / f"features-{version}").resolve()
            how = encoding(settings, base, folder)
            stack.enter_context(watch(how.progress, encoded.show))
            encodings = stack.enter_context(_encodings(settings))
            items = _to_keep(settings, encodings, {key for shard in shards for key, _ in shard.users})
            for done in stack.enter_context(contextlib.closing(fit_shards(shards, data, how, fit, items))):
                shard = done.shard
                stale = store.put_fitted(version, shard.role, stored.fitted(dict(shard.users), done.heads))
                left[shard.role] += len(stale)
                fitted[shard.role] += sum(one.user not in stale for one in done.heads)
                _keep(encodings, done)
                bar.update(lines[shard.role], advance=len(shard.users), note=f"{fitted[shard.role]} heads")
        store.close()
        # Features are the users' data: they stay only for as long as a killed fit may want them.
        shutil.rmtree(folder, ignore_errors=True)
    events = sum(map(len, stored.events.values()))
    return FitReport(len(dataset.users), fitted, kept, collected, merged, events, left)


@contextlib.contextmanager
def _encodings(settings: Settings) -> Iterator[EncodingStore | None]:
    """Encodings beside the histories, where settings want any."""
    if not settings.serve.store_encodings:
        yield None
        return
    with contextlib.closing(open_database(settings.store_target)) as database:
        yield EncodingStore(database)


def _to_keep(settings: Settings, encodings: EncodingStore | None, users: Collection[UserKey]) -> ItemsToKeep | None:
    if encodings is None:
        return None
    return ItemsToKeep(settings.method.allowed_answers, encodings.kept(users))


def _keep(encodings: EncodingStore | None, done: FittedShard) -> None:
    if encodings is None:
        return
    try:
        encodings.put(done.encoder, done.encoded)
    except StoreError as error:
        # Heads are fitted all the same; who serves encodes what it does not find.
        log.warning("encodings of items are not kept: %s", error)


def _with_who_said_something(dataset: Dataset, store: Store, tenant: str) -> Dataset:
    there = {user.key for user in dataset.users}
    others = read_users(store, (key for key in store.feedback_events_of_tenant(tenant) if key not in there))
    return replace(dataset, users=(*dataset.users, *others.users.values()))


def _load_fitter(settings: Settings, version: str, base: Path, role: str) -> HeadFitter:
    set_up_logging(settings.logging)
    fetch_if_missing(base, settings.registry_url, settings.registry_cache)
    return make_fitter(settings, version, HeadModel.load(base / role), role)
