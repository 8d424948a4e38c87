"""Fits heads of users whom the base has never seen: from settings to the store."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hydra_ray.fingerprint import fingerprint
from hydra_ray.learn.collect.job import collect_plan
from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.report import CollectReport
from hydra_ray.learn.examples.training_data import TrainingData, load_training_data
from hydra_ray.learn.heads.fitter import FitChoice, HeadFitter
from hydra_ray.learn.heads.pipeline import encoding, fit_shards, make_shards
from hydra_ray.learn.heads.progress import EncodeLines
from hydra_ray.learn.heads.tuned import load_tuned, tuned_file
from hydra_ray.logs import set_up_logging
from hydra_ray.models.base import ROLES
from hydra_ray.models.features import UserFeatures
from hydra_ray.models.heads import HeadModel, check_kind
from hydra_ray.progress import ProgressListener
from hydra_ray.records import UserKey
from hydra_ray.runtime.cluster import cluster
from hydra_ray.runtime.loading import check_task, chosen_users, put_histories
from hydra_ray.runtime.models import chosen_base, fetch_if_missing
from hydra_ray.runtime.progress import watch
from hydra_ray.settings import Settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.protocol import Store


@dataclass(frozen=True, slots=True)
class FitReport:
    """Report of a fit: for how many users heads were fitted, by role, and what was collected for it.

    Attributes:
        users: Number of chosen users.
        heads: Number of heads fitted now, by role.
        kept: Number of users, by role, whose history and settings are those of their last fit.
        collected: Report of the collection; None in mode zero-call.
    """

    users: int
    heads: dict[str, int]
    kept: dict[str, int]
    collected: CollectReport | None


def fit_users(settings: Settings, listener: ProgressListener) -> FitReport:
    """Fits heads of the chosen users on the trained base, from their history alone, and stores both.

    Users whose history, feedback and settings are those of their last fit keep their heads.

    Raises:
        HydraError: There is no base, or the data does not fit it.
        UnfinishedError: The LLM did not answer all that the heads are fitted from.
    """
    chosen = chosen_base(settings)
    base, version, known = chosen.folder, chosen.version, chosen.task
    task, dataset = chosen_users(settings)
    check_task(known, task)
    for role in ROLES:
        # Before anything is asked of an LLM.
        check_kind(base / role, settings.fit.head.kind)
    with cluster(settings.ray):
        examples, collected = list[Example](), None
        if settings.fit.mode == "llm":
            examples, collected = collect_plan(settings, task, dataset, listener)
            collected.check()
        data = load_training_data(settings, task, dataset, examples)
        store = open_store(settings.store_url)
        if settings.data.format != "store":
            # What is read from the store may have grown meanwhile.
            put_histories(store, dataset)
        fitted, kept = dict.fromkeys(ROLES, 0), dict.fromkeys(ROLES, 0)
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
            for shard, heads in stack.enter_context(contextlib.closing(fit_shards(shards, data, how, fit))):
                fingerprints = dict(shard.users)
                data_of = {one.user: one.observations for one in heads}
                store.put_observations(version, shard.role, {key: data_of.get(key, {}) for key in fingerprints})
                # Heads last: their fingerprints say that all is there. Who teaches too little gets the shared answer.
                found = {one.user: one.head for one in heads}
                store.put_heads(version, shard.role, {key: found.get(key) for key in fingerprints}, fingerprints)
                fitted[shard.role] += len(heads)
                bar.update(lines[shard.role], advance=len(shard.users), note=f"{fitted[shard.role]} heads")
        store.close()
        # Features are the users' data: they stay only for as long as a killed fit may want them.
        shutil.rmtree(folder, ignore_errors=True)
    return FitReport(len(dataset.users), fitted, kept, collected)


def changed_users(data: TrainingData, role: str, store: Store, version: str, settings: Settings) -> dict[UserKey, str]:
    """Users whose head is missing or was fitted from something else, with the fingerprints of what they teach now."""
    # Tuned settings are looked at as a whole: whose cohort changed is not known before features are there.
    path = tuned_file(settings.model_dir, version)
    tuned = path.read_text() if settings.fit.tuned and path.exists() else ""
    how = settings.fit.model_dump_json(exclude={"mode", "users_per_batch", "users_per_shard", "encoders"}) + tuned
    had = store.head_fingerprints(version, role)
    fingerprints = {user.key: fingerprint(data.fingerprint(role, user), how) for user in data.dataset.users}
    return {key: now for key, now in fingerprints.items() if had.get(key) != now}


def make_fitter(settings: Settings, version: str, model: HeadModel, role: str) -> HeadFitter:
    """Make what fits heads: as settings say, or as a search found for the user's cohort where there was one."""
    tuned = load_tuned(tuned_file(settings.model_dir, version)).get(role) if settings.fit.tuned else None
    default = FitChoice(settings.fit)

    def choose(features: UserFeatures) -> FitChoice:
        return tuned.choose(features, settings.fit) if tuned else default

    return HeadFitter(model, choose, settings.base.loss)


def _load_fitter(settings: Settings, version: str, base: Path, role: str) -> HeadFitter:
    set_up_logging(settings.logging)
    fetch_if_missing(base, settings.registry_url, settings.registry_cache)
    return make_fitter(settings, version, HeadModel.load(base / role), role)
