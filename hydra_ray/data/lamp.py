"""Reads LaMP's files: `<split>_questions.json` and `<split>_outputs.json`.

LaMP has two layouts. In the user-based one, questions are {id, input, profile}. In the time-based one,
questions have a `user_id` and profile items a `date`. On top of that, questions and items may have `ts`
(or `date`) and `item_id`: when a record was made, and what it is about.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_ray.data.errors import DataError, Fields, kind_of
from hydra_ray.data.split import before
from hydra_ray.records import Dataset, HistoryItem, Query, User, UserKey
from hydra_ray.tasks import Task

# LaMP calls both its news and its movies so.
_OWN_NAMES = {"LaMP_2N": "LaMP_2", "LaMP_2M": "LaMP_2"}


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
    def seen(self) -> frozenset[str]:
        """Ids of the profile items that the question may see: all but those that are surely later.

        What else is of its date was there: a profile is what its makers knew to be earlier.
        """
        later = {item.id for item in self.profile.values() if self.ts and item.ts and before(self.ts, item.ts)}
        return frozenset(self.profile) - later


def read_lamp(directory: Path, task: Task, split: str, tenant: str = "default") -> tuple[Task, Dataset]:
    """Reads one split of one task.

    Questions without `user_id` are a user each, as in LaMP itself. Those of one user share the union of
    their profiles, oldest first; without dates it keeps the files' order. A question sees its own profile only,
    and of that, where both are dated, only what is older than the question.

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
    questions = [_question(record, f"{path.name}, record {number}", task) for number, record in enumerate(records, 1)]
    _unique([question.fields for question in questions])
    own = _task(questions, task)
    golds = _golds(folder / f"{split}_outputs.json", questions, own)

    users: dict[str, list[_Question]] = {}
    for question in questions:
        users.setdefault(question.user, []).append(question)
    visible: dict[str, frozenset[str]] = {}
    people = []
    for name, asked in users.items():
        history = _union(asked)
        visible |= {question.id: question.seen for question in asked if len(question.seen) < len(history)}
        key = UserKey(tenant, name)
        people.append(User(key, tuple(history), tuple(_query(question, key, own) for question in asked)))
    return own, Dataset(tuple(people), golds, visible, own.pairs)


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


def _question(record: object, place: str, task: Task) -> _Question:
    fields = _named(Fields.of(record, place, 'Questions need "id", "input" and "profile".'))
    identity = fields.text("id")
    profile: dict[str, HistoryItem] = {}
    for number, entry in enumerate(fields.rows("profile"), 1):
        row = Fields.of(entry, f"{fields.place}: profile item {number}", _item_needs(task))
        item = _item(row, task)
        if item.id in profile:
            raise row.error(f'has the id "{item.id}" of an earlier item. Ids must be unique within a profile.')
        profile[item.id] = item
    user, ts = fields.optional("user_id") or identity, fields.optional("ts", "date")
    return _Question(fields, identity, user, fields.text("input"), ts, profile)


def _item(row: Fields, task: Task) -> HistoryItem:
    return HistoryItem(
        id=row.text("id"),
        input=row.text(task.input_field),
        output=row.text(task.output_field),
        ts=row.optional("ts", "date"),
        item_id=row.optional("item_id"),
        context=row.text(task.context_field) if task.context_field else "",
    )


def _item_needs(task: Task) -> str:
    fields = ("id", task.input_field, task.output_field, task.context_field)
    names = [f'"{name}"' for name in dict.fromkeys(fields) if name]
    return f"{task.name} items need {', '.join(names[:-1])} and {names[-1]}."


def _query(question: _Question, user: UserKey, task: Task) -> Query:
    text = question.asked.partition(task.marker)[2].strip() if task.marker else question.asked.strip()
    return Query(question.id, user, text, ts=question.ts, item_id=question.fields.optional("item_id"))


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


def _union(questions: Sequence[_Question]) -> list[HistoryItem]:
    """All items of one user's questions, oldest first."""
    items: dict[str, HistoryItem] = {}
    for question in questions:
        for number, item in enumerate(question.profile.values(), 1):
            if items.setdefault(item.id, item) != item:
                raise question.fields.error(
                    f'has a profile item {number} (id "{item.id}") that differs from the item of this id in another '
                    f'question of user "{question.user}". Give different items different ids.'
                )
    return sorted(items.values(), key=lambda item: item.ts or "")


def _golds(path: Path, questions: Sequence[_Question], task: Task) -> dict[str, str]:
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
    _unique(rows)
    asked = {question.id for question in questions}
    golds = {}
    for row in rows:
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


def _unique(records: Sequence[Fields]) -> None:
    first: dict[str, int] = {}
    for number, fields in enumerate(records, 1):
        earlier = first.setdefault(fields.text("id"), number)
        if earlier != number:
            raise fields.error(f"has the id of record {earlier}. Ids must be unique within the file.")
