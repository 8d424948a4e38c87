"""Splits users' dated records: who is in a split, what is asked, and what each query may see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from hydra_ray.data.dataset import Dataset, LeftOut, User
from hydra_ray.data.dated import check_numbers
from hydra_ray.data.duplicates import Repeats
from hydra_ray.data.errors import DataError
from hydra_ray.dates import before, in_order
from hydra_ray.records import HistoryItem, Message, Query, UserKey


class Record(NamedTuple):
    """One thing a user did, which becomes a history item or a query; the fields are as theirs.

    Attributes:
        place: Where it was read, e.g. `records.jsonl, line 17`.
        rejected: Answer that the user would not have in place of the output; None where none is known.
    """

    input: str
    output: str
    ts: str | None = None
    item_id: str | None = None
    id: str | None = None
    turns: tuple[Message, ...] = ()
    place: str = ""
    rejected: str | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """One of the two splits of people, and how many of their records are asked.

    Attributes:
        name: "train" or "dev".
        queries_per_user: Most records of a user that become queries: the latest.
        dev_share: Share of users in split "dev", chosen by a hash of seed and user id, so that more data
            leaves everybody where they are.
        seed: Seed of the split.
        tenant: Tenant of all users.

    Raises:
        DataError: There is no split of this name.
    """

    name: str
    queries_per_user: int
    dev_share: float
    seed: int
    tenant: str

    def __post_init__(self) -> None:
        if self.name not in ("train", "dev"):
            raise DataError(f'data.split: records have the splits "train" and "dev", not "{self.name}".')

    def holds(self, user: str) -> bool:
        """Return whether a user is in this split."""
        digest = blake2b(f"{self.seed}:{user}".encode(), digest_size=8).digest()
        return (int.from_bytes(digest, "big") < self.dev_share * 2**64) == (self.name == "dev")

    def dataset(
        self, users: Mapping[str, Sequence[Record]], left_out: LeftOut | None = None, *, texts: bool = True
    ) -> Dataset:
        """Return each user's latest records as queries, with the history before them.

        A query sees the records before it: equal dates do not count as before. A record that repeats another
        (`Repeats`) is left out and counted; the earliest stays. One record of every user stays history, so somebody
        with a single record has no query.

        Args:
            users: Records by user id, of users in this split; without dates they are in the order given. Those
                without an id get one of user and place.
            left_out: What reading left out so far; repeated records are added to it.
            texts: Whether outputs are people's own texts, and not labels.

        Raises:
            DataError: A user's dates cannot be compared.
        """
        left_out = LeftOut() if left_out is None else left_out
        golds: dict[str, str] = {}
        rejected: dict[str, str] = {}
        visible: dict[str, frozenset[str]] = {}
        people = []
        for name, unordered in users.items():
            records = _distinct(name, unordered, left_out, texts)
            ids = [record.id or _id_of_place(name, position) for position, record in enumerate(records)]
            first_query = max(1, len(records) - self.queries_per_user)
            key = UserKey(self.tenant, name)
            history = tuple(
                HistoryItem(id_, record.input, record.output, record.ts, record.item_id, rejected=record.rejected)
                for id_, record in zip(ids[:first_query], records, strict=False)
            )
            queries = []
            for id_, record in zip(ids[first_query:], records[first_query:], strict=True):
                seen = frozenset(item.id for item in history if before(item.ts, record.ts))
                if len(seen) < len(history):
                    visible[id_] = seen
                golds[id_] = record.output
                if record.rejected is not None:
                    rejected[id_] = record.rejected
                queries.append(Query(id_, key, record.input, record.ts, record.item_id, record.turns))
            people.append(User(key, history, tuple(queries)))
        return Dataset(tuple(people), golds, visible, same_time=False, left_out=left_out, rejected=rejected)


def is_id_of_place(item_id: str, user: str) -> bool:
    """Return whether an id may have been made of user and place: another record may have it tomorrow."""
    return item_id.startswith(f"{user}-") and item_id[len(user) + 1 :].isdecimal()


def _id_of_place(user: str, position: int) -> str:
    return f"{user}-{position}"


def _distinct(user: str, records: Sequence[Record], left_out: LeftOut, texts: bool) -> list[Record]:
    """Return a user's records, oldest first, without repeated ones."""
    check_numbers(user, [record.ts for record in records])
    repeats, kept = Repeats[Record](texts), []
    for record in in_order(records, lambda record: record.ts):
        if found := repeats.earlier(record, record.turns):
            left_out.note(found[1], record.place)
        else:
            kept.append(record)
    return kept
