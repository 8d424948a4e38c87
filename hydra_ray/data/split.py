"""From users' dated records to a split: who is in it, what is asked, and what each query may see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from hydra_ray.data.errors import DataError
from hydra_ray.records import Dataset, HistoryItem, Message, Query, User, UserKey


class Record(NamedTuple):
    """One thing a user did, which becomes a history item or a query; the fields are as theirs."""

    input: str
    output: str
    ts: str | None = None
    item_id: str | None = None
    id: str | None = None
    turns: tuple[Message, ...] = ()


def before(ts: str | None, than: str | None) -> bool:
    """Whether what is dated `ts` may be known at `than`.

    Dates are compared as text. Equal ones do not count as before, nor does a year count as before its own
    months, or a day as before its own hours. An unknown date hides nothing.
    """
    return ts is None or than is None or (ts < than and not than.startswith(ts))


def surely_before(ts: str | None, than: str | None) -> bool:
    """As `before`, for what is somebody else's: what has no date may only be known where there is no date to keep."""
    return than is None or (ts is not None and before(ts, than))


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
    tenant: str = "default"

    def __post_init__(self) -> None:
        if self.name not in ("train", "dev"):
            raise DataError(f'data.split: records have the splits "train" and "dev", not "{self.name}".')

    def holds(self, user: str) -> bool:
        """Whether a user is in this split."""
        digest = blake2b(f"{self.seed}:{user}".encode(), digest_size=8).digest()
        return (int.from_bytes(digest, "big") < self.dev_share * 2**64) == (self.name == "dev")

    def dataset(self, users: Mapping[str, Sequence[Record]]) -> Dataset:
        """Each user's latest records as queries, with the history before them.

        A query sees the records before it: equal dates do not count as before. One record of every user stays
        history, so somebody with a single record has no query.

        Args:
            users: Records by user id, of users in this split; without dates they are in the order given. Those
                without an id get one of user and place.
        """
        golds: dict[str, str] = {}
        visible: dict[str, frozenset[str]] = {}
        people = []
        for name, unordered in users.items():
            records = sorted(unordered, key=lambda record: record.ts or "")
            ids = [record.id or f"{name}-{position}" for position, record in enumerate(records)]
            first_query = max(1, len(records) - self.queries_per_user)
            key = UserKey(self.tenant, name)
            history = tuple(
                HistoryItem(id_, record.input, record.output, record.ts, record.item_id)
                for id_, record in zip(ids[:first_query], records, strict=False)
            )
            queries = []
            for id_, record in zip(ids[first_query:], records[first_query:], strict=True):
                seen = frozenset(item.id for item in history if before(item.ts, record.ts))
                if len(seen) < len(history):
                    visible[id_] = seen
                golds[id_] = record.output
                queries.append(Query(id_, key, record.input, record.ts, record.item_id, record.turns))
            people.append(User(key, history, tuple(queries)))
        return Dataset(tuple(people), golds, visible)
