"""Curves of hydra's score with less: with fewer candidates a query, or with fewer users in training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hydra_ray.bootstrap import Bootstrap, interval
from hydra_ray.evaluate.results import CurvePoint
from hydra_ray.evaluate.scoring.align import METHOD, align_runs
from hydra_ray.evaluate.scoring.metrics import prepare
from hydra_ray.evaluate.scoring.resampling import Samples
from hydra_ray.evaluate.scoring.scoreboard import Scoreboard


def by_candidates(scoreboard: Scoreboard) -> tuple[CurvePoint, ...]:
    """Return hydra's main metric as if only n of each query's N samples had been drawn: n is 1, 2, 4, ... and N.

    An item's statistics are the mean over draws (`redraw`). Samples that gave no candidate are drawn like others: N is
    the most votes that any query has. No gate is asked: the last point is what hydra-ungated answers by these samples.
    """
    aligned = scoreboard.aligned
    if METHOD not in aligned.rows:
        return ()
    samples = [
        Samples.of(row.answer.candidates if row and row.answer else (), aligned.task, aligned.hydra[seed])
        for row, seed in zip(aligned.rows[METHOD], aligned.seed_of, strict=True)
    ]
    most = max(int(one.votes.sum()) for one in samples)
    # Statistics of every candidate, and of no answer after each item's.
    texts = [[*one.texts, ""] for one in samples]
    golds = [gold for gold, own in zip(aligned.golds, texts, strict=True) for _ in own]
    scored = prepare(aligned.task, [text for own in texts for text in own], golds)
    of_item = np.split(scored, np.cumsum([len(own) for own in texts])[:-1])
    rng = np.random.default_rng(scoreboard.seed)
    points = []
    for n in _sizes(most):
        expected = [one.chosen(n, most, rng) @ own for one, own in zip(samples, of_item, strict=True)]
        values = scoreboard.main.value(scoreboard.bootstrap.sums(np.stack(expected)))
        points.append(CurvePoint(n, interval(values, len(aligned.asked))))
    return tuple(points)


def by_users(scoreboard: Scoreboard) -> tuple[CurvePoint, ...]:
    """Return hydra's main metric by how many users its base was trained on; empty without a run of fewer.

    A point is over the seeds that have such a run. The last one is that of the whole runs, where these say how many
    users they had.
    """
    aligned = scoreboard.aligned
    if not aligned.smaller:
        return ()
    points = []
    for x in sorted({record.train_users for record in aligned.smaller}):
        part = align_runs([record for record in aligned.smaller if record.train_users == x])
        bootstrap = Bootstrap(part.users, scoreboard.resamples, scoreboard.seed)
        values = scoreboard.main.value(bootstrap.sums(prepare(part.task, part.outputs(METHOD), part.golds)))
        points.append(CurvePoint(x, interval(values, len(part.asked))))
    whole = next(iter(aligned.hydra.values())).train_users
    if whole:
        points.append(CurvePoint(whole, interval(scoreboard.mains(METHOD), len(aligned.asked))))
    return tuple(points)


def _sizes(most: int) -> Iterator[int]:
    n = 1
    while n < most:
        yield n
        n *= 2
    if most:
        yield most
