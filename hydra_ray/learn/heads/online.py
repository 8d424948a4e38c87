"""Learns from single feedback events and forgets single items, while the base serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from hydra_ray.learn.examples.features import encode_all
from hydra_ray.learn.examples.feedback_events import event_group
from hydra_ray.learn.heads.fitter import FitChoice, head_numbers, observations_by_item
from hydra_ray.models.base import ADAPTER, roles_for
from hydra_ray.models.heads import HEAD_KINDS, Head
from hydra_ray.models.heads.bases import Bases, BasisHeads
from hydra_ray.models.heads.descent import GradientFitted
from hydra_ray.models.heads.online import head_of
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.settings import Settings
from hydra_ray.store.connections.retry import again_where_lost
from hydra_ray.store.protocol import ObservationUpdate, Store
from hydra_ray.store.types import DeletedMeanwhileError, FeedbackEvent
from hydra_ray.tasks import Task

_NOTHING_TO_COMPARE = "there is nothing to compare the text with: send the candidates on offer"
# Kinds whose heads need `fit.min_groups`.
_NEED_GROUPS = {name for name, kind in HEAD_KINDS.items() if isinstance(kind, GradientFitted)}

Change = Literal["created", "updated", "removed", "unchanged", "at_next_fit"]


@dataclass(frozen=True, slots=True)
class Learnt:
    """Result of learning from one feedback event.

    Attributes:
        head: What became of the adapter's head.
        learnt: Whether the head knows the event now.
        note: Why it does not; empty where it does.
        kept: Whether the event is kept at all.
    """

    head: Change
    learnt: bool
    note: str = ""
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Result of forgetting one item.

    Attributes:
        found: Whether anything was known of the item.
        heads: What became of the heads, by role.
    """

    found: bool
    heads: dict[str, Change]


class OnlineLearner:
    """Keeps heads of kind `bases` at exactly what their users' observations gives; others stay as they were fitted.

    Args:
        store: Store of histories, heads and observations.
        version: Version of the base.
        task: Task that the base was trained for.
        scorer: Scorer of the adapter.
        settings: Say how newcomers' heads are fitted; give loss and seed.
    """

    def __init__(self, store: Store, version: str, task: Task, scorer: Scorer, settings: Settings) -> None:
        self._store, self._version, self._task, self._scorer = store, version, task, scorer
        self._kind = settings.fit.head.kind
        self._numbers = head_numbers(FitChoice(settings.fit))
        self._roles = roles_for(settings.method.rerank)
        self._loss, self._seed = settings.base.loss, settings.seed
        self._least_groups = settings.fit.min_groups
        # What has no candidates teaches the next fit as all of history does there.
        self._history_teaches = settings.fit.mode == "zero-call" or settings.data.format == "store"

    def learn(
        self, user: UserKey, event: FeedbackEvent, history: Sequence[HistoryItem], deletions: int | None = None
    ) -> Learnt:
        """Keeps a feedback event and learns from it what can be learnt now: all of it in one transaction.

        Args:
            user: User who said it.
            event: The event, with texts as the task's `parse` gives them.
            history: Items retrieved for the event's input, most relevant first, the event's own not among them.
            deletions: `Store.deletions` of the user when the event came in; None: it comes in now. An event of a user
                who was deleted since is dropped.
        """
        if deletions is None:
            deletions = self._store.deletions(user)
        event = replace(event, history=tuple(item.id for item in history), version=self._version)
        group = event_group(user, event, [item.output for item in history], self._task, self._seed)
        observed = None
        if group is not None and self._learns(self._store.head(user, self._version, ADAPTER)):
            # Encoded before the transaction, which others wait for.
            (observations_of,) = observations_by_item(self._scorer.heads, encode_all(self._scorer, [[group]]))
            observed = observations_of[event.item_id]
        try:
            return again_where_lost(lambda: self._update(user, event, group is not None, observed, deletions))
        except DeletedMeanwhileError:
            return Learnt("unchanged", False, "the user was deleted meanwhile: nothing of it is kept", kept=False)

    def _update(
        self, user: UserKey, event: FeedbackEvent, has_group: bool, observed: bytes | None, deletions: int
    ) -> Learnt:
        with self._store.updating_observations(user, self._version, ADAPTER, deletions) as update:
            if event.item is None:
                update.delete_item(event.item_id)
            else:
                update.append_history(event.item)
            update.put_event(event)
            old = update.head()
            if not self._learns(old):
                return self._at_next_fit(old, event, has_group)
            replaced = update.remove(event.item_id)
            if observed is not None:
                update.put(event.item_id, observed)
            head: Change = self._refit(update, old) if replaced or observed is not None else "unchanged"
            return Learnt(head, observed is not None, "" if observed is not None else _NOTHING_TO_COMPARE)

    def _at_next_fit(self, old: Head | None, event: FeedbackEvent, has_group: bool) -> Learnt:
        kind = self._kind if old is None else old.kind
        if not has_group and (event.item is None or not self._history_teaches):
            return Learnt("unchanged", False, _NOTHING_TO_COMPARE)
        note = f"heads of kind {kind} learn at the next refit (fit.refit_items) or hydra-ray fit"
        if kind in _NEED_GROUPS:
            note += f", of users who taught at least {self._least_groups} queries (fit.min_groups)"
        return Learnt("at_next_fit", False, note)

    def forget(self, user: UserKey, item_id: str) -> Forgotten:
        """Removes an item of a user's history with all observations of it, in whatever version and role.

        The item itself goes last: who is interrupted and forgets again finishes the work.
        """
        changed = self._unlearn_all(user, item_id)
        found = self._store.delete_item(user, item_id) or bool(changed)
        # A fit that read the item before may have written what it says in between; later ones are refused.
        changed |= self._unlearn_all(user, item_id)
        # Of a reranker that is not used there may be heads still.
        roles = (*self._roles, *(role for version, role in changed if version == self._version))
        return Forgotten(found, {role: changed.get((self._version, role)) or self._kept(user, role) for role in roles})

    def _unlearn_all(self, user: UserKey, item_id: str) -> dict[tuple[str, str], Change]:
        changed: dict[tuple[str, str], Change] = {}
        for version, role in self._store.observed_by(user, item_id):
            change = again_where_lost(partial(self._unlearn, user, version, role, item_id))
            if change is not None:
                changed[version, role] = change
        return changed

    def _unlearn(self, user: UserKey, version: str, role: str, item_id: str) -> Change | None:
        with self._store.updating_observations(user, version, role) as update:
            update.remove(item_id)
            old = update.head()
            return self._refit(update, old) if old is not None and old.kind == Bases.name else None

    def _kept(self, user: UserKey, role: str) -> Change:
        head = self._store.head(user, self._version, role)
        return "unchanged" if head is None or head.kind == Bases.name else "at_next_fit"

    def _learns(self, head: Head | None) -> bool:
        return (self._kind if head is None else head.kind) == Bases.name

    def _refit(self, update: ObservationUpdate, old: Head | None) -> Change:
        if old is None:
            common = self._scorer.heads.common(Bases.name)
            assert isinstance(common, BasisHeads)
            bases, about = len(common.scale), self._numbers
        else:
            bases, about = len(old.tensors["mean"]), old.about
        head = head_of(update.all(), bases, self._loss, about)
        update.put_head(head)
        if old is None:
            return "unchanged" if head is None else "created"
        return "removed" if head is None else "updated"
