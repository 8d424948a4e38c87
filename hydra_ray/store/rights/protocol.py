"""The port of what users may ask of their own rows: to see them, to move them, and not to be personalised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from hydra_ray.records import UserKey

# A row without tenant and user: values by column, as the database gives them.
Row = Mapping[str, Any]


# Tables whose rows outlive their user: they say that there is nothing, and keep it so.
OUTLIVE = frozenset({"tombstones"})


class HeadEntry(NamedTuple):
    """What is known of a head without a look into it.

    Attributes:
        version: Version of the base.
        role: Reranker or adapter.
        written_at: Seconds since 1970 at which it was written; None where that was before times were kept.
    """

    version: str
    role: str
    written_at: float | None


class StoredItem(NamedTuple):
    """Date of something that a user did or said, as retention needs it.

    Attributes:
        key: The user.
        item_id: Id of the history item or feedback event.
        ts: Date that it came with; None where it has none.
        stored_at: Seconds since 1970 at which it was first written; None where that was before times were kept.
    """

    key: UserKey
    item_id: str
    ts: str | None
    stored_at: float | None


class StoredText(NamedTuple):
    """One text of one row.

    Attributes:
        key: The user whom the row belongs to.
        table: Name of the table.
        column: Name of the column.
        text: The text.
    """

    key: UserKey
    table: str
    column: str
    text: str


class UserRecords(Protocol):
    """Rows of single users, from every table whose rows belong to one.

    Every method raises `StoreError` where the store does not answer.
    """

    def rows(self, key: UserKey) -> dict[str, list[Row]]:
        """Return all rows of exactly this user by table, of one moment; tables without any are empty lists."""

    def counts(self, key: UserKey) -> dict[str, int]:
        """Return the number of this user's rows by table, of one moment."""

    def put_rows(self, key: UserKey, tables: Mapping[str, Sequence[Row]]) -> dict[str, int]:
        """Write what `rows` gave, for a user of whom nothing is there; whoever reads sees all of it or nothing.

        Who was deleted is not any more.

        Returns:
            Number of rows written by table.

        Raises:
            HydraError: Something is known of the user already, or a table or column is none of ours.
        """

    def head_entries(self, key: UserKey) -> list[HeadEntry]:
        """Return what heads a user has, by version and role."""

    def is_personalised(self, key: UserKey) -> bool:
        """Return whether the user is to be answered in their own way; so is everybody who never said otherwise."""

    def personalise(self, key: UserKey, wanted: bool) -> None:
        """Switch a user's personalisation on or off; it holds from the next call of `is_personalised` on."""

    def users(self) -> list[UserKey]:
        """Return all users of whom any row is known, of all tenants, in order of their keys."""

    def stored_items(self) -> list[StoredItem]:
        """Return the dates of all that users of all tenants did or said, in order of their keys."""

    def texts(self) -> Iterator[StoredText]:
        """Yield every text of every row of all tenants, but for users' keys."""

    def compact(self) -> None:
        """Have nothing of what was deleted left in the store's files, as far as the database can.

        Raises:
            StoreError: Others use the store.
        """
