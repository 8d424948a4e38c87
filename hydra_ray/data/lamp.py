"""Reads LaMP's files: `<split>_questions.json` and `<split>_outputs.json`.

LaMP has two layouts. In the user-based one, questions are {id, input, profile}. In the time-based one,
questions have a `user_id` and profile items a `date`. On top of that, questions and items may have `ts`
(or `date`) and `item_id`: when a record was made, and what it is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra_ray.data.answers import check_answer
from hydra_ray.data.bad_records import BadRecords
from hydra_ray.data.dataset import Dataset, LeftOut, User
from hydra_ray.data.dated import check_numbers, read_date
from hydra_ray.data.duplicates import AGAIN, SEEN, Repeats, is_own_answer
from hydra_ray.data.errors import DataError, shown
from hydra_ray.data.fields import Fields, kind_of
from hydra_ray.data.sources.files import DataFile
from hydra_ray.data.sources.lamp_folder import OWN_NAMES, LampFolder, read_json
from hydra_ray.dates import before, in_order
from hydra_ray.records import HistoryItem, Query, UserKey
from hydra_ray.tasks import Task


@dataclass(frozen=True, slots=True)
class _Row:
    """One record of a file, with its id."""

    fields: Fields
    id: str


@dataclass(frozen=True, slots=True)
class _Question:
    """One record of the questions file; `asked` is its input with the instruction."""

    fields: Fields
    id: str
    user: str
    asked: str
    ts: str | None
    item_id: str | None
    profile: dict[str, HistoryItem]


# What rows of LongLaMP have and questions have not: whose they are, and their answer.
_LONGLAMP = frozenset({"reviewerId", "reviewText", "output"})

_QUESTIONS = 'Questions need "id", "input" and "profile".'


def read_lamp(directory: Path | str, task: Task, split: str, tenant: str, skip_bad: float) -> tuple[Task, Dataset]:
    """Reads one split of one task.

    Questions without `user_id` are a user each, as in LaMP itself. Those of one user share the union of
    their profiles, oldest first; items without dates keep their places in the files' order. A question sees its own
    profile only, and of that, where both are dated, only what is older than the question or of exactly its date: a
    profile is what its makers knew to be earlier. A record that is there twice is left out once, and items that are
    the question with its answer are hidden from it; both are counted.

    Args:
        directory: Folder of the files, or of folders named after tasks; a path or URI.
        task: A task of the registry.
        split: The files' prefix, e.g. "dev".
        tenant: Tenant of all users.
        skip_bad: How many bad records may be left out; below 1, which share. Questions, profile items and answers
            are a record each.

    Returns:
        The task with the instruction and labels that the questions carry, and the data; without an
        outputs file the data has no golds.

    Raises:
        DataError: Names the file, the record (counted from 1) and the field that cannot be used.
    """
    bad = BadRecords(skip_bad)
    folder = LampFolder.of(directory, task)
    path = folder.find(f"{split}_questions.json")
    if path is None:
        raise DataError(f"{folder}/{split}_questions.json: no such file. Point data.dir at the folder of LaMP's files.")
    rows = _unique(_question_rows(path, task, bad), bad)
    own, questions = _task(_questions(rows, task, bad), task, bad)
    golds: dict[str, str] = {}
    if outputs := folder.find(f"{split}_outputs.json"):
        answers = _answers(outputs, own, bad, {row.id for row in rows})
        questions = list(_answered(questions, answers, outputs.name, bad))
        golds = {question.id: answer for question in questions if (answer := answers[question.id]) is not None}

    users: dict[str, list[_Question]] = {}
    for question in questions:
        users.setdefault(question.user, []).append(question)
    histories = {name: _union(asked, bad, own) for name, asked in users.items()}
    bad.settle(path.name)
    visible: dict[str, frozenset[str]] = {}
    people = []
    for name, asked in users.items():
        key = UserKey(tenant, name)
        check_numbers(name, [ts for one in asked for ts in (one.ts, *(item.ts for item in one.profile.values()))])
        history, kept = histories[name]
        queries = tuple(_query(question, key, own) for question in asked)
        for question, query in zip(asked, queries, strict=True):
            seen = _seen(question, query, kept, golds.get(question.id), own, bad.left_out)
            if len(seen) < len(history):
                visible[question.id] = seen
        people.append(User(key, tuple(history), queries))
    return own, Dataset(tuple(people), golds, visible, own.pairs, left_out=bad.left_out)


def _question_rows(file: DataFile, task: Task, bad: BadRecords) -> Iterator[_Row]:
    records = read_json(file)
    if not isinstance(records, list):
        raise DataError(f"{file.name}: the file holds {kind_of(records)}, not a list of questions.")
    for number, record in enumerate(records, 1):
        bad.read += 1
        with bad.aside():
            fields = Fields.of(record, f"{file.name}, record {number}", _QUESTIONS)
            if fields.value("id") is None and _LONGLAMP & set(fields.values):
                found = ", ".join(f'"{name}"' for name in sorted(_LONGLAMP & set(fields.values)))
                raise fields.error(
                    f'has no "id", but {found}: it looks like a row of LongLaMP, which is another task than '
                    f"{task.name}. {_QUESTIONS} {_item_needs(task)} Answers are in the outputs file. Turn such rows "
                    "into data.format=records.",
                    "looks like a row of LongLaMP",
                )
            yield _row(fields)


def _questions(rows: Iterable[_Row], task: Task, bad: BadRecords) -> Iterator[_Question]:
    for row in rows:
        with bad.aside():
            yield _question(row.fields, row.id, task, bad)


def _question(fields: Fields, identity: str, task: Task, bad: BadRecords) -> _Question:
    profile: dict[str, HistoryItem] = {}
    for number, entry in enumerate(fields.rows("profile"), 1):
        bad.read += 1
        with bad.aside():
            row = Fields.of(entry, f"{fields.place}: profile item {number}", _item_needs(task))
            item = _item(row, task)
            if item.id not in profile:
                profile[item.id] = item
            elif profile[item.id] == item:
                bad.left_out.note(AGAIN, row.place)
            else:
                raise row.error(
                    f'has the id "{shown(item.id)}" of an earlier item. Ids must be unique within a profile.',
                    "has the id of an earlier item of its profile",
                )
    user = fields.user(bad.left_out) if fields.value("user_id") is not None else fields.user(bad.left_out, "id")
    ts, item_id = read_date(fields, "ts", "date"), fields.identity("item_id")
    return _Question(fields, identity, user, fields.text("input"), ts, item_id, profile)


def _item(row: Fields, task: Task) -> HistoryItem:
    return HistoryItem(
        id=row.needed_identity("id"),
        input=row.text(task.input_field),
        output=row.text(task.output_field),
        ts=read_date(row, "ts", "date"),
        item_id=row.identity("item_id"),
        context=row.text(task.context_field) if task.context_field else "",
    )


def _item_needs(task: Task) -> str:
    fields = ("id", task.input_field, task.output_field, task.context_field)
    names = [f'"{name}"' for name in dict.fromkeys(fields) if name]
    return f"{task.name} items need {', '.join(names[:-1])} and {names[-1]}."


def _query(question: _Question, user: UserKey, task: Task) -> Query:
    text = question.asked.partition(task.marker)[2].strip() if task.marker else question.asked.strip()
    return Query(question.id, user, text, ts=question.ts, item_id=question.item_id)


def _task(questions: Iterable[_Question], task: Task, bad: BadRecords) -> tuple[Task, list[_Question]]:
    """The task as the first question gives it, and the questions that are of it.

    The others may word it differently, with the same labels.
    """
    own: Task | None = None
    kept = []
    for question in questions:
        with bad.aside():
            found = _of_task(question, task)
            own = own or found
            if set(found.labels) != set(own.labels):
                odd = ", ".join(sorted(set(found.labels) ^ set(own.labels)))
                raise question.fields.error(
                    f"lists other answers than record 1 (the difference: {odd}). All questions must list the same "
                    "answers.",
                    "lists other answers than the first question",
                )
            kept.append(replace(question, profile=_with_answers(question, own, bad)))
    return own or task, kept


def _with_answers(question: _Question, task: Task, bad: BadRecords) -> dict[str, HistoryItem]:
    """The profile without the items whose answer cannot be learnt from."""
    if not task.pairs:
        return question.profile
    kept = {}
    for item in question.profile.values():
        with bad.aside():
            check_answer(_item_fields(question, item), task.output_field, item.output, task)
            kept[item.id] = item
    return kept


def _item_fields(question: _Question, item: HistoryItem) -> Fields:
    """The place of an item, for complaints."""
    return question.fields.at(f'{question.fields.place}: profile item (id "{shown(item.id)}")')


def _of_task(question: _Question, task: Task) -> Task:
    if not task.marker:
        return task
    try:
        return task.from_input(question.asked)
    except ValueError as error:
        raise question.fields.error(
            f'has an "input" that is not one of {task.name}: {error}.', f'has an "input" that is not one of {task.name}'
        ) from None


def _union(questions: Sequence[_Question], bad: BadRecords, task: Task) -> tuple[list[HistoryItem], dict[str, str]]:
    """All items of one user's questions, oldest first; and for each item's id, that of the one that stands for it."""
    items: dict[str, HistoryItem] = {}
    places: dict[str, str] = {}
    for question in questions:
        for number, item in enumerate(question.profile.values(), 1):
            with bad.aside():
                if items.setdefault(item.id, item) != item:
                    raise question.fields.error(
                        f'has a profile item {number} (id "{shown(item.id)}") that differs from the item of this id in '
                        f'another question of user "{shown(question.user)}". Give different items different ids.',
                        "has a profile item that differs from the item of its id in another question of its user",
                    )
                places.setdefault(item.id, _item_fields(question, item).place)
    repeats, history, kept = Repeats[HistoryItem](not task.closed), [], {}
    for item in in_order(items.values(), lambda item: item.ts):
        if found := repeats.earlier(item):
            earlier, reason = found
            kept[item.id] = earlier.id
            bad.left_out.note(reason, places[item.id])
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
            left_out.note(SEEN, _item_fields(question, item).place)
            continue
        seen.add(kept[item.id])
    return frozenset(seen)


def _answers(file: DataFile, task: Task, bad: BadRecords, asked: set[str]) -> dict[str, str | None]:
    """Answers by question id; None of one that cannot be used."""
    outputs = Fields.of(read_json(file), f"{file.name}: the file", 'It needs "task" and "golds".')
    if (name := outputs.text("task")) not in (task.name, OWN_NAMES.get(task.name)):
        raise outputs.error(f'is of task "{shown(name)}", not "{task.name}". Choose the task that the files are of.')
    answers: dict[str, str | None] = {}
    for row in _unique(_gold_rows(file, outputs, bad), bad):
        with bad.aside():
            answers[row.id] = None
            if row.id not in asked:
                raise row.fields.error("answers no question. Questions and outputs must be of the same split.")
            output = row.fields.text("output")
            check_answer(row.fields, "output", output, task)
            answers[row.id] = output
    return answers


def _gold_rows(file: DataFile, outputs: Fields, bad: BadRecords) -> Iterator[_Row]:
    for number, record in enumerate(outputs.rows("golds"), 1):
        bad.read += 1
        with bad.aside():
            yield _row(Fields.of(record, f"{file.name}, record {number}", 'Answers need "id" and "output".'))


def _answered(
    questions: Iterable[_Question], answers: Mapping[str, str | None], name: str, bad: BadRecords
) -> Iterator[_Question]:
    """The questions that have an answer; those whose answer cannot be used are counted as it was."""
    for question in questions:
        with bad.aside():
            if question.id not in answers:
                raise question.fields.error(
                    f"has no answer in {name}. Add it, or remove that file if no answers are known.",
                    f"has no answer in {name}",
                )
            if answers[question.id] is not None:
                yield question


def _row(fields: Fields) -> _Row:
    identity = fields.needed_identity("id")
    return _Row(fields.at(f'{fields.place} (id "{shown(identity)}")'), identity)


def _unique(rows: Iterable[_Row], bad: BadRecords) -> list[_Row]:
    """The records without those whose id an earlier one has; of these, the ones that say the same are no fault."""
    first: dict[str, _Row] = {}
    for row in rows:
        with bad.aside():
            known = first.setdefault(row.id, row)
            if known.fields.values != row.fields.values:
                # Its place within the file, e.g. "record 17".
                earlier = known.fields.place.partition(", ")[2].partition(" (")[0]
                raise row.fields.error(
                    f"has the id of {earlier}. Ids must be unique within the file.", "has the id of an earlier record"
                )
            if known is not row:
                bad.left_out.note(AGAIN, row.fields.place)
    return list(first.values())
