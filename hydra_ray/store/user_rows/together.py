"""One user's records and the history that is there, brought together so that neither forgets the other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from hydra_ray.data.split import is_id_of_place
from hydra_ray.dates import in_order
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store.types import WHOLE_USER, MergeReport, Tombstone


def content_digest(key: UserKey, item: HistoryItem) -> str:
    """Return a digest of what a history item says, whatever its id; the texts cannot be read from it."""
    said = (*key, item.input, item.output, item.ts or "")
    return sha256("\0".join(said).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(slots=True)
class Deleted:
    """What was deleted of one user.

    Attributes:
        whole: Whether the user was.
        ids: Ids of deleted items.
        digests: Digests of what they said.
    """

    whole: bool = False
    ids: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)

    def holds(self, key: UserKey, item: HistoryItem) -> bool:
        """Return whether an item of the user's records was deleted.

        An id that was made of the item's place tells nothing: with one record more or less it is another item's.
        """
        by_id = item.id in self.ids and not is_id_of_place(item.id, key.user)
        return by_id or bool(self.digests and content_digest(key, item) in self.digests)


def deleted_by_user(tombstones: Iterable[Tombstone]) -> dict[UserKey, Deleted]:
    """Return what was deleted, by user."""
    found = dict[UserKey, Deleted]()
    for one in tombstones:
        deleted = found.setdefault(one.key, Deleted())
        if one.item == WHOLE_USER:
            deleted.whole = True
        else:
            deleted.ids.add(one.item)
            deleted.digests |= {one.digest} - {""}
    return found


@dataclass(frozen=True, slots=True)
class Merged:
    """One user's history, once both were brought together.

    Attributes:
        items: The items, in order.
        report: What became of them.
    """

    items: list[HistoryItem]
    report: MergeReport


def brought_together(
    key: UserKey,
    had: Sequence[HistoryItem],
    records: Sequence[HistoryItem],
    events: Collection[str],
    deleted: Deleted | None,
    replace: bool,
) -> Merged:
    """Bring one user's records together with the history that is there.

    Items of the records are added or updated by id. What came online stays, and of an item that a feedback event is
    about the event's word counts: a rejected one is not added again. A record of what is there under another id, since
    it came online before or was numbered otherwise, is not there twice. New items stand where their dates say; where
    all are later than what is there, the history only grows.

    Args:
        key: The user.
        had: History that is there, in order.
        records: Items of the records, in order, with ids that differ.
        events: Ids of the user's feedback events.
        deleted: What was deleted of the user; None is nothing.
        replace: Whether the records take the place of all that is there, feedback events included. What was deleted
            stays away in any case.
    """
    if deleted is not None and deleted.whole:
        return Merged(list(had), MergeReport(deleted_users=1))
    allowed = [item for item in records if deleted is None or not deleted.holds(key, item)]
    left_out, known = len(records) - len(allowed), {item.id: item for item in had}
    if replace:
        gone = len(known.keys() - {item.id for item in allowed})
        lost = {key: gone + len(events)} if gone or events else {}
        about = MergeReport(removed=gone, events=len(events), losers=lost)
        return _counted(had, allowed, allowed, left_out, about)
    allowed = _not_there(key, had, [item for item in allowed if item.id not in events], known)
    newer, contents = {item.id: item for item in allowed}, {_content(item) for item in allowed}
    stays = [
        item
        for item in had
        if item.id in newer or not (is_id_of_place(item.id, key.user) and _content(item) in contents)
    ]
    kept = sum(item.id not in newer for item in stays)
    items = [newer.get(item.id, item) for item in stays] + [item for item in allowed if item.id not in known]
    if not kept:
        # The records' own order, which dates alone do not tell.
        items = allowed
    elif items != list(had):
        items = in_order(items, lambda item: item.ts)
    return _counted(had, items, allowed, left_out, MergeReport(kept=kept))


def _not_there(
    key: UserKey, had: Sequence[HistoryItem], records: Sequence[HistoryItem], known: Mapping[str, HistoryItem]
) -> list[HistoryItem]:
    """Return the records but for those of what came online, each of which stands for one record."""
    named, online = {item.id for item in records}, dict[tuple[str, str], list[HistoryItem]]()
    for item in had:
        if item.id not in named and not is_id_of_place(item.id, key.user):
            online.setdefault((item.input, item.output), []).append(item)
    kept = []
    for item in records:
        is_its_own = item.id in known and not is_id_of_place(item.id, key.user)
        alike = () if is_its_own else online.get((item.input, item.output), ())
        same = next((one for one in alike if one.ts is None or item.ts is None or one.ts == item.ts), None)
        if same is None:
            kept.append(item)
        else:
            online[item.input, item.output].remove(same)
    return kept


def _content(item: HistoryItem) -> tuple[str, str, str | None]:
    return item.input, item.output, item.ts


def _counted(
    had: Sequence[HistoryItem],
    items: list[HistoryItem],
    records: Sequence[HistoryItem],
    left_out: int,
    about: MergeReport,
) -> Merged:
    known = {item.id: item for item in had}
    added = sum(item.id not in known for item in records)
    updated = sum(item.id in known and item != known[item.id] for item in records)
    changed = int(items != list(had) or bool(about.losers))
    return Merged(items, about + MergeReport(changed, added, updated, deleted_items=left_out))
