"""Reads LaMP's files: `<split>_questions.json` and `<split>_outputs.json`.

LaMP has two layouts. In the user-based one, questions are {id, input, profile}. In the time-based one,
questions have a `user_id` and profile items a `date`. On top of that, questions and items may have `ts`
(or `date`) and `item_id`: when a record was made, and what it is about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_ray.data.dated import check_numbers, read_date
from hydra_ray.data.duplicates import AGAIN, SEEN, Repeats, is_own_answer
from hydra_ray.data.errors import DataError, Fields, kind_of
from hydra_ray.dates import before, in_order
from hydra_ray.records import Dataset, HistoryItem, LeftOut, Query, User, UserKey
from hydra_ray.tasks import Task

# LaMP calls both its news and its movies so.
_OWN_NAMES = {"LaMP_2N": "LaMP_2", "LaMP_2M": "LaMP_2"}
_QUESTIONS = 'Questions need "id", "input" and "profile".'


@dataclass(frozen=True, slots=True)
class _Question:
    """One record of the questions file; `asked` is its input with the instruction."""

    fields: Fields
    id: str
    user: str
    asked: str
    ts: str | None
    profile: dict[str, HistoryItem]

    @property
    def item_id(self) -> str | None:
        """What the question is about."""
        return self.fields.optional("item_id")


def read_lamp(directory: Path, task: Task, split: str, tenant: str = "default") -> tuple[Task, Dataset]:
    """Reads one split of one task.

    Questions without `user_id` are a user each, as in LaMP itself. Those of one user share the union of
    their profiles, oldest first; items without dates keep their places in the files' order. A question sees its own
    profile only, and of that, where both are dated, only what is older than the question or of exactly its date: a
    profile is what its makers knew to be earlier. What is told twice is left out once, and items that are the question
    with its answer are hidden from it; both are counted.

    Args:
        directory: Folder of the files, or of folders named after tasks.
        task: A task of the registry.
        split: The files' prefix, e.g. "dev".
        tenant: Tenant of all users.

    Returns:
        The task with the instruction and labels that the questions carry, and the data; without an
        outputs file the data has no golds.

    Raises:
        DataError: Names the file, the record (counted from 1) and the field that cannot be used.
    """
    folders = (directory / name for name in (task.name, _OWN_NAMES.get(task.name, task.name)))
    folder = next((folder for folder in folders if folder.is_dir()), directory)
    path = folder / f"{split}_questions.json"
    records = _read_json(path)
    if not isinstance(records, list):
        raise DataError(f"{path.name}: the file holds {kind_of(records)}, not a list of questions.")
    left_out = LeftOut()
    rows = [
        _named(Fields.of(record, f"{path.name}, record {number}", _QUESTIONS))
        for number, record in enumerate(records, 1)
    ]
    questions = [_question(fields, task, left_out) for fields in _unique(rows, left_out)]
    own = _task(questions, task)
    golds = _golds(folder / f"{split}_outputs.json", questions, own, left_out)

    users: dict[str, list[_Question]] = {}
    for question in questions:
        users.setdefault(question.user, []).append(question)
    visible: dict[str, frozenset[str]] = {}
    people = []
    for name, asked in users.items():
        key = UserKey(tenant, name)
        check_numbers(name, [ts for one in asked for ts in (one.ts, *(item.ts for item in one.profile.values()))])
        history, kept = _union(asked, left_out, own)
        queries = tuple(_query(question, key, own) for question in asked)
        for question, query in zip(asked, queries, strict=True):
            seen = _seen(question, query, kept, golds.get(question.id), own, left_out)
            if len(seen) < len(history):
                visible[question.id] = seen
        people.append(User(key, tuple(history), queries))
    return own, Dataset(tuple(people), golds, visible, own.pairs, left_out=left_out)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Point data.dir at the folder of LaMP's files.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name}: byte {error.start} is not UTF-8. Save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{path.name}: not JSON at {at} ({error.msg}). LaMP's files are one JSON value each.") from None


def _question(fields: Fields, task: Task, left_out: LeftOut) -> _Question:
    identity = fields.text("id")
    profile: dict[str, HistoryItem] = {}
    for number, entry in enumerate(fields.rows("profile"), 1):
        row = Fields.of(entry, f"{fields.place}: profile item {number}", _item_needs(task))
        item = _item(row, task)
        if item.id not in profile:
            profile[item.id] = item
        elif profile[item.id] == item:
            left_out.note(AGAIN, row.place)
        else:
            raise row.error(f'has the id "{item.id}" of an earlier item. Ids must be unique within a profile.')
    user, ts = fields.optional("user_id") or identity, read_date(fields, "ts", "date")
    return _Question(fields, identity, user, fields.text("input"), ts, profile)


def _item(row: Fields, task: Task) -> HistoryItem:
    return HistoryItem(
        id=row.text("id"),
        input=row.text(task.input_field),
        output=row.text(task.output_field),
        ts=read_date(row, "ts", "date"),
        item_id=row.optional("item_id"),
        context=row.text(task.context_field) if task.context_field else "",
    )


def _item_needs(task: Task) -> str:
    fields = ("id", task.input_field, task.output_field, task.context_field)
    names = [f'"{name}"' for name in dict.fromkeys(fields) if name]
    return f"{task.name} items need {', '.join(names[:-1])} and {names[-1]}."


def _query(question: _Question, user: UserKey, task: Task) -> Query:
    text = question.asked.partition(task.marker)[2].strip() if task.marker else question.asked.strip()
    return Query(question.id, user, text, ts=question.ts, item_id=question.item_id)


def _task(questions: Sequence[_Question], task: Task) -> Task:
    """The task as the first question gives it; the others may word it differently, with the same labels."""
    if not task.marker or not questions:
        return task
    found = []
    for question in questions:
        try:
            found.append(task.from_input(question.asked))
        except ValueError as error:
            raise question.fields.error(f'has an "input" that is not one of {task.name}: {error}.') from None
        if set(found[-1].labels) != set(found[0].labels):
            odd = ", ".join(sorted(set(found[-1].labels) ^ set(found[0].labels)))
            raise question.fields.error(
                f"lists other answers than record 1 (the difference: {odd}). All questions must list the same answers."
            )
    return found[0]


def _union(questions: Sequence[_Question], left_out: LeftOut, task: Task) -> tuple[list[HistoryItem], dict[str, str]]:
    """All items of one user's questions, oldest first; and for each item's id, that of the one that stands for it."""
    items: dict[str, HistoryItem] = {}
    places: dict[str, str] = {}
    for question in questions:
        for number, item in enumerate(question.profile.values(), 1):
            if items.setdefault(item.id, item) != item:
                raise question.fields.error(
                    f'has a profile item {number} (id "{item.id}") that differs from the item of this id in another '
                    f'question of user "{question.user}". Give different items different ids.'
                )
            places.setdefault(item.id, f'{question.fields.place}: profile item (id "{item.id}")')
    repeats, history, kept = Repeats[HistoryItem](not task.closed), [], {}
    for item in in_order(items.values(), lambda item: item.ts):
        if found := repeats.earlier(item):
            earlier, reason = found
            kept[item.id] = earlier.id
            left_out.note(reason, places[item.id])
        else:
            kept[item.id] = item.id
            history.append(item)
    return history, kept


def _seen(
    question: _Question, query: Query, kept: Mapping[str, str], gold: str | None, task: Task, left_out: LeftOut
) -> frozenset[str]:
    """Ids of the history items that a question may see."""
    seen = set()
    for item in question.profile.values():
        if not before(item.ts, question.ts, same=True):
            continue
        if gold is not None and is_own_answer(item, query.input, query.item_id, gold, task):
            left_out.note(SEEN, f'{question.fields.place}: profile item (id "{item.id}")')
            continue
        seen.add(kept[item.id])
    return frozenset(seen)


def _golds(path: Path, questions: Sequence[_Question], task: Task, left_out: LeftOut) -> dict[str, str]:
    """Answers by question id; every question has one, or there is no file."""
    if not path.exists():
        return {}
    outputs = Fields.of(_read_json(path), f"{path.name}: the file", 'It needs "task" and "golds".')
    if (name := outputs.text("task")) not in (task.name, _OWN_NAMES.get(task.name)):
        raise outputs.error(f'is of task "{name}", not "{task.name}". Choose the task that the files are of.')
    needs = 'Answers need "id" and "output".'
    rows = [
        _named(Fields.of(record, f"{path.name}, record {number}", needs))
        for number, record in enumerate(outputs.rows("golds"), 1)
    ]
    asked = {question.id for question in questions}
    golds = {}
    for row in _unique(rows, left_out):
        identity, output = row.text("id"), row.text("output")
        if identity not in asked:
            raise row.error("answers no question. Questions and outputs must be of the same split.")
        if task.closed and task.parse(output) is None:
            raise row.error(f'has "{output}" as "output", which is not among the answers: {", ".join(task.labels)}.')
        golds[identity] = output
    for question in questions:
        if question.id not in golds:
            raise question.fields.error(
                f"has no answer in {path.name}. Add it, or remove that file if no answers are known."
            )
    return golds


def _named(fields: Fields) -> Fields:
    return Fields(fields.values, f'{fields.place} (id "{fields.text("id")}")', fields.needs)


def _unique(records: Sequence[Fields], left_out: LeftOut) -> list[Fields]:
    """The records without those that are the same again, which are counted."""
    first: dict[str, tuple[int, Fields]] = {}
    for number, fields in enumerate(records, 1):
        earlier, known = first.setdefault(fields.text("id"), (number, fields))
        if known.values != fields.values:
            raise fields.error(f"has the id of record {earlier}. Ids must be unique within the file.")
        if known is not fields:
            left_out.note(AGAIN, fields.place)
    return [fields for _, fields in first.values()]
