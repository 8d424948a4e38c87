"""What a user did elsewhere, told by a client: items that are added to the history, each once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from hydra_ray.models.base import ADAPTER
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.serve.http.errors import RequestError
from hydra_ray.serve.http.ids import Dated, StoredText, storable
from hydra_ray.serve.http.messages import Lenient
from hydra_ray.store.connections.retry import again_where_lost
from hydra_ray.store.protocol import Store
from hydra_ray.tasks import Task

# Written in one transaction, which others wait for.
_MOST = 500


class PastItem(Lenient):
    """One thing that a user did; fields as `records.HistoryItem` says."""

    model_config = ConfigDict(extra="forbid")

    id: StoredText
    input: StoredText
    output: StoredText
    ts: Dated | None = None
    item_id: StoredText | None = None
    context: Annotated[str, AfterValidator(storable)] = ""
    rejected: StoredText | None = None


class History(Lenient):
    """Items of a history: a list of them, or one alone in place of the list.

    Attributes:
        items: The items, oldest first.
    """

    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[PastItem], Field(min_length=1, max_length=_MOST)]

    @model_validator(mode="before")
    @classmethod
    def _one_is_a_list(cls, body: Any) -> Any:
        return {"items": [body]} if isinstance(body, dict) and "items" not in body else body

    @model_validator(mode="after")
    def _each_is_there_once(self) -> History:
        ids = [item.id for item in self.items]
        if twice := next((one for one in ids if ids.count(one) > 1), None):
            raise PydanticCustomError("twice", f"two items have the id {twice!r}")
        return self

    def read(self, task: Task) -> list[HistoryItem]:
        """Return the items with texts as the task reads them.

        Raises:
            RequestError: An item has no text beside the instruction, or an answer that the task does not allow.
        """
        return [self._item(place, one, task) for place, one in enumerate(self.items)]

    def _item(self, place: int, one: PastItem, task: Task) -> HistoryItem:
        text, output, rejected = one.input, one.output, one.rejected
        if task.pairs:
            text, output = task.query_text(one.input), task.parse(one.output) or one.output
            if not text:
                field = f"items[{place}].input"
                raise RequestError(f"{field}: there is no text beside the instruction", field)
            if task.closed and task.parse(one.output) is None:
                field = f"items[{place}].output"
                known = ", ".join(task.labels)
                raise RequestError(f"{field}: {one.output!r} is not among the allowed answers: {known}", field)
            rejected = rejected and (task.parse(rejected) or rejected)
        if rejected == output:
            field = f"items[{place}].rejected"
            raise RequestError(f"{field}: it is the output itself; leave it out", field)
        return HistoryItem(one.id, text, output, one.ts, one.item_id, one.context, rejected)


def put_items(store: Store, key: UserKey, items: Sequence[HistoryItem], version: str, deletions: int) -> dict[str, int]:
    """Add items to a user's history, in one transaction; one that is there already as it is stays where it is.

    Args:
        store: Store of users.
        key: User.
        items: Items, oldest first.
        version: Version of the base that serves.
        deletions: How often the user was deleted when the items came.

    Returns:
        How many items were added, updated and unchanged.

    Raises:
        RequestError: What feedback says of an item is another thing (409).
        DeletedMeanwhileError: The user was deleted since.
    """
    said = {event.item_id for event in store.feedback_events([key]).get(key, ())}

    def put() -> dict[str, int]:
        known = {item.id: item for item in store.history(key)}
        new = [item for item in items if known.get(item.id) != item]
        if clash := next((item.id for item in new if item.id in said), None):
            message = f"id: what {clash!r} says was said by feedback: say it again there, or take another id"
            raise RequestError(message, "id", "said_by_feedback", 409)
        if new:
            with store.updating_observations(key, version, ADAPTER, deletions) as update:
                for item in new:
                    update.append_history(item)
        updated = sum(item.id in known for item in new)
        return {"added": len(new) - updated, "updated": updated, "unchanged": len(items) - len(new)}

    return again_where_lost(put)
