"""Trains the shared base: from settings to base, heads and histories."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra_ray.learn.base.progress import TrainState
from hydra_ray.learn.base.shared_parts import fit_commons
from hydra_ray.learn.base.trainer import check_enough, fit_base
from hydra_ray.learn.examples.training_data import load_training_data
from hydra_ray.learn.gate.job import train_gate
from hydra_ray.models.base import ADAPTER, RERANKER, Base, roles_for
from hydra_ray.progress import ProgressListener
from hydra_ray.registry.catalog import set_alias
from hydra_ray.runtime.cluster import cluster
from hydra_ray.runtime.loading import load_data, put_histories
from hydra_ray.runtime.models import open_catalog, publish
from hydra_ray.settings import BaseSettings, Settings
from hydra_ray.store.aliases import CANDIDATE, PRODUCTION
from hydra_ray.store.backends import open_store
from hydra_ray.store.user_rows.gone import tombstones_of_users

# Of the time that a step takes in which a frozen encoder reads texts; measured on the demo's data.
_STEP_WITHOUT_READING = 0.1


@dataclass(frozen=True, slots=True)
class TrainReport:
    """Report of a training: the base's version with its alias, and what each role's epochs reported."""

    version: str
    users: int
    epochs: list[dict[str, Any]]
    groups: dict[str, int]
    alias: str


def train_base(settings: Settings, listener: ProgressListener) -> TrainReport:
    """Trains a base on the training users' feedback and publishes it, and stores heads and histories.

    Its roles are those that settings want: adapter, and reranker with `method.rerank`.

    The new version is served where none is; else it is the candidate, and what is served stays.

    Raises:
        HydraError: There is too little feedback, or training failed.
    """
    task, dataset = load_data(settings, "train")
    roles = roles_for(settings.method.rerank)
    data = load_training_data(settings.model_copy(update={"users": "train"}), task, dataset, None)
    by_user = {role: {user.key: data.groups(role, user) for user in dataset.users} for role in roles}
    groups = {role: [group for own in by_user[role].values() for group in own] for role in roles}
    for role in roles:
        check_enough(role, groups[role], settings.base)
    users, keys = open_store(settings.store_target), [user.key for user in dataset.users]
    deleted_before = tombstones_of_users(users, keys)
    seed = settings.seed if settings.base.seed is None else settings.base.seed
    with cluster(settings.ray), listener.bars() as bar:
        lines = {
            role: bar.add_task(f"Training the {role}", total=None, note=f"{len(groups[role])} groups") for role in roles
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
            storage=settings.base.checkpoints or settings.model_dir / "training",
            show=show,
        )
    with listener.bars() as bar:
        for role in roles:
            line = bar.add_task(f"Fitting what heads of the {role} share", total=None, note="texts encoded")

            def encoded(done: int, total: int, line: Any = line) -> None:
                bar.update(line, completed=done, total=total)

            fit_commons(fitted.roles[role].scorer, by_user[role], settings.base.loss, seed, encoded)
    gate = train_gate(data, settings, fitted.roles[ADAPTER].scorer.encoder, seed)
    scorers = {role: fitted.roles[role].scorer for role in roles}
    base = Base(uuid.uuid4().hex[:12], task, scorers.get(RERANKER), scorers[ADAPTER], gate)
    catalog = open_catalog(settings)
    publish(catalog, base, settings, keys, _last_metrics(fitted.state.epochs))
    put_histories(users, dataset)
    # Training takes long: what it learnt of who was deleted meanwhile must not come back, even if they did.
    gone = {stone.key for stone in tombstones_of_users(users, keys) - deleted_before}
    for role in roles:
        heads = {key: head for key, head in fitted.roles[role].heads.items() if key not in gone}
        users.put_heads(base.version, role, heads)
    users.close()
    # Aliases last: whoever follows one finds base and heads.
    alias = PRODUCTION if catalog.serve_first(base.version, "train") else CANDIDATE
    if alias == CANDIDATE:
        set_alias(catalog, CANDIDATE, base.version, "train")
    catalog.close()
    counts = {role: len(groups[role]) for role in roles}
    return TrainReport(base.version, len(dataset.users), fitted.state.epochs, counts, alias)


def _last_metrics(epochs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return what each role's last epoch reported, numbers only."""
    return {
        str(epoch["role"]): {name: float(value) for name, value in epoch.items() if isinstance(value, int | float)}
        for epoch in epochs
    }


def course(epoch: int, step: int, steps: int, base: BaseSettings) -> tuple[float, float]:
    """Return how much of a role's training is done and how much there is in all, in steps of the first epoch.

    A frozen encoder reads its texts in the first epoch; after that a step takes next to nothing, and the time left is
    told by the bar's speed.

    Args:
        epoch: Epoch under way, from 0.
        step: Steps done in it.
        steps: Steps that one epoch takes.
        base: Settings that say how many epochs there are, and whether the encoder is frozen.
    """
    later = _STEP_WITHOUT_READING if base.encoder.trained_layers == 0 else 1.0
    done = step if epoch == 0 else steps + ((epoch - 1) * steps + step) * later
    return done, steps + (base.epochs - 1) * steps * later
