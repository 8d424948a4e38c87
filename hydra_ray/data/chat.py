"""Reads conversations: {user_id, messages, output | accepted | edited, id?, ts?, item_id?} and their like."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hydra_ray.data.bad_records import BadRecords
from hydra_ray.data.conversation import CHATS, conversation
from hydra_ray.data.dataset import Dataset, LeftOut
from hydra_ray.data.dated import read_date
from hydra_ray.data.duplicates import AGAIN
from hydra_ray.data.errors import DataError, shown
from hydra_ray.data.fields import Fields
from hydra_ray.data.sources.read import read_source
from hydra_ray.data.split import Record, Split


def read_chat(path: Path | str, split: Split, skip_bad: float) -> Dataset:
    """Reads the users of one split.

    A query is the last thing that the user said in a conversation, with the messages before it as its turns. A history
    item keeps the last message and the answer: what was said before is not part of it.

    Args:
        path: A file, folder, glob or URI.
        split: Split that says who is in it, and which of their conversations become queries.
        skip_bad: How many bad records may be left out; below 1, which share.

    Raises:
        DataError: Names the file, the line (counted from 1) and the field that cannot be used.
    """
    bad = BadRecords(skip_bad)
    users: dict[str, list[Record]] = {}
    dated: dict[str, bool] = {}
    earliest: dict[str, tuple[str, int]] = {}
    for fields in read_source(path, "data.path", CHATS, bad):
        with bad.aside():
            name, record = fields.user(bad.left_out), _record(fields, bad.left_out)
            content = hash((name, record._replace(place="")))
            if record.id in earliest:
                earlier, first = earliest[record.id]
                if first != content:
                    raise fields.error(
                        f'has the id "{shown(record.id)}" of {earlier}. Ids must be unique within the file.',
                        "has the id of an earlier record",
                    )
                if split.holds(name):
                    bad.left_out.note(AGAIN, record.place)
                continue
            if dated.setdefault(name, record.ts is not None) != (record.ts is not None):
                raise fields.error(
                    f'{"has a" if record.ts else "has no"} "ts", unlike earlier ones of user "{shown(name)}". '
                    "Date all conversations of a user, or none: those without dates are in the file's order.",
                    f'{"has a" if record.ts else "has no"} "ts", unlike earlier ones of its user',
                )
            if record.id:
                earliest[record.id] = (record.place, content)
            if split.holds(name):
                users.setdefault(name, []).append(record)
    bad.settle(str(path))
    dataset = split.dataset(users, bad.left_out)
    ids = Counter(item.id for user in dataset.users for item in user.history)
    ids.update(query.id for user in dataset.users for query in user.queries)
    if twice := [identity for identity, count in ids.items() if count > 1]:
        # Only an id that looks like those made here for records without one.
        raise DataError(f'{path}: two records have the id "{shown(twice[0])}". Give ids of their own to all, or none.')
    return dataset


def _record(fields: Fields, left_out: LeftOut) -> Record:
    turns, last, answer, rejected = conversation(fields, left_out)
    # Empty ones count as absent: they identify and date nothing.
    identity, ts = fields.identity("id") or None, read_date(fields, "ts")
    return Record(last, answer, ts, fields.identity("item_id"), identity, turns, fields.place, rejected)
