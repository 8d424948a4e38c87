"""Fits the gate of a base that was just trained."""

from __future__ import annotations

import logging

from hydra_ray.learn.examples.training_data import TrainingData
from hydra_ray.learn.gate.rows import best_plain, gate_rows, judged_queries
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.models.gate import Gate
from hydra_ray.models.gate_fit import fit_gate
from hydra_ray.settings import Settings
from hydra_ray.steps.gating import FEATURES

log = logging.getLogger(__name__)


def train_gate(data: TrainingData, settings: Settings, encoder: TextsEncoder, seed: int) -> Gate | None:
    """Return the gate of a base; None where there can be none, which the log then says.

    Args:
        data: What the training users teach.
        settings: Settings of base, fit, method and gate.
        encoder: Encoder of the base's adapter.
        seed: Seed of the split of users, and of the trainings.
    """
    wanted = settings.gate
    if wanted.folds < 2:
        log.warning("no gate is trained (gate.folds is %d): hydra answers as hydra-ungated does", wanted.folds)
        return None
    if settings.base.encoder.trained_layers != 0:
        log.warning(
            "no gate is trained, since the encoder is (base.encoder.trained_layers) and has read all training users: "
            "hydra answers as hydra-ungated does"
        )
        return None
    if len(data.dataset.users) < wanted.folds:
        log.warning("no gate is trained: there are fewer users than gate.folds; hydra answers as hydra-ungated does")
        return None
    queries = list(judged_queries(data, settings, encoder, seed))
    if not queries:
        log.warning("no gate is trained: the LLM answered no training query; hydra answers as hydra-ungated does")
        return None
    plain = best_plain(data.task, queries)
    rows = gate_rows(data.task, queries, plain)
    among = len({one.ask.query.user for one in queries})
    gate = fit_gate(rows, plain, FEATURES, caution=wanted.caution, least_users=wanted.least_users, among=among)
    log.info(
        "gate: of %d training queries hydra's choice differs from %s in %d, of %d users",
        len(queries),
        plain,
        len(rows),
        gate.users,
    )
    if gate.is_closed:
        log.warning(
            "the gate lets nothing through: hydra answers as the plain method %s does (%d training users tell too "
            "little, or it gains too little); hydra-ungated always answers its own choice",
            plain,
            gate.users,
        )
    return gate
