"""Rows that a gate is fitted on: what a base chooses for users whom it has not seen, against plain answers."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from hydra_ray.data.dataset import User
from hydra_ray.learn.base.in_process import train_adapter_here
from hydra_ray.learn.collect.rows import AdapterRow
from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.learn.examples.training_data import TrainingData
from hydra_ray.learn.heads.fitter import fit_heads_here
from hydra_ray.models.base import ADAPTER
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.models.gate_fit import GateRow
from hydra_ray.models.heads import Head
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import Candidate, Query, Source, UserKey
from hydra_ray.settings import Settings
from hydra_ray.steps.adapt import Adapter, AdaptRequest, with_allowed
from hydra_ray.steps.gating import VOTE, gate_features, plain_answers
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.tasks import Task

# Share of a user's collected queries, the latest, that are judged; the head is fitted on all that is left.
_JUDGED_SHARE = 0.5
# One user in so many is judged without a head of their own, as those are whose heads are not fitted yet.
_WITHOUT_HEAD = 4


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A training query with what competed for it, as a base judged it that knows nothing of its user.

    Attributes:
        ask: What the adapter was asked.
        judged: Candidates, hydra's choice first.
        plain: Plain answers by name.
        gold: The user's own answer.
    """

    ask: AdaptRequest
    judged: Sequence[Candidate]
    plain: dict[str, Candidate]
    gold: str


def judged_queries(data: TrainingData, settings: Settings, encoder: TextsEncoder, seed: int) -> Iterator[JudgedQuery]:
    """Yield queries of training users, each judged by an adapter that was trained on users of other folds.

    Users' heads are fitted as `hydra-ray fit` fits them, on what is left of their groups without the judged ones.

    Args:
        data: What the training users teach.
        settings: Settings of base, fit, method and gate.
        encoder: Frozen encoder of the base's adapter, which keeps encodings.
        seed: Seed that users are split with, and of the trainings.
    """
    users = sorted(data.dataset.users, key=lambda user: stable_seed(seed, "gate", *user.key))
    groups = {user.key: data.groups(ADAPTER, user) for user in users}
    for fold in range(settings.gate.folds):
        held = users[fold :: settings.gate.folds]
        own = {user.key for user in held}
        others = {key: mine for key, mine in groups.items() if key not in own}
        if not any(others.values()):
            # All that teaches is of this fold's users: nobody can judge them.
            continue
        scorer = train_adapter_here(others, settings, encoder, seed + fold)
        yield from _judged(data, settings, scorer, held, groups)


def gate_rows(task: Task, queries: Sequence[JudgedQuery], plain: str) -> list[GateRow]:
    """Return a row for each query whose choice differs from the plain answer of that name; others tell nothing.

    Args:
        task: Task that scores answers.
        queries: Judged queries.
        plain: Name of the plain answer; queries without one are left out.
    """
    rows, score = [], task.score
    for one in queries:
        other = one.plain.get(plain)
        if other is None or other.text == one.judged[0].text:
            continue
        gain = score(one.judged[0].text, one.gold) - score(other.text, one.gold)
        rows.append(GateRow(one.ask.query.user, gain, gate_features(task, one.ask, one.judged, other)))
    return rows


def best_plain(task: Task, queries: Sequence[JudgedQuery]) -> str:
    """Return the name of the plain answer that is best on the queries' users, each of whom counts the same.

    It is the vote of all samples, unless another is better by more than a standard error over users: the best of the
    many plain answers of a mix is often the luckiest (the rule of Breiman et al., 1984, section 3.4.3).
    """
    gains: dict[str, dict[UserKey, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in queries:
        scores = {name: task.score(candidate.text, one.gold) for name, candidate in one.plain.items()}
        for name, score in scores.items():
            gains[name][one.ask.query.user].append(score - scores[VOTE])
    surely = {
        name: _less_an_error([sum(own) / len(own) for own in by_user.values()]) for name, by_user in gains.items()
    }
    best = max(surely, key=lambda name: surely[name])
    return best if surely[best] > 0 else VOTE


def _less_an_error(gains: Sequence[float]) -> float:
    """Return the mean of users' gains less its standard error; of one user nothing is known to be above 0."""
    if len(gains) < 2:
        return 0.0
    return mean(gains) - stdev(gains) / math.sqrt(len(gains))


def _judged(
    data: TrainingData,
    settings: Settings,
    scorer: Scorer,
    users: Sequence[User],
    groups: dict[UserKey, list[RankingGroup]],
) -> Iterator[JudgedQuery]:
    rows = {user.key: _latest(data, user) for user in users}
    left = {
        user.key: [group for group in groups[user.key] if group.key not in {row.key for row in rows[user.key]}]
        for user in users
    }
    with_head = {key: own for number, (key, own) in enumerate(left.items()) if number % _WITHOUT_HEAD}
    heads = fit_heads_here(with_head, scorer, settings)
    method = settings.method
    step = Adapter(scorer, method.vote_weight, data.task if method.decide == "expected" else None)
    for user in users:
        asks = [_ask(data, settings, row, heads.get(user.key)) for row in rows[user.key]]
        for row, ask, judged in zip(rows[user.key], asks, step(asks), strict=True):
            if plain := plain_answers(data.task, judged):
                yield JudgedQuery(ask, judged, plain, row.gold)


def _latest(data: TrainingData, user: User) -> list[AdapterRow]:
    """Return the latest of the user's queries for which the LLM was asked for candidates, real ones last."""
    place = {item.id: number for number, item in enumerate(user.history)}
    rows = [row for row in data.rows.adapter.get(user.key, ()) if row.candidates]
    rows = [row for row in rows if row.key.item_id is None or row.key.item_id in place]
    rows.sort(key=lambda row: place.get(row.key.item_id or "", len(place)))
    return rows[int(len(rows) * (1 - _JUDGED_SHARE)) :]


def _ask(data: TrainingData, settings: Settings, row: AdapterRow, head: Head | None) -> AdaptRequest:
    def sources(place: int) -> tuple[Source, ...]:
        if row.sources:
            return row.sources[place]
        # Of one prompt's answers the greedy one was asked for first.
        return (Source("", row.votes[place], greedy=settings.method.greedy and place == 0),)

    said = tuple(
        Candidate(text, votes, place, sources=sources(place))
        for place, (text, votes) in enumerate(zip(row.candidates, row.votes, strict=True))
    )
    competing = with_allowed(data.task, said, settings.method.allowed_answers)
    return AdaptRequest(Query(row.key.query_id, row.key.owner, row.query), competing, row.history, head)
