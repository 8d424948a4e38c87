"""Computes the heads of any version of the base anew from what is kept of users: history, and what they said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra_ray.data.dataset import Dataset
from hydra_ray.learn.collect.job import planned_examples
from hydra_ray.learn.examples.features import encode_all
from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.learn.examples.training_data import load_training_data
from hydra_ray.learn.heads.fitter import FittedHead
from hydra_ray.learn.heads.stored_users import read_users
from hydra_ray.learn.heads.todo import changed_users, make_fitter
from hydra_ray.models.base import read_about, roles_of
from hydra_ray.models.heads import check_kind
from hydra_ray.models.scorer import Scorer
from hydra_ray.progress import ProgressListener
from hydra_ray.records import UserKey
from hydra_ray.settings import Settings
from hydra_ray.store.protocol import Store
from hydra_ray.tasks import Task

# Who goes on talking while their heads are computed gets them after so many tries, or at the next replay.
_ROUNDS = 5


@dataclass(slots=True)
class ReplayReport:
    """Report of a replay.

    Attributes:
        version: Version of the base whose heads were computed.
        users: Number of users that were asked for.
        heads: Number of heads written, by role.
        kept: Number of users, by role, whose heads were up to date.
        left: Users who said or deleted something each time that their heads were computed: the next replay takes them
            up. Their heads are what they were.
    """

    version: str
    users: int
    heads: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    left: set[UserKey] = field(default_factory=set)


def replay_users(
    settings: Settings,
    base: Path,
    store: Store,
    keys: Iterable[UserKey],
    listener: ProgressListener,
) -> ReplayReport:
    """Computes observations and heads of some users for one version of the base, in this process, and stores them.

    They are what `fit` from the store gives, without any call of an LLM: for a user of whom nothing else is known, what
    learning from each event online on that version would have given, in whatever order. Users whose heads are up to
    date are not computed again, so a second replay takes up just what came since the first. It may run while the
    version, or another one, is served.

    Args:
        settings: Say how heads are fitted, and where collected feedback is.
        base: Folder of the version's base.
        store: Store of histories, events and heads.
        keys: Users; who is unknown to the store gets no head.
        listener: Shows how far it is.

    Raises:
        HydraError: The base has no part for heads of the kind that settings say, no reranker where they want one, or is
            damaged.
    """
    version, task, there = read_about(base)
    roles = roles_of(version, there, rerank=settings.method.rerank)
    for role in roles:
        check_kind(base / role, settings.fit.head.kind)
    # Golds are in records alone, and never in the store.
    settings = settings.model_copy(update={"users": "dev"})
    users = sorted(set(keys))
    report = ReplayReport(version, len(users), dict.fromkeys(roles, 0), dict.fromkeys(roles, 0))
    with listener.bars() as bars:
        replay = _Replay(settings, base, task, store, report)
        for role in roles:
            line = bars.add_task(f"Heads of the {role} of {version}", total=len(users), note="")
            left = users
            for _ in range(_ROUNDS):
                left = replay.role(role, left, lambda done, line=line: bars.update(line, advance=done))  # type: ignore[misc]
                if not left:
                    break
            report.left.update(left)
    return report


@dataclass(frozen=True, slots=True)
class _Replay:
    """What all users of a replay share."""

    settings: Settings
    base: Path
    task: Task
    store: Store
    report: ReplayReport

    def role(self, role: str, users: Sequence[UserKey], advance: Callable[[int], None]) -> list[UserKey]:
        """Compute one role's heads; return the users who said or deleted something meanwhile."""
        stored = read_users(self.store, users)
        dataset = Dataset(tuple(stored.users.values()), pairs=self.task.pairs)
        examples = planned_examples(self.settings, self.task, dataset) if self.settings.fit.mode == "llm" else []
        data = load_training_data(self.settings, self.task, dataset, examples, stored.events)
        changed = changed_users(data, role, self.store, self.report.version, self.settings)
        self.report.kept[role] += len(users) - len(changed)
        advance(len(users) - len(changed))
        groups = {key: data.groups(role, stored.users[key]) for key in sorted(changed)}
        fit = self._fitter(role, groups) if any(groups.values()) else None
        stale = set[UserKey]()
        for some in _batches(list(groups), self.settings.fit.users_per_batch):
            # Who teaches nothing gets no head, and so the shared answer.
            with_groups = [key for key in some if groups[key]]
            heads = fit(with_groups) if fit is not None and with_groups else []
            fitted = stored.fitted({key: changed[key] for key in some}, heads)
            unwritten = self.store.put_fitted(self.report.version, role, fitted)
            stale |= unwritten
            self.report.heads[role] += sum(one.user not in unwritten for one in heads)
            advance(len(some) - len(unwritten))
        return sorted(stale)

    def _fitter(
        self, role: str, groups: Mapping[UserKey, Sequence[RankingGroup]]
    ) -> Callable[[Sequence[UserKey]], list[FittedHead]]:
        scorer = Scorer.load(self.base / role, self.settings.base.encoder.computing)
        fitter = make_fitter(self.settings, self.report.version, scorer.heads, role)

        def fit(keys: Sequence[UserKey]) -> list[FittedHead]:
            features = encode_all(scorer, [groups[key] for key in keys])
            return list(fitter(zip(keys, features, strict=True)))

        return fit


def _batches(keys: Sequence[UserKey], size: int) -> Iterator[Sequence[UserKey]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
