"""Fits heads of users whom the base has never seen: from settings to the store."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hydra_ray.data.user_source import HeldUsers, UserSource
from hydra_ray.learn.collect.job import collect_plan
from hydra_ray.learn.collect.report import CollectReport
from hydra_ray.learn.collect.rows_by_user import RowsByUser
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.learn.heads.fitter import HeadFitter
from hydra_ray.learn.heads.pipeline import FittedShard, encoding, fit_shards
from hydra_ray.learn.heads.progress import EncodeLines
from hydra_ray.learn.heads.shards import plan_fit
from hydra_ray.learn.heads.stored_users import fitted_users, read_users
from hydra_ray.learn.heads.todo import head_fingerprints_of, make_fitter
from hydra_ray.learn.heads.training_reader import TrainingReader
from hydra_ray.logs import set_up_logging
from hydra_ray.models.heads import HeadModel, check_kind
from hydra_ray.progress import ProgressListener
from hydra_ray.records import HydraError, UserKey
from hydra_ray.runtime.cluster import cluster
from hydra_ray.runtime.loading import check_task, chosen_source, put_histories
from hydra_ray.runtime.models import chosen_base, fetch_if_missing, used_roles
from hydra_ray.runtime.progress import watch
from hydra_ray.runtime.users.store_users import StoreUsers, paged
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
    # With absolute paths: workers read, too.
    settings = settings.anchored()
    task, users = chosen_source(settings)
    check_task(known, task)
    roles = used_roles(settings, chosen.manifest)
    for role in roles:
        # Before anything is asked of an LLM.
        check_kind(base / role, settings.fit.head.kind)
    with cluster(settings.ray):
        store, merged = open_store(settings.store_target), None
        if isinstance(users, HeldUsers):
            # What is read from the store may have grown meanwhile.
            merged = put_histories(store, users.dataset, replace_histories)
        if settings.users in ("train", "dev"):
            users = _with_who_said_something(users, store, settings.tenant)
        # Features and feedback are the users' data: they stay only for as long as a killed fit may want them.
        folder = (settings.out / f"features-{version}").resolve()
        reader, collected = TrainingReader(settings, task, users, None, None), None
        if settings.fit.mode == "llm":
            plan, collected = collect_plan(settings, task, users, listener)
            collected.check()
            if len(plan):
                rows = RowsByUser.made(folder / "feedback.db", FeedbackStore(settings.feedback_dir))
                reader = TrainingReader(settings, task, users, rows, plan.by_user())
        todo = plan_fit(reader, head_fingerprints_of(settings, version), store, version, roles)
        reader.close()
        fitted, left = dict.fromkeys(roles, 0), dict.fromkeys(roles, 0)
        # Shards are closed while Ray runs: what is under way ends with them.
        with listener.bars() as bar, contextlib.ExitStack() as stack:
            encoded = EncodeLines(bar, todo.shards.sizes)
            lines = {
                role: bar.add_task(f"Fitting heads of the {role}", total=len(users), completed=todo.kept[role], note="")
                for role in roles
            }
            fit = partial(_load_fitter, settings, version)
            how = encoding(settings, base, folder)
            stack.enter_context(watch(how.progress, encoded.show))
            encodings = stack.enter_context(_encodings(settings))
            for done in stack.enter_context(contextlib.closing(fit_shards(todo.shards, how, fit))):
                role, fingerprints = done.shard.role, dict(done.shard.users)
                stale = store.put_fitted(version, role, fitted_users(fingerprints, done.heads, done.seen))
                # Who changed before they were read, and who did after that.
                stale |= fingerprints.keys() - done.seen.keys()
                left[role] += len(stale)
                fitted[role] += sum(one.user not in stale for one in done.heads)
                _keep(encodings, done)
                bar.update(lines[role], advance=len(done.shard.users), note=f"{fitted[role]} heads")
        store.close()
        shutil.rmtree(folder, ignore_errors=True)
    return FitReport(len(users), fitted, todo.kept, collected, merged, todo.events, left)


@contextlib.contextmanager
def _encodings(settings: Settings) -> Iterator[EncodingStore | None]:
    """Encodings beside the histories, where settings want any."""
    if not settings.serve.store_encodings:
        yield None
        return
    with contextlib.closing(open_database(settings.store_target)) as database:
        yield EncodingStore(database)


def _keep(encodings: EncodingStore | None, done: FittedShard) -> None:
    if encodings is None:
        return
    try:
        encodings.put(done.encoder, done.encoded)
    except StoreError as error:
        # Heads are fitted all the same; who serves encodes what it does not find.
        log.warning("encodings of items are not kept: %s", error)


def _with_who_said_something(users: UserSource, store: Store, tenant: str) -> UserSource:
    if isinstance(users, StoreUsers):
        return users.joined(user for page in paged(store.users_with_events, tenant) for user in page)
    assert isinstance(users, HeldUsers)
    there = {user.key for user in users.dataset.users}
    said = (UserKey(tenant, user) for page in paged(store.users_with_events, tenant) for user in page)
    others = read_users(store, (key for key in said if key not in there))
    return HeldUsers(replace(users.dataset, users=(*users.dataset.users, *others.users.values())))


def _load_fitter(settings: Settings, version: str, base: Path, role: str) -> HeadFitter:
    set_up_logging(settings.logging)
    fetch_if_missing(base, settings.registry_url, settings.registry_cache)
    return make_fitter(settings, version, HeadModel.load(base / role), role)
