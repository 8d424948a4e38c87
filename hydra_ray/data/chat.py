"""Reads conversations {user_id, messages, output | accepted | edited, id?, ts?, item_id?} from JSONL."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hydra_ray.data.dated import read_date
from hydra_ray.data.duplicates import AGAIN
from hydra_ray.data.errors import DataError, Fields
from hydra_ray.data.jsonl import read_jsonl
from hydra_ray.data.split import Record, Split
from hydra_ray.records import Dataset, LeftOut, Message
from hydra_ray.tasks.free import ROLES

# What the user preferred: an answer of their own, one that they took, one that they changed.
_OUTPUTS = ("output", "accepted", "edited")
_NEEDS = (
    'Records need "user_id", "messages" that end with what the user said, and one of "output", "accepted" and "edited".'
)


def read_chat(path: Path, split: Split) -> Dataset:
    """Reads the users of one split.

    A query is the last message of a conversation, with the messages before it as its turns. A history item
    keeps the last message and the answer: what was said before is not part of it.

    Args:
        path: A .jsonl file, or a gzipped one.
        split: Who is in it, and which of their conversations become queries.

    Raises:
        DataError: Names the file, the line (counted from 1) and the field that cannot be used.
    """
    users: dict[str, list[Record]] = {}
    dated: dict[str, bool] = {}
    told: dict[str, tuple[str, int]] = {}
    left_out = LeftOut()
    for fields in read_jsonl(path, _NEEDS):
        name, record = fields.text("user_id"), _record(fields)
        if record.id:
            content = hash((name, record._replace(place="")))
            place, first = told.setdefault(record.id, (record.place, content))
            if place != record.place and first == content:
                if split.holds(name):
                    left_out.note(AGAIN, record.place)
                continue
            if place != record.place:
                raise fields.error(f'has the id "{record.id}" of {place}. Ids must be unique within the file.')
        if dated.setdefault(name, record.ts is not None) != (record.ts is not None):
            raise fields.error(
                f'{"has a" if record.ts else "has no"} "ts", unlike earlier ones of user "{name}". '
                "Date all conversations of a user, or none: those without dates are in the file's order."
            )
        if split.holds(name):
            users.setdefault(name, []).append(record)
    dataset = split.dataset(users, left_out)
    ids = Counter(item.id for user in dataset.users for item in user.history)
    ids.update(query.id for user in dataset.users for query in user.queries)
    if twice := [identity for identity, count in ids.items() if count > 1]:
        # Only an id that looks like those made here for records without one.
        raise DataError(f'{path.name}: two records have the id "{twice[0]}". Give ids of their own to all, or none.')
    return dataset


def _record(fields: Fields) -> Record:
    messages = [
        _message(Fields.of(value, f"{fields.place}: message {number}", 'Messages need "role" and "content".'))
        for number, value in enumerate(fields.rows("messages"), 1)
    ]
    if not messages or messages[-1].role != "user" or not messages[-1].content.strip():
        raise fields.error(f'has "messages" that end otherwise. {_NEEDS}')
    given = [name for name in _OUTPUTS if fields.values.get(name) is not None]
    if len(given) != 1:
        told = " and ".join(f'"{name}"' for name in given) or "none"
        raise fields.error(f"has {told} of the fields that hold the answer. {_NEEDS}")
    *turns, last = messages
    # Empty ones count as absent: they identify and date nothing.
    identity, ts = fields.optional("id") or None, read_date(fields, "ts")
    answer, item_id = fields.text(given[0]), fields.optional("item_id")
    return Record(last.content, answer, ts, item_id, identity, tuple(turns), fields.place)


def _message(fields: Fields) -> Message:
    role = fields.text("role")
    if role not in ROLES:
        raise fields.error(f'has the role "{role}". Roles are {", ".join(ROLES)}.')
    return Message(role, fields.text("content"))
